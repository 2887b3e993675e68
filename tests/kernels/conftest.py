"""Recorded launches of the CuPy backend, for tiers 3 and 4 of docs/project/gpu_testing.md."""

import functools
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from emulated_cuda import cupy_private, toolchain
from kernels.replay import SITE, Recording
from parity import operations
from processes import run_python

REPOSITORY = Path(__file__).parents[2]
RECORDED_FROM = (
    *("gpunn/*.py", "gpunn/backends/*.py", "gpunn/backends/cupy/**/*.py"),
    *("gpunn/layers/*.py", "gpunn/metrics/*.py", "gpunn/training/**/*.py"),
    *("tests/emulated_cuda/*.*", "tests/emulated_cuda/include/**/*"),
    *("tests/parity/operations.py", "tests/parity/windows.py"),
    *("tests/kernels/recorder.py", "tests/kernels/cases.py"),
)
KEPT = 6
"""Maximum number of recordings in the cache."""

IN_USE = 6 * 3600
"""Seconds for which another process may still use a recording."""


def available() -> bool:
    """Return whether the emulator, g++ and NVRTC are installed, as `ci/test.sh` does."""
    try:
        metadata.version("nvidia-cuda-nvrtc")
    except metadata.PackageNotFoundError:
        return False
    return cupy_private.installed()


if not available():
    collect_ignore_glob = ["test_*.py"]


def digest() -> str:
    digest = hashlib.sha256(sys.version.encode())
    for package in ("numpy", cupy_private.DISTRIBUTION, "array-api-compat"):
        digest.update(f"{package} {metadata.version(package)}".encode())
    for pattern in RECORDED_FROM:
        for path in sorted(REPOSITORY.glob(pattern)):
            if path.is_file():
                digest.update(str(path.relative_to(REPOSITORY)).encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


@functools.cache
def record(dtype: str = "float32", every_layout: bool = False) -> Recording:
    cache = toolchain.cache_folder()
    layouts = operations.LAYOUTS if every_layout else operations.LAYOUTS[:1]
    folder = cache / "-".join(("recording", digest(), dtype, *layouts))
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            made = Path(scratch, "recording")
            made.mkdir()
            paths = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "tests")))
            environment = {**os.environ, "PYTHONPATH": paths}
            run_python("-m", "kernels.recorder", made, dtype, *layouts, env=environment)
            try:
                made.rename(folder)
            except OSError:
                if not folder.exists():  # another process was faster
                    raise
    os.utime(folder)
    used = {path: toolchain.modified(path) for path in cache.glob("recording-*")}
    for path in sorted(used, key=lambda path: used[path])[:-KEPT]:
        if used[path] < time.time() - IN_USE:
            shutil.rmtree(path, ignore_errors=True)
    text = (folder / "recording.json").read_text()
    return Recording(folder, json.loads(text.replace(SITE, str(cupy_private.site_folder()))))


@pytest.fixture(scope="session")
def recording() -> Recording:
    return record()


@pytest.fixture(scope="session")
def recording_of() -> Callable[[str], Recording]:
    return record
