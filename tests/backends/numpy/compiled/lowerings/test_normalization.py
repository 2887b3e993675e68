"""Test the rounding of batch normalization."""

import numpy as np
import pytest

pytest.importorskip("numba")

import gpunn
from gpunn.layers import BatchNorm, Dense


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("columns", [3, 70])
def test_a_large_mean_costs_few_digits_of_the_variance(threads, columns):
    X = np.random.default_rng(0).normal(1e5, 1.0, (8192, columns)).astype(np.float32)
    X[:, 0] = 0.1 + 1e5  # a constant column
    norm = BatchNorm(momentum=0.0)  # so that the averages are those of the batch
    backend = gpunn.get_backend("numpy", threads=threads)
    model = gpunn.Sequential([norm, Dense(1)], columns, backend, seed=0)
    trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.SGD(1e-9))
    trainer.fit(X, np.zeros(len(X)), epochs=1, batch_size=len(X), progress=False)
    expected = X.astype(np.float64)
    np.testing.assert_allclose(norm.values["running_mean"], expected.mean(axis=0), rtol=1e-7)
    variance = expected.var(axis=0)
    np.testing.assert_allclose(norm.values["running_variance"], variance, rtol=1e-4, atol=1e-6)
