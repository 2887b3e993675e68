"""Features that are not emulated raise an error."""

import cupy
import emulated_cuda
import numpy as np
import pytest


@pytest.mark.parametrize(
    "operation",
    [
        lambda: cupy.cuda.malloc_managed(16),
        lambda: cupy.cuda.MemoryAsyncPool(),
        lambda: cupy.cuda.Stream().launch_host_func(print, None),
        lambda: cupy.RawModule(code="__device__ int g;").get_global("g"),
        lambda: cupy.cuda.runtime.graphDebugDotPrint(0, "x", 0),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_unsupported_cuda(operation):
    with pytest.raises(emulated_cuda.UnsupportedError, match="emulated_cuda has no"):
        operation()


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (lambda: cupy.sort(cupy.arange(3)), RuntimeError),
        (lambda: cupy.random.random(3), ImportError),
        (lambda: cupy.fft.fft(cupy.ones(4)), (ImportError, RuntimeError)),
        (lambda: cupy.linalg.inv(cupy.eye(2)), (ImportError, RuntimeError)),
    ],
)
def test_missing_libraries(operation, error):
    with pytest.raises(error):
        operation()
    np.testing.assert_array_equal((cupy.ones(2) + 1).get(), [2, 2])  # nothing is broken by it
