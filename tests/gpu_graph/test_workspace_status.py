"""A cuBLAS handle is set to stream and workspace each time, and not used where that fails."""

import cupy
import pytest

from gpunn.backends.cupy.matmul import cublas

SETTINGS = ["cublasSetStream", "cublasSetWorkspace"]
INTERNAL_ERROR = 14


class Watched:
    """The cuBLAS library; it counts settings in their order, and one of them may fail."""

    def __init__(self, failing=""):
        self.failing, self.called = failing, []

    def __getattr__(self, name):
        function = getattr(cublas.load_cublas(), name)
        setting = name.removesuffix("_v2")
        if setting not in SETTINGS:
            return function

        def call(*arguments):
            self.called.append(setting)
            return INTERNAL_ERROR if setting == self.failing else function(*arguments)

        return call


def place():
    return cupy.cuda.get_current_stream().ptr, cupy.empty(1024, "uint8")


@pytest.mark.parametrize("function", SETTINGS)
def test_a_refusal_is_an_error_each_time(function):
    handle = cublas.Handle(Watched(function))
    for _ in range(2):
        with pytest.raises(cublas.CublasError, match=f"^{function}: .* status {INTERNAL_ERROR}$"):
            handle.use(*place())


def test_a_stream_at_the_address_of_one_that_is_gone_is_set_too():
    watched, there = Watched(), place()
    handle = cublas.Handle(watched)
    for _ in range(2):
        handle.use(*there)
    assert watched.called == SETTINGS * 2
