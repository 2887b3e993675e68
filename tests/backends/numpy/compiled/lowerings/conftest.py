import pytest

pytest.importorskip("numba")

from gpunn.backends.numpy.compiled.backend import CompiledBackend
from gpunn.backends.numpy.compiled.library import library
from gpunn.backends.numpy.compiled.lowerings import CompiledLowerings
from gpunn.backends.numpy.compiled.product_plans import ProductPlans
from gpunn.backends.recording import Operation, arguments_of


@pytest.fixture
def encode():
    lowerings = CompiledLowerings(2, ProductPlans(2, 1 << 16, library().vectors))
    backend = CompiledBackend(2)

    def steps(name, *args):
        return getattr(lowerings, name)(arguments_of(backend, Operation(name, args)))

    return steps
