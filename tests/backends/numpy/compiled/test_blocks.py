"""Test the sums of blocks, which are the same on any processor."""

import numpy as np
import pytest

pytest.importorskip("numba")

from gpunn.backends.numpy.compiled import CompiledBackend

LANES = {"float32": 32, "float64": 16}


def sum_by_lanes(values):
    """Return the sum of a vector in the order of blocks: lane by lane, then halves."""
    lanes = LANES[values.dtype.name]
    padded = np.zeros(-(-values.size // lanes) * lanes, values.dtype)
    padded[: values.size] = values
    total = np.zeros(lanes, values.dtype)
    for block in padded.reshape(-1, lanes):
        total += block
    while total.size > 1:
        total = total[: total.size // 2] + total[total.size // 2 :]
    return total


@pytest.mark.parametrize("dtype", LANES)
@pytest.mark.parametrize("size", [1, 7, 16, 31, 32, 33, 300, 1024])
def test_a_sum_is_a_fixed_tree(dtype, size):
    values = np.random.default_rng(size).normal(size=size).astype(dtype)
    out = np.zeros(1, dtype)
    backend = CompiledBackend(1)
    backend.recorded(lambda: backend.sum(values, out))(1)
    np.testing.assert_array_equal(out, sum_by_lanes(values))


@pytest.mark.parametrize("size", [1, 31, 33, 95])
def test_nothing_is_written_past_the_end(size):
    memory = np.ones(size + 32, np.float32)
    x, passes = memory[:size], np.zeros(1, np.int64)
    backend = CompiledBackend(1)
    backend.recorded(lambda: backend.dropout(x, 1 - 1e-9, 0, passes, x))(1)
    assert not x.any()
    assert memory[size:].all()
