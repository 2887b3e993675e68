"""Gathered rows, with 32-bit and 64-bit indices of elements."""

import cupy
import numpy as np
import pytest
from parity import operations

import gpunn
from gpunn.backends.cupy.kernels import rows

CASE = next(each for each in operations.CASES if each.name == "next_batch-pixels_and_weights-700")


@pytest.mark.emulated
def test_elements_may_need_more_than_31_bits(monkeypatch):
    backend, host = gpunn.get_backend("cupy"), operations.inputs(CASE, "float32")
    small = operations.execute(backend, "float32", CASE, host)
    monkeypatch.setattr(rows, "LARGE", 0)
    large = operations.execute(backend, "float32", CASE, host)
    for array, value in small.items():
        np.testing.assert_array_equal(large[array], value, array)


def test_the_type_of_indices_fits_those_of_the_last_block():
    class Sized:
        def __init__(self, size):
            self.size = size

    last_block = rows.THREADS * rows.PER_THREAD
    assert rows.index_type([Sized(7), Sized(2**31 - last_block - 1)]) == "int"
    assert rows.index_type([Sized(2**31 - last_block), Sized(7)]) == "long long"


LAYOUTS = {
    "contiguous": (np.s_[:, :], np.s_[:, :]),
    "columns of a wider array": (np.s_[:, :2], np.s_[:, 2:4]),
    "every second column": (np.s_[:, ::2], np.s_[:, 1::2]),
    "part of a vector": (np.s_[0, 1:], np.s_[2, :-1]),
}


@pytest.mark.emulated
@pytest.mark.parametrize(
    ("given", "made"), [("float32",) * 2, ("float64", "float32"), ("int64",) * 2]
)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("transposed", [False, True])
def test_an_assignment_of_any_layout_is_one_kernel_and_allocates_nothing(
    layout, transposed, given, made
):
    import emulated_cuda

    backend, (source, target) = gpunn.get_backend("cupy"), LAYOUTS[layout]
    numbers = (np.arange(24).reshape(6, 4) / (3 if given[0] == "f" else 1)).astype(given)
    values, out = backend.from_host(numbers)[source], backend.zeros((6, 4), made)[target]
    values, out = (values.T, out.T) if transposed else (values, out)
    backend.assign(values, out)  # compiles the kernel
    with emulated_cuda.counters() as counts:
        backend.assign(values, out)
    assert (counts.launches, counts.pool_mallocs) == (1, 0)
    assert np.array_equal(cupy.asnumpy(out), cupy.asnumpy(values).astype(made))
