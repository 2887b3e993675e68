"""Keras 3 on JAX: compiled, and several steps a call, which is its fastest form on a CPU."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np

from benchmarks.adapters import AfterEpoch, checked
from benchmarks.work import Task, initial_weights

STEPS_A_CALL = 20
ENDLESS = 10**9
"""Epochs; the clock ends training."""


class Keras:
    """`Model.fit`."""

    def train(
        self, task: Task, X: np.ndarray, y: np.ndarray, seed: int, after_epoch: AfterEpoch
    ) -> None:
        keras.utils.set_random_seed(seed)
        inputs, *hidden, classes = task.sizes
        layers = [keras.layers.Dense(units, activation="relu") for units in hidden]
        model = keras.Sequential([keras.Input((inputs,)), *layers, keras.layers.Dense(classes)])
        initial: list[np.ndarray] = []
        for weights in initial_weights(task.sizes, seed):
            initial += [weights, np.zeros(weights.shape[1], np.float32)]
        model.set_weights(initial)
        model.compile(
            optimizer=optimizer(task),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=True,
            steps_per_execution=min(STEPS_A_CALL, len(X) // task.batch_size),
        )
        clock = Clock(after_epoch)
        model.fit(X, y, batch_size=task.batch_size, epochs=ENDLESS, verbose=0, callbacks=[clock])


def optimizer(task: Task) -> Any:
    """Return the optimizer; Keras's own epsilon is 1e-7."""
    if task.optimizer == "sgd":
        return keras.optimizers.SGD(task.learning_rate)
    return keras.optimizers.Adam(task.learning_rate, epsilon=1e-8)


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Times the epochs and ends training."""

    def __init__(self, after_epoch: AfterEpoch) -> None:
        super().__init__()
        self.after_epoch = after_epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        checked(float(logs["loss"]))
        seconds = time.perf_counter() - self.began
        self.model.jax_state_sync()  # what predicts are the trained parameters

        def predict(rows: np.ndarray) -> np.ndarray:
            return np.asarray(self.model.predict_on_batch(rows)).argmax(1)

        if self.after_epoch(seconds, predict):
            self.model.stop_training = True
