"""gpunn's public interface, as in the README."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

import gpunn
from benchmarks.adapters import AfterEpoch, Epoch, checked
from benchmarks.work import Rows, Task, initial_weights


class Gpunn:
    def train(self, task: Task, rows: Rows, seed: int, after_epoch: AfterEpoch) -> None:
        inputs, *hidden, outputs = task.sizes
        layers = [layer for units in hidden for layer in hidden_layers(task, units)]
        model = gpunn.Sequential(
            [*layers, dense(outputs)], (inputs,), backend="numpy", seed=seed, dtype=task.dtype
        )
        for number, weights in enumerate(initial_weights(task, seed), start=1):
            model.parameters[f"dense_{number}.weights"] = weights
        trainer = gpunn.Trainer(model, loss(task), optimizer(task), task.metrics)
        trainer.fit(
            *(rows.X, rows.y),
            sample_weight=rows.weights,
            epochs=task.epochs,
            batch_size=task.batch_size,
            callbacks=[Clock(after_epoch)],
            progress=False,
        )


dense = partial(gpunn.layers.Dense, bias_initializer="zeros")  # all libraries start so


def hidden_layers(task: Task, units: int) -> list[gpunn.layers.Layer | str]:
    layers: list[gpunn.layers.Layer | str] = [dense(units, activation=task.activation)]
    if task.normalization:
        activation = gpunn.layers.Activation(task.activation)
        layers = [dense(units), task.normalization, activation]
    return [*layers, gpunn.layers.Dropout(task.dropout)] if task.dropout else layers


def loss(task: Task) -> dict[str, Any]:
    if task.loss == "half_squared_error":
        return {"name": "mean_squared_error", "over_outputs": "half_sum"}
    smoothing = {"label_smoothing": task.label_smoothing} if task.label_smoothing else {}
    return {"name": task.loss, **smoothing}


def optimizer(task: Task) -> dict[str, Any]:
    rate: float | gpunn.schedules.Schedule = task.learning_rate
    if task.schedule == "cosine":
        rate = gpunn.schedules.Cosine(task.learning_rate)
    if task.warm_up:
        rate = gpunn.schedules.WarmUp(rate, task.warm_up)
    momentum = {"momentum": task.momentum, "nesterov": True} if task.momentum else {}
    return {
        "name": task.optimizer,
        "learning_rate": rate,
        "max_norm": task.max_norm,
        "weight_decay": task.weight_decay,
        "l2_penalty": task.l2_penalty,
        **momentum,
    }


class Clock(gpunn.callbacks.Callback):
    """Times epochs including the shuffle, which the history's seconds leave out."""

    def __init__(self, after_epoch: AfterEpoch) -> None:
        self.after_epoch = after_epoch

    def on_train_begin(self, trainer: gpunn.Trainer) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, trainer: gpunn.Trainer, logs: Mapping[str, float]) -> None:
        seconds = time.perf_counter() - self.began

        def predict(rows: np.ndarray) -> np.ndarray:
            return trainer.model.predict(rows).argmax(axis=1)

        if self.after_epoch(Epoch(seconds, checked(logs), predict)):
            trainer.stop_reason = "timed for long enough"
        self.began = time.perf_counter()
