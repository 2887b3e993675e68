"""The layer that sorts outputs after the loss."""

import numpy as np
import pytest

import gpunn
from gpunn.errors import ArgumentError


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_outputs_are_sorted(count):
    model = gpunn.Sequential([gpunn.layers.SortedOutputs()], count, backend="numpy")
    x = np.random.default_rng(0).normal(size=(200, count)).astype("float32")
    np.testing.assert_array_equal(model.predict(x), np.sort(x))


def test_classes_are_not_sorted():
    layers = [gpunn.layers.Dense(2), gpunn.layers.SortedOutputs()]
    model = gpunn.Sequential(layers, 2, backend="numpy")
    trainer = gpunn.Trainer(model, "softmax_cross_entropy")
    with pytest.raises(ArgumentError, match="sorted_outputs"):
        trainer.fit(np.zeros((4, 2)), [0, 1, 0, 1], progress=False)
