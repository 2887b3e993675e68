import importlib
import json
import os
import pkgutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

from processes import run_python

from gpunn.backends.numpy.compiled import kernels
from gpunn.backends.numpy.compiled.kernels.kernel import KERNELS

IN_TABLES = {"expression", "group_product"}
"""Kernels that read arrays' addresses from a table; a program with them can't be shared."""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no mprotect here")
def test_no_kernel_uses_the_memory_of_replaced_arrays():
    for module in pkgutil.iter_modules(kernels.__path__):
        importlib.import_module(f"{kernels.__name__}.{module.name}")
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": str(here.parents[2])}
    ended = run_python(here / "rebinding.py", env=environment, status=None)
    *_, last = ended.stdout.splitlines()
    assert ended.returncode == 0, f"{last}\n{ended.stderr}"
    assert set(json.loads(last)) == set(KERNELS) - IN_TABLES
