"""Test that steps of plain NumPy give the results of the definitions."""

import numpy as np
import pytest

import gpunn
from gpunn.backends import Backend
from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.numpy.lowerings import CHUNK, parts, row_blocks


def trained(optimizer, threads=None):
    model = gpunn.Sequential(
        [gpunn.layers.Dense(300, "relu"), gpunn.layers.Dense(10)],
        input_shape=(250,),
        backend=gpunn.get_backend("numpy", threads=threads),
        seed=1,
    )
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", optimizer, metrics=["accuracy"])
    random = np.random.default_rng(0)
    X, y = random.normal(size=(90, 250)).astype(np.float32), random.integers(0, 10, 90)
    trainer.fit(X, y, epochs=3, batch_size=32, progress=False)
    return model.parameters.to_host(), trainer.history


OPTIMIZERS = [
    gpunn.optimizers.SGD(0.1),
    gpunn.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    gpunn.optimizers.AdamW(1e-3),
    gpunn.optimizers.RMSprop(1e-3),
    gpunn.optimizers.Lion(1e-4),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.name)
def test_training_is_that_of_single_operations(numpy_alone, monkeypatch, optimizer):
    actual, history = trained(optimizer)
    monkeypatch.setattr(NumpyBackend, "lower", Backend.lower)
    expected, plain = trained(optimizer)
    np.testing.assert_allclose(history["loss"], plain["loss"], 1e-4)
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], 0, 2e-4, err_msg=name)


def test_repeated_training_is_bitwise_identical(numpy_alone):
    for threads in (1, 2):
        first, second = (trained(gpunn.optimizers.Adam(1e-3), threads)[0] for _ in range(2))
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])


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
