"""What the emulated cuBLASLt refuses; tests of products compare its results."""

import ctypes

import cupy
import numpy as np
import pytest

pytestmark = pytest.mark.full  # what it computes changes with the emulator alone

SUCCESS, INVALID_VALUE, EXECUTION_FAILED, NOT_SUPPORTED = 0, 7, 13, 15
PLAIN, RELU, BIAS, SUMS_OF_A = 1, 2, 4, 256
FLOAT32, FLOAT64 = 0, 1
REPEATABLE = 6


class Result(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        *(("algorithm", ctypes.c_uint64 * 8), ("workspace", ctypes.c_size_t)),
        *(("state", ctypes.c_int), ("waves", ctypes.c_float), ("reserved", ctypes.c_int * 4)),
    )


class Lt:
    """cuBLASLt by ctypes: D = op(A) op(B) and an epilogue, column-major."""

    def __init__(self):
        from cuda.pathfinder import load_nvidia_dynamic_lib

        self.library = ctypes.CDLL(load_nvidia_dynamic_lib("cublasLt").abs_path)
        self.handle = ctypes.c_void_p()
        assert self.library.cublasLtCreate(ctypes.byref(self.handle)) == SUCCESS
        self.workspace = cupy.empty(4096, "uint8")

    def made(self, kind, *arguments):
        pointer = ctypes.c_void_p()
        create = getattr(self.library, f"cublasLt{kind}Create")
        assert create(ctypes.byref(pointer), *arguments) == SUCCESS
        return pointer

    def set(self, kind, pointer, attribute, value):
        function = getattr(self.library, f"cublasLt{kind}SetAttribute")
        size = ctypes.c_size_t(ctypes.sizeof(value))
        return function(pointer, attribute, ctypes.byref(value), size)

    def describe(self, a, b, out, epilogue=PLAIN, vector=None, compute=68):
        self.arrays, self.vector = (a, b, out, out), vector
        self.operation = self.made("MatmulDesc", compute, FLOAT32)
        attributes = [(7, ctypes.c_uint32(epilogue))]
        if vector is not None:
            attributes += [(8, ctypes.c_void_p(vector.data.ptr))]
        for attribute, value in attributes:
            assert self.set("MatmulDesc", self.operation, attribute, value) == SUCCESS
        self.layouts = [self.layout(x, x.shape[0]) for x in self.arrays]
        return self

    def layout(self, array, leading):
        kind = FLOAT64 if array.dtype == "f8" else FLOAT32
        sizes = map(ctypes.c_uint64, array.shape)
        return self.made("MatrixLayout", kind, *sizes, ctypes.c_int64(leading))

    def find(self, alignment=256, workspace=4096):
        preference = self.made("MatmulPreference")
        values = [(1, ctypes.c_uint64(workspace)), (3, ctypes.c_uint32(REPEATABLE))]
        values += [(number, ctypes.c_uint32(alignment)) for number in (5, 6, 7, 8)]
        for attribute, value in values:
            assert self.set("MatmulPreference", preference, attribute, value) == SUCCESS
        self.result, found = Result(), ctypes.c_int(-1)
        status = self.library.cublasLtMatmulAlgoGetHeuristic(
            *(self.handle, self.operation, *self.layouts, preference),
            *(1, ctypes.byref(self.result), ctypes.byref(found)),
        )
        assert found.value == (status == SUCCESS)
        return status

    def check(self):
        return self.library.cublasLtMatmulAlgoCheck(
            *(self.handle, self.operation, *self.layouts),
            *(ctypes.byref(self.result), ctypes.byref(Result())),
        )

    def multiply(self, workspace=4096):
        scalars = ctypes.c_float(1), ctypes.c_float(0)
        a, b, c, d = (ctypes.c_void_p(array.data.ptr) for array in self.arrays)
        la, lb, lc, ld = self.layouts
        return self.library.cublasLtMatmul(
            *(self.handle, self.operation, ctypes.byref(scalars[0]), a, la, b, lb),
            *(ctypes.byref(scalars[1]), c, lc, d, ld, ctypes.byref(self.result)),
            *(ctypes.c_void_p(self.workspace.data.ptr), ctypes.c_size_t(workspace)),
            ctypes.c_void_p(0),
        )


def operands(rng, m=3, n=4, k=5):
    a, b = (rng.standard_normal(shape).astype("f4") for shape in ((m, k), (k, n)))
    return tuple(cupy.asarray(x, order="F") for x in (a, b, np.full((m, n), np.nan, "f4")))


def test_what_has_no_algorithm(rng):
    a, b, out = operands(rng)
    assert Lt().describe(a, b, out, epilogue=32).find() == NOT_SUPPORTED
    assert Lt().describe(a, b, out, compute=64).find() == NOT_SUPPORTED
    assert Lt().describe(a.astype("f8"), b, out).find() == NOT_SUPPORTED
    assert Lt().describe(a, b, out).find(workspace=0) == NOT_SUPPORTED
    assert Lt().describe(a, a, out).find() == INVALID_VALUE


def test_attributes_have_a_size():
    lt = Lt()
    operation, preference = lt.made("MatmulDesc", 68, FLOAT32), lt.made("MatmulPreference")
    assert lt.set("MatmulDesc", operation, 7, ctypes.c_uint64(BIAS)) == INVALID_VALUE
    assert lt.set("MatmulDesc", operation, 99, ctypes.c_int(0)) == INVALID_VALUE
    assert lt.set("MatmulPreference", preference, 1, ctypes.c_uint32(1)) == INVALID_VALUE
    assert lt.set("MatmulPreference", preference, 0, ctypes.c_uint32(1)) == INVALID_VALUE


def test_an_algorithm_is_for_the_alignments_it_was_asked_for(rng):
    a, b, out = operands(rng, 4, 4, 4)
    shifted = cupy.empty(17, "f4")[1:].reshape(4, 4, order="F")
    shifted[...] = a
    for alignment, status in ((256, INVALID_VALUE), (4, SUCCESS)):
        lt = Lt().describe(shifted, b, out)
        assert (lt.find(alignment), lt.multiply()) == (SUCCESS, status)


def another_vector(lt):
    unaligned = cupy.zeros(8, "f4")[1:]
    lt.set("MatmulDesc", lt.operation, 8, ctypes.c_void_p(unaligned.data.ptr))
    return lt.multiply()


def another_epilogue(lt):
    lt.set("MatmulDesc", lt.operation, 7, ctypes.c_uint32(RELU))
    return lt.multiply()


def another_layout_of_c(lt):
    lt.layouts[2] = lt.layout(lt.arrays[2], 4)
    assert lt.find() == INVALID_VALUE  # that of D must be the same
    return lt.multiply()


@pytest.mark.parametrize(
    ("epilogue", "with_vector", "misuse"),
    [
        (PLAIN, False, lambda lt: lt.multiply(workspace=0)),
        (PLAIN, False, another_epilogue),
        (PLAIN, False, another_layout_of_c),
        (BIAS, True, another_vector),
        (BIAS, False, Lt.multiply),
    ],
    ids=["workspace", "epilogue", "layout of C", "alignment of the vector", "no vector"],
)
def test_an_algorithm_is_for_the_problem_that_it_was_found_for(rng, epilogue, with_vector, misuse):
    vector = cupy.zeros(3, "f4") if with_vector else None
    lt = Lt().describe(*operands(rng), epilogue, vector)
    assert lt.find() == SUCCESS
    assert misuse(lt) == INVALID_VALUE


def test_a_vector_that_is_too_short_is_refused(rng, capsys):
    a, b, out = operands(rng, m=300)
    lt = Lt().describe(a, b, out, SUMS_OF_A, cupy.zeros(3, "f4"))
    assert (lt.find(), lt.multiply()) == (SUCCESS, EXECUTION_FAILED)
    assert "bias" in capsys.readouterr().err
