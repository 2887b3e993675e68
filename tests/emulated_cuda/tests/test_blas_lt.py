"""Products with epilogues on the emulated cuBLASLt: results and refusals."""

import ctypes
import itertools

import cupy
import emulated_cuda
import numpy as np
import pytest

pytestmark = pytest.mark.full  # what it computes changes with the emulator alone

SUCCESS, INVALID_VALUE, EXECUTION_FAILED, NOT_SUPPORTED = 0, 7, 13, 15
PLAIN, RELU, BIAS, RELU_BIAS, SUMS_OF_A, SUMS_OF_B = 1, 2, 4, 6, 256, 512
FLOAT32, FLOAT64 = 0, 1
REPEATABLE, ALL = 6, 7


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

    def describe(self, a, b, out, epilogue=PLAIN, vector=None, transposed=(0, 0), compute=68):
        self.arrays, self.vector = (a, b, out, out), vector
        self.operation = self.made("MatmulDesc", compute, FLOAT32)
        attributes = [(3, ctypes.c_int(transposed[0])), (4, ctypes.c_int(transposed[1]))]
        attributes += [(7, ctypes.c_uint32(epilogue))]
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

    def find(self, alignment=256, workspace=4096, wanted=1, reductions=REPEATABLE):
        preference = self.made("MatmulPreference")
        values = [(1, ctypes.c_uint64(workspace)), (3, ctypes.c_uint32(reductions))]
        values += [(number, ctypes.c_uint32(alignment)) for number in (5, 6, 7, 8)]
        for attribute, value in values:
            assert self.set("MatmulPreference", preference, attribute, value) == SUCCESS
        self.results, found = (Result * wanted)(), ctypes.c_int(-1)
        self.result = self.results[0]
        status = self.library.cublasLtMatmulAlgoGetHeuristic(
            *(self.handle, self.operation, *self.layouts, preference),
            *(wanted, ctypes.byref(self.results), ctypes.byref(found)),
        )
        assert found.value == (min(wanted, 8) if status == SUCCESS else 0)
        return status

    def check(self):
        return self.library.cublasLtMatmulAlgoCheck(
            *(self.handle, self.operation, *self.layouts),
            *(ctypes.byref(self.result), ctypes.byref(Result())),
        )

    def multiply(self, beta=0.0, workspace=4096, stream=0):
        scalars = ctypes.c_float(1), ctypes.c_float(beta)
        a, b, c, d = (ctypes.c_void_p(array.data.ptr) for array in self.arrays)
        la, lb, lc, ld = self.layouts
        return self.library.cublasLtMatmul(
            *(self.handle, self.operation, ctypes.byref(scalars[0]), a, la, b, lb),
            *(ctypes.byref(scalars[1]), c, lc, d, ld, ctypes.byref(self.result)),
            *(ctypes.c_void_p(self.workspace.data.ptr), ctypes.c_size_t(workspace)),
            ctypes.c_void_p(stream),
        )


def operands(rng, m=3, n=4, k=5, transposed=(0, 0)):
    a = rng.standard_normal((k, m) if transposed[0] else (m, k)).astype("f4")
    b = rng.standard_normal((n, k) if transposed[1] else (k, n)).astype("f4")
    return tuple(cupy.asarray(x, order="F") for x in (a, b, np.full((m, n), np.nan, "f4")))


TRANSPOSITIONS = list(itertools.product([0, 1], repeat=2))


@pytest.mark.parametrize("epilogue", [PLAIN, RELU, BIAS, RELU_BIAS, SUMS_OF_A, SUMS_OF_B])
@pytest.mark.parametrize("transposed", TRANSPOSITIONS)
def test_epilogues(epilogue, transposed, rng):
    a, b, out = operands(rng, transposed=transposed)
    vector = cupy.asarray(rng.standard_normal(4 if epilogue == SUMS_OF_B else 3).astype("f4"))
    before = vector.get()
    lt = Lt().describe(a, b, out, epilogue, vector, transposed)
    if epilogue == SUMS_OF_A and transposed[0]:  # as cuBLASLt 13 says
        assert (lt.find(), lt.multiply()) == (NOT_SUPPORTED, NOT_SUPPORTED)
        return
    assert lt.find() == SUCCESS
    with emulated_cuda.counters() as counts:
        assert lt.multiply() == SUCCESS
    assert (counts.matmuls, counts.fused_matmuls) == ({"float32": 1}, epilogue != PLAIN)
    left = a.get().T if transposed[0] else a.get()
    right = b.get().T if transposed[1] else b.get()
    expected = left @ right + (before[:, None] if epilogue & BIAS else 0)
    expected = np.maximum(expected, 0) if epilogue & RELU else expected
    np.testing.assert_allclose(out.get(), expected, rtol=1e-5, atol=1e-6)
    sums = {SUMS_OF_A: left.sum(axis=1), SUMS_OF_B: right.sum(axis=0)}.get(epilogue, before)
    np.testing.assert_allclose(vector.get(), sums, rtol=1e-5, atol=1e-6)


def test_beta(rng):
    a, b, out = operands(rng)
    out.fill(2)
    lt = Lt().describe(a, b, out)
    assert (lt.find(), lt.multiply(beta=0.5)) == (SUCCESS, SUCCESS)
    np.testing.assert_allclose(out.get(), a.get() @ b.get() + 1, rtol=1e-5, atol=1e-6)


def test_relu_of_what_is_not_a_number_is_nought(rng):
    a, b, out = operands(rng)
    a.fill(np.nan)
    lt = Lt().describe(a, b, out, RELU)
    assert (lt.find(), lt.multiply()) == (SUCCESS, SUCCESS)
    assert not out.get().any()


def test_what_has_no_algorithm(rng):
    a, b, out = operands(rng)
    assert Lt().describe(a, b, out, epilogue=32).find() == NOT_SUPPORTED
    assert Lt().describe(a, b, out, compute=64).find() == NOT_SUPPORTED
    assert Lt().describe(a.astype("f8"), b, out).find() == NOT_SUPPORTED
    assert Lt().describe(a, b, out).find(workspace=0) == NOT_SUPPORTED
    assert Lt().describe(a, a, out).find() == INVALID_VALUE


def test_each_algorithm_rounds_in_its_own_way(rng):
    a, b, out = operands(rng, 16, 16, 64)
    lt = Lt().describe(a, b, out)
    assert lt.find(wanted=20) == SUCCESS
    found, invalid = set(), []
    for number in range(8):
        lt.result = lt.results[number]
        if lt.result.state != SUCCESS:
            assert (lt.check(), lt.multiply()) == (NOT_SUPPORTED, EXECUTION_FAILED)
            invalid.append(number)
            continue
        products = []
        for _ in range(3):
            with emulated_cuda.counters() as counts:
                assert (lt.check(), lt.multiply()) == (SUCCESS, SUCCESS)
            assert counts.algorithms == {str(number): 1}
            np.testing.assert_allclose(out.get(), a.get() @ b.get(), rtol=1e-4, atol=1e-4)
            products.append(out.get().tobytes())
        assert len(set(products)) == 1
        found |= set(products)
    assert (len(found), invalid) == (7, [2])


def test_reductions_in_place_differ_each_time(rng):
    a, b, out = operands(rng, 16, 16, 64)
    lt = Lt().describe(a, b, out)
    assert lt.find(wanted=2, reductions=ALL) == SUCCESS
    lt.result, products = lt.results[1], set()
    for _ in range(3):
        assert lt.multiply() == SUCCESS
        products.add(out.get().tobytes())
    assert len(products) > 1


def test_refusals_are_those_of_a_seed(rng):
    problems = [(Lt().describe(*operands(rng, m=m), each)) for m in (1, 3, 8) for each in (1, 2)]
    refused = []
    for seed in (1, 1, 2):
        with emulated_cuda.refusals(seed):
            refused.append([lt.find() for lt in problems])
        assert set(refused[-1]) == {SUCCESS, NOT_SUPPORTED}
    assert refused[0] == refused[1] != refused[2]
    assert {lt.find() for lt in problems} == {SUCCESS}


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


def test_captured_product(rng):
    a, b, out = operands(rng)
    vector = cupy.ones(3, "f4")
    lt = Lt().describe(a, b, out, BIAS, vector)
    assert lt.find() == SUCCESS
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream, emulated_cuda.counters() as counts:
        stream.begin_capture()
        assert lt.multiply(stream=stream.ptr) == SUCCESS
        graph = stream.end_capture()
    assert counts.captured_matmuls == {"float32": 1}
    assert np.isnan(out.get()).all()
    vector += 1
    graph.launch(stream)
    np.testing.assert_allclose(out.get(), a.get() @ b.get() + 2, rtol=1e-5, atol=1e-6)
