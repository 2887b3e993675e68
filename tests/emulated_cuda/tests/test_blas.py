"""What the emulated cuBLAS and cuBLASLt refuse: gpunn's calls, with one other argument."""

import ctypes
from contextlib import nullcontext

import cupy
import numpy as np
import pytest
from gpu_graph.products import Amended, operands

from gpunn.backends.cupy.matmul import cublas, cublaslt
from gpunn.backends.cupy.matmul.lt_product import LtProduct
from gpunn.backends.cupy.matmul.selection import Heuristic
from gpunn.backends.cupy.scratch import Scratch

pytestmark = pytest.mark.full  # what it refuses changes with the emulator alone

OTHER = cupy.zeros(99, "float32")[1:].data
MULTIPLY = "cublasLtMatmul"


def amended(library, name, position, value):
    def call(*given):
        other = value(given) if callable(value) else value
        return getattr(library, name)(*given[:position], other, *given[position + 1 :])

    return Amended(library, **{name: call})


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (("cublasGemmEx", 9, 2), 7),  # a leading dimension
        (("cublasGemmEx", 4, 1000), 13),  # rows
        (("cublasGemmEx", 6, OTHER.ptr), 13),  # a factor on the device
        (("cublasSetWorkspace_v2", 1, 4096), 13),  # an address outside all memory
    ],
)
def test_wrong_calls_of_cublas(change, status):
    product = cublas.CublasProduct(amended(cublas.load_cublas(), *change), "float32", Scratch())
    with pytest.raises(cublas.CublasError, match=f"status {status}"):
        product(*operands(4, 5, 6)[:3], False, False)


SIZES = [
    (
        f"cublasLtMatmul{kind}SetAttribute",
        3,
        lambda given, at=at: given[3] // (1 + (given[1] == at)),
    )
    for kind, attributes in (("Desc", (3, 4, 7, 8)), ("Preference", (1, 3, 5, 6, 7, 8)))
    for at in attributes
]
"""Half of the bytes of one attribute."""


@pytest.mark.parametrize(
    ("change", "size", "status"),
    [
        ((MULTIPLY, 12, lambda given: given[12]), 5, None),
        ((MULTIPLY, 12, lambda given: given[12]), None, 7),  # no bias
        ((MULTIPLY, 12, lambda given: given[12]), 3, 13),  # a bias too short
        ((MULTIPLY, 3, OTHER.ptr), 5, 7),  # a less aligned matrix
        ((MULTIPLY, 9, lambda given: given[4]), 5, 7),  # the layout of C
        ((MULTIPLY, 14, 0), 5, 7),  # bytes of the workspace
        (("cublasLtMatmulDescSetAttribute", 1, 99), 5, 7),  # an attribute
        *((change, 5, 7) for change in SIZES),
        (("cublasLtMatmulDescCreate", 1, 64), 5, 15),  # the type to compute in
        (("cublasLtMatrixLayoutCreate", 1, 1), 5, 15),  # float64
        (("cublasLtMatrixLayoutCreate", 2, 9), 5, 7),  # a number of columns
    ],
)
def test_wrong_calls_of_cublaslt(change, size, status):
    library = amended(cublaslt.load_cublaslt(), *change)
    product = LtProduct(library, "float32", Scratch(), Heuristic())
    vector = None if size is None else cupy.asarray(np.ones(size, "float32"))
    try:
        done, said = product(*operands(4, 5, 6)[:3], cublaslt.BIAS, vector), product.reason
    except cublas.CublasError as error:
        done, said = False, str(error)
    assert done == (status is None)
    assert done or f"status {status}" in said


def test_a_stream_that_has_got_the_address_of_another_is_set_too():
    library, seen = cublas.load_cublas(), set()

    def set_once(handle, stream):
        known = stream in seen
        seen.add(stream)
        return 0 if known else library.cublasSetStream_v2(handle, stream)

    changed = Amended(library, cublasSetStream_v2=set_once)
    product = cublas.CublasProduct(changed, "float32", Scratch())
    a, b, out, _ = operands(4, 5, 6)
    for expected in (nullcontext(), pytest.raises(cublas.CublasError, match="status 13")):
        with cupy.cuda.Stream(), expected:
            product(a, b, out, False, False)
    assert len(seen) == 1


def test_a_handle_that_is_destroyed_in_a_capture_spoils_it():
    """Destroying a handle waits for the device."""
    library, handle = cublas.load_cublas(), ctypes.c_void_p()
    assert library.cublasCreate_v2(ctypes.byref(handle)) == 0
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        assert library.cublasDestroy_v2(handle) != 0
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="Invalidated"):
            stream.end_capture()
