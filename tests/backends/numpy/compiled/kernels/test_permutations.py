"""The kernel for permutations has the numbers of NumPy's generator."""

import numpy as np
import pytest

import gpunn
from gpunn import randomness


@pytest.mark.parametrize("seed", [0, 3, 2**32 - 1, 2**32, 2**70])
def test_permutations_are_those_of_numpy(seed):
    backend = gpunn.get_backend("numpy")
    for epoch, rows in enumerate([*range(1, 131), 255, 256, 257, 1437, 65536, 65537], 1):
        expected = randomness.permutation(seed, epoch, rows)
        actual = backend.row_orders(seed, range(epoch - 1, epoch + 1), rows)
        np.testing.assert_array_equal(actual[1], expected)
        np.testing.assert_array_equal(actual[0], randomness.permutation(seed, epoch - 1, rows))


def test_the_kernel_draws_them(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(randomness, "generator", None)
    (order,) = gpunn.get_backend("numpy").row_orders(1, range(2, 3), 50)
    assert sorted(order.tolist()) == list(range(50))
