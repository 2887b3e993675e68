"""A cuBLAS handle that can't be set to our stream or workspace must not be used."""

import cupy
import pytest

from gpunn.backends.cupy.matmul import cublas

pytestmark = [pytest.mark.device, pytest.mark.rung(5)]

INTERNAL_ERROR = 14


class Refusing:
    """The cuBLAS library, but for one function that fails."""

    def __init__(self, function):
        self.function = function

    def __getattr__(self, name):
        if name == self.function:
            return lambda *arguments: INTERNAL_ERROR
        return getattr(cublas.load_cublas(), name)


@pytest.mark.parametrize("function", ["cublasSetStream", "cublasSetWorkspace"])
def test_a_refusal_is_an_error_each_time(function):
    handle = cublas.Handle(Refusing(f"{function}_v2"))
    stream, workspace = cupy.cuda.get_current_stream().ptr, cupy.empty(1024, "uint8")
    for _ in range(2):
        with pytest.raises(cublas.CublasError, match=f"^{function}: .* status {INTERNAL_ERROR}$"):
            handle.use(stream, workspace)
