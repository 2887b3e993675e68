"""Errors of install, in separate processes, and the cache."""

import os
import sys
from pathlib import Path

import emulated_cuda
import pytest
from emulated_cuda.errors import EmulatorError
from processes import run_python

ROOT = Path(__file__).parents[2]


def run(code, **environment):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"
    return run_python("-c", code, env=os.environ | environment, status=None)


REFUSED = """
import emulated_cuda
from emulated_cuda import cupy_private, errors

def refused():
    try:
        emulated_cuda.install()
    except errors.EmulatorError as error:
        print(error)

own, cupy_private.CUPY_VERSION = cupy_private.CUPY_VERSION, "14.1.9"
refused()
cupy_private.CUPY_VERSION = own
import cupy
refused()
"""


def test_refusals(monkeypatch):
    version, imported = run(REFUSED).stdout.splitlines()
    assert "pinned to CuPy 14.1.9" in version
    assert "before the first `import cupy`" in imported
    with pytest.raises(EmulatorError, match="with other settings"):
        emulated_cuda.install()
    monkeypatch.setattr(sys.modules["emulated_cuda.install"], "_installed", None)
    with pytest.raises(EmulatorError, match="devices must be at least 1"):
        emulated_cuda.install(devices=0)


USE = """
import cupy, sys
assert float((cupy.ones(10, "float32") * 3).sum()) == 30
sys.kept = cupy.ones(10)  # memory that lives longer than most modules
cupy.ones((2, 2)) @ cupy.ones((2, 2))  # a handle of cuBLAS, which does too
"""
PROGRAM = f"""
import emulated_cuda
emulated_cuda.install(devices=3)
{USE}
assert cupy.cuda.is_available()
assert cupy.cuda.runtime.getDeviceCount() == 3
"""
COMPILER = """#!/bin/sh
test "$1" = --version && exec g++ --version
"""


def test_a_second_process_compiles_nothing_and_exits_cleanly(tmp_path):
    exec(USE, {})
    compiler = tmp_path / "g++"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    second = run(PROGRAM, CXX=str(compiler))
    assert (second.returncode, second.stderr) == (0, "")
