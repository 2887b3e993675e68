"""What hatchling does before it makes a wheel: with numba, the wheel gets compiled kernels.

Then it is one for this system's kind of machine. Without numba, and in editable installs, it is as
it would be without this file.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = "gpunn/backends/numpy/compiled/built"

NEWEST_C_LIBRARY = (2, 17)
"""The version of glibc that all Linux systems have on which pip installs such wheels."""


class KernelsHook(BuildHookInterface):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build kernels for all processors of this architecture, unless they are there already."""
        if version == "editable" or importlib.util.find_spec("numba") is None:
            return
        sys.path.insert(0, self.root)
        from gpunn.backends.numpy.compiled.building import build
        from gpunn.backends.numpy.compiled.targets import this_machines_targets

        folder = Path(self.root, BUILT)
        folder.mkdir(exist_ok=True)
        libraries = [build(target, folder) for target in this_machines_targets()]
        if not libraries or any(path.suffix == ".zip" for path in libraries):
            self.app.display_warning("no compiled kernels: nothing links them here")
            return
        manifests = [folder / f"{target.name}.json" for target in this_machines_targets()]
        build_data["force_include"].update(
            {str(path): f"{BUILT}/{path.name}" for path in (*libraries, *manifests)}
        )
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag(libraries)}"


def platform_tag(libraries: list[Path]) -> str:
    """Return what pip calls the systems that can load the libraries."""
    if sys.platform == "darwin":
        # What the linker goes by; Python's own tag may be of two architectures.
        release = os.environ.get("MACOSX_DEPLOYMENT_TARGET") or platform.mac_ver()[0]
        return f"macosx_{release.split('.')[0]}_0_{platform.machine()}"
    if platform.libc_ver()[0] == "glibc":
        needed = {
            tuple(map(int, number.split(b".")))
            for path in libraries
            for number in re.findall(rb"GLIBC_([0-9.]+)", path.read_bytes())
        }
        if all(version[:2] <= NEWEST_C_LIBRARY for version in needed):
            return f"manylinux_2_17_{platform.machine()}"
    return re.sub("[-.]", "_", sysconfig.get_platform())
