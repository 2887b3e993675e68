"""What was recorded of the CuPy backend, for rungs 3 and 4 of docs/gpu.md."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import pytest
from emulated_cuda import cupy_private, toolchain
from kernels.replay import Recording

REPOSITORY = Path(__file__).parents[2]
RECORDED_FROM = (
    *("gpunn/**/*.py", "tests/emulated_cuda/*.*", "tests/emulated_cuda/include/**/*"),
    *("tests/parity/operations.py", "tests/kernels/recorder.py", "tests/kernels/cases.py"),
)
KEPT = 3
"""Recordings that stay in the cache."""


def available() -> bool:
    """Return whether the emulator, g++ and NVRTC are here: what `ci/test.sh` installs."""
    try:
        metadata.version("nvidia-cuda-nvrtc")
        found = metadata.version(cupy_private.DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return False
    return found == cupy_private.CUPY_VERSION and shutil.which("g++") is not None


if not available():
    collect_ignore_glob = ["test_*.py"]


def digest() -> str:
    """Hash of everything that the recording depends on."""
    found = hashlib.sha256(sys.version.encode())
    for package in ("numpy", cupy_private.DISTRIBUTION, "array-api-compat"):
        found.update(f"{package} {metadata.version(package)}".encode())
    for pattern in RECORDED_FROM:
        for path in sorted(REPOSITORY.glob(pattern)):
            if path.is_file():
                found.update(str(path.relative_to(REPOSITORY)).encode())
                found.update(path.read_bytes())
    return found.hexdigest()[:32]


def record() -> Recording:
    """Return the recording of the code as it is, made anew if there is none yet."""
    cache = toolchain.cache_folder()
    folder = cache / f"recording-{digest()}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            made = Path(scratch, "recording")
            made.mkdir()
            paths = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "tests")))
            ended = subprocess.run(
                [sys.executable, "-m", "kernels.recorder", str(made)],
                env={**os.environ, "PYTHONPATH": paths},
                capture_output=True,
                text=True,
                check=False,
            )
            if ended.returncode:
                raise RuntimeError(f"recorder.py failed:\n{ended.stderr[-4000:]}")
            if not folder.exists():  # a second process may have been faster
                made.rename(folder)
        old = sorted(cache.glob("recording-*"), key=lambda path: path.stat().st_mtime)[:-KEPT]
        for path in old:
            shutil.rmtree(path, ignore_errors=True)
    return Recording(folder, json.loads((folder / "recording.json").read_text()))


@pytest.fixture(scope="session")
def recording() -> Recording:
    return record()
