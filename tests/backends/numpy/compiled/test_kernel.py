"""What is kept of compiled code between processes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

import gpunn
from gpunn.backends.numpy.compiled.counters import FILL
from gpunn.backends.numpy.compiled.kernel import share

LOOK = "from gpunn.backends.numpy.compiled import kernel; kernel.forget_stale_code(); "
LOOK += "print(kernel.__file__)"


def test_code_compiled_from_other_sources_is_dropped(tmp_path):
    package = tmp_path / "gpunn"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(gpunn.__file__).parent, package, ignore=ignored)
    folder = package / "backends" / "numpy" / "compiled"
    index = folder / "__pycache__" / "products.product-1.py311.nbi"

    def look():
        command = [sys.executable, "-c", LOOK]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(folder / "kernel.py")]
        return index.exists()

    assert not look()
    index.write_bytes(b"")
    assert look()
    with open(folder / "panels.py", "a", encoding="utf-8") as file:  # built into products.py's code
        file.write("# another line\n")
    assert not look()


def test_kernels_look_for_stale_code_first():
    FILL.address("float32")
    assert (Path(share.stats.cache_path) / "gpunn-sources").exists()
