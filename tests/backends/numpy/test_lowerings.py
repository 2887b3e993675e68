"""Test how plain NumPy divides arrays; `tests/parity` compares its operations and trainings."""

import numpy as np
import pytest

from gpunn.backends.numpy.lowerings import CHUNK, parts, row_blocks


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_parts_cover_everything_once(size):
    numbers = np.arange(size)
    pieces = [numbers[part] for part in parts(0, size)]
    assert all(0 < piece.size <= CHUNK for piece in pieces)
    np.testing.assert_array_equal(np.concatenate([numbers[:0], *pieces]), numbers)


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 0), (7, CHUNK), (7, CHUNK + 1), (300, 200)])
def test_row_blocks_cover_all_rows_once(shape):
    z = np.zeros(shape, np.int8)
    for rows in row_blocks(z):
        z[rows] += 1
        assert z[rows].shape[0] == 1 or z[rows].size <= CHUNK or not z.size
    assert (z == 1).all()
