"""Rows that are gathered, whatever type numbers their elements."""

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


def test_the_type_that_numbers_elements_holds_those_of_the_last_block():
    class Sized:
        def __init__(self, size):
            self.size = size

    last_block = rows.THREADS * rows.PER_THREAD
    assert rows.index_type([Sized(7), Sized(2**31 - last_block - 1)]) == "int"
    assert rows.index_type([Sized(2**31 - last_block), Sized(7)]) == "long long"
