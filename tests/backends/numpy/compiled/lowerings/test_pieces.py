"""Test that instructions give the same results if they run on pieces of the images in turn."""

import numpy as np
import pytest

pytest.importorskip("numba")

import gpunn
from gpunn.backends.numpy.compiled import backend as backends
from gpunn.backends.numpy.compiled.lowerings import base
from gpunn.backends.numpy.compiled.program import Instruction, grouped
from gpunn.backends.recording import record
from gpunn.backends.windows import Window
from gpunn.layers import (
    Activation,
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
)

LAYERS = (
    lambda: Conv2D(16, 3, padding="same"),
    lambda: Conv2D(18, 3, padding="same"),  # by minimal filtering
    BatchNorm,
    lambda: Activation("relu"),
    lambda: MaxPool2D(2),
    lambda: Conv2D(16, (3, 2), strides=(2, 1), groups=2, activation="relu"),
    lambda: Conv2D(16, 3, groups=16, padding="same", activation="tanh"),
    lambda: AveragePool2D(2),
    lambda: Dropout(0.1),
    BatchNorm,
    Flatten,
    lambda: Dense(3),
)


def trained(threads, batch_size):
    X = np.random.default_rng(0).standard_normal((47, 14, 12, 3)).astype(np.float32)
    backend = gpunn.get_backend("numpy", threads=threads)
    model = gpunn.Sequential([layer() for layer in LAYERS], X.shape[1:], backend, seed=0)
    predicted = model.predict(X)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", "sgd")
    trainer.fit(X, np.arange(47) % 3, epochs=2, batch_size=batch_size, progress=False)
    return predicted, np.copy(model.parameters.values)


@pytest.mark.parametrize(("threads", "batch_size"), [(1, 24), (2, 24), (2, 17), (3, 23)])
def test_pieces_compute_the_same(threads, batch_size, monkeypatch):
    whole = trained(threads, batch_size)
    monkeypatch.setattr(backends, "PIECE", 1 << 10)
    monkeypatch.setattr(base, "LEAST", 1)
    first, again = (trained(threads, batch_size) for _ in range(2))
    assert [each.tobytes() for each in first] == [each.tobytes() for each in again]
    assert first[0].tobytes() == whole[0].tobytes()  # a forward pass has no sums over images
    for one, other in zip(first, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def test_batch_norm_of_predictions_joins_the_group_of_its_pooling(monkeypatch):
    monkeypatch.setattr(backends, "PIECE", 1 << 10)
    monkeypatch.setattr(base, "LEAST", 1)
    images, pooled = np.zeros((4, 8, 8, 16), np.float32), np.zeros((4, 4, 4, 16), np.float32)
    vectors, pixels = np.ones((4, 16), np.float32), pooled.reshape(-1, 16)
    backend = gpunn.get_backend("numpy", threads=1)

    def predict():
        backend.max_pool(images, Window((2, 2), (2, 2)), pooled)
        backend.normalize(pixels, *vectors[:2], 1e-5, *vectors[2:], pixels)

    [table] = backend.lower(record(predict, backend))._steps
    assert table.rows[:, 2:4].tolist() == [[4, 2], [4, 2]]  # pieces, instructions of the group


def test_instructions_that_divide_the_same_images_run_as_a_group():
    a, b, c = (np.zeros((4, 2), np.float32) for _ in range(3))
    vector = np.zeros(2, np.float32)

    def piecewise(kernel, reads, out):
        return Instruction(kernel, [], reads, [out], [*reads, out], in_pieces=True)

    total = Instruction("sum_rows", [], [b], [vector])  # needs all pieces
    order = [piecewise("first", [a], b), total, piecewise("second", [b], c)]
    assert grouped(order, 4) == [[0, 2], [1]]
    needs_total = Instruction("third", [], [c, vector], [a], [c, a], in_pieces=True)
    assert grouped([*order, needs_total], 4) == [[0, 2], [1], [3]]
    assert grouped([order[0], piecewise("second", [b[:2]], c[:2])], 4) == [[0], [1]]
