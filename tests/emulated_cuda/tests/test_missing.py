"""Features that are not emulated raise an error."""

import cupy
import emulated_cuda
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
