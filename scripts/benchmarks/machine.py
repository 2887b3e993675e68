"""Describe the machine; measure a process's peak memory and the size of packages."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import resource
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.competitors import EVERYBODY, version


def usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def described() -> dict[str, Any]:
    try:
        model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        model = None
    packages = sorted({"numpy", *(p for each in EVERYBODY.values() for p in each.packages)})
    return {
        "processor": model[1] if model else platform.processor(),
        "cores": usable_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages if version(name)},
    }


def peak_bytes() -> int:
    """Return the peak memory of this process.

    On Linux, `ru_maxrss` includes the memory of the parent process, so the process's status is
    read instead.
    """
    status = Path("/proc/self/status")
    peak = re.search(r"VmHWM:\s*(\d+)", status.read_text()) if status.exists() else None
    if peak:
        return int(peak[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def installed_bytes(requirements: Iterable[str]) -> int:
    """Return the size of installed distributions and their requirements; 0 if not installed."""
    # The process that measures an installed wheel has only gpunn's requirements.
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    waiting, seen, sizes = list(map(Requirement, requirements)), set(), {}
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), ("", *sorted(wanted.extras))
        if (name, extras) in seen or version(name) is None:
            continue
        seen.add((name, extras))
        distribution = importlib.metadata.distribution(name)
        files = [Path(str(file.locate())) for file in distribution.files or ()]
        address = json.loads(distribution.read_text("direct_url.json") or "{}")
        if address.get("dir_info", {}).get("editable"):
            spec = importlib.util.find_spec(name)
            for folder in (spec and spec.submodule_search_locations) or ():
                files += Path(folder).rglob("*")
        sizes[name] = sum(file.stat().st_size for file in files if file.is_file())
        waiting += [
            each
            for each in map(Requirement, distribution.requires or ())
            if not each.marker or any(each.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return sum(sizes.values())
