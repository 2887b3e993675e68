import sys

import pytest

from gpunn.backends.numpy.compiled.backend import numba_works


@pytest.fixture
def no_numba(monkeypatch):
    """Make the import of numba fail."""
    numba_works.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    yield
    numba_works.cache_clear()
