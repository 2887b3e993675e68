"""Test which kernels compute the gradient of pooled activations."""

import numpy as np
import pytest

pytest.importorskip("numba")

from gpunn import activations
from gpunn.backends.numpy.compiled.backend import CompiledBackend
from gpunn.backends.recording import record
from gpunn.backends.windows import Window

PAIRS, OVERLAPPING = Window((2, 2), (2, 2)), Window((2, 2), (1, 1))


@pytest.mark.parametrize(
    ("f", "window", "of_pooled", "instructions"),
    [
        (activations.ReLU(), PAIRS, True, 1),
        (activations.ReLU(), PAIRS, False, 2),
        (activations.ReLU(), OVERLAPPING, True, 2),
        (activations.Tanh(), PAIRS, True, 2),
    ],
)
def test_a_pooling_multiplies_by_the_derivative_of_a_relu(f, window, of_pooled, instructions):
    backend, g = CompiledBackend(2), np.random.default_rng(0)
    x, other = (np.maximum(g.standard_normal((3, 4, 6, 5)), 0).astype(np.float32) for _ in "ab")
    rows, columns = (3, 5) if window is OVERLAPPING else (2, 3)
    y, gradient = (g.standard_normal((3, rows, columns, 5)).astype(np.float32) for _ in "ab")
    backend.max_pool(x, window, y)
    gradient[0, 0, 0, 0] = np.inf
    whole, parts = np.empty_like(x), np.empty_like(x)

    def both(out):
        backend.max_pool_gradient(x, y, gradient, window, out)
        backend.activation_gradient(f, x, x if of_pooled else other, out, None)

    program = backend._program(record(lambda: both(whole), backend))
    program(1)
    for operation in record(lambda: both(parts), backend):
        backend.lower([operation])(1)
    np.testing.assert_array_equal(whole, parts)
    assert [len(table.rows) for table in program._steps] == [instructions]
