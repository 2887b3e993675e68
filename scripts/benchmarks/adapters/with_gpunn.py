"""gpunn, by its public interface as the README shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

import gpunn
from benchmarks.adapters import AfterEpoch
from benchmarks.work import Task, initial_weights

OPTIMIZERS = {"sgd": gpunn.optimizers.SGD, "adam": gpunn.optimizers.Adam}
ENDLESS = 10**9
"""Epochs; the clock ends training."""


class Gpunn:
    """`Trainer.fit`; whether it has compiled kernels is decided by the process it runs in."""

    def train(
        self, task: Task, X: np.ndarray, y: np.ndarray, seed: int, after_epoch: AfterEpoch
    ) -> None:
        *hidden, classes = task.sizes[1:]
        zeros = partial(gpunn.layers.Dense, bias_initializer="zeros")  # everybody's start
        layers = [*(zeros(units, activation="relu") for units in hidden), zeros(classes)]
        model = gpunn.Sequential(layers, (task.sizes[0],), backend="numpy", seed=seed)
        for number, weights in enumerate(initial_weights(task.sizes, seed), start=1):
            model.parameters[f"dense_{number}.weights"] = weights
        optimizer = OPTIMIZERS[task.optimizer](task.learning_rate)
        trainer = gpunn.Trainer(model, "softmax_cross_entropy", optimizer, metrics=[])
        trainer.fit(
            *(X, y),
            epochs=ENDLESS,
            batch_size=task.batch_size,
            callbacks=[Clock(after_epoch)],
            progress=False,
        )

    def mish_backward(self, mean: float) -> Callable[[], object]:
        """Return the backward pass of a layer of 256 units for 256 rows of 256 inputs.

        Parameters
        ----------
        mean : float
            Of the pre-activations.
        """
        ops, mish = gpunn.get_backend("numpy"), gpunn.activations.Mish()
        normal = np.random.default_rng(0).standard_normal
        x, weights, z = (normal((256, 256), np.float32) for _ in range(3))
        z += np.float32(mean)
        output, gradient, *gradients = (np.zeros_like(x) for _ in range(4))
        bias_gradient = np.zeros(256, np.float32)

        def backward() -> None:
            ops.activate(mish, z, None, output)
            ops.fill(gradient, 1.0)
            ops.dense_gradient(
                x, weights, mish, z, output, gradient, gradients[0], bias_gradient, gradients[1]
            )

        return partial(ops.recorded(backward), 1)


class Clock(gpunn.callbacks.Callback):
    """Times epochs from the outside, shuffle included, which the history's seconds leave out."""

    def __init__(self, after_epoch: AfterEpoch) -> None:
        self.after_epoch = after_epoch

    def on_train_begin(self, trainer: gpunn.Trainer) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, trainer: gpunn.Trainer, logs: Mapping[str, float]) -> None:
        seconds = time.perf_counter() - self.began

        def predict(rows: np.ndarray) -> np.ndarray:
            return trainer.model.predict(rows).argmax(axis=1)

        if self.after_epoch(seconds, predict):
            trainer.stop_reason = "timed for long enough"
        self.began = time.perf_counter()
