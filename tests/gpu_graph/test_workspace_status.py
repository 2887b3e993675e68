"""A cuBLAS handle is set to stream and workspace each time, and not used if that fails."""

import cupy
import pytest
from gpu_graph.products import Amended

from gpunn.backends.cupy.matmul import cublas

SETTINGS = ["cublasSetStream", "cublasSetWorkspace"]  # in their order
INTERNAL_ERROR = 14


def place():
    return cupy.cuda.get_current_stream().ptr, cupy.empty(1024, "uint8")


@pytest.mark.parametrize("function", SETTINGS)
def test_a_refusal_raises_an_error_each_time(function):
    failing = {f"{function}_v2": lambda *_: INTERNAL_ERROR}
    handle = cublas.Handle(Amended(cublas.load_cublas(), **failing))
    for _ in range(2):
        with pytest.raises(cublas.CublasError, match=f"^{function}: .* status {INTERNAL_ERROR}$"):
            handle.use(*place())


def test_a_stream_with_the_address_of_a_destroyed_one_is_also_set():
    library, there = Amended(cublas.load_cublas()), place()
    handle = cublas.Handle(library)
    for _ in range(2):
        handle.use(*there)
    settings = [(name, times) for name, times in library.calls.items() if "Set" in name]
    assert settings == [(f"{name}_v2", 2) for name in SETTINGS]
