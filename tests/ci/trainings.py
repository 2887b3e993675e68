"""Trains a few networks and prints hashes of their final states, as JSON.

A separate program: it imports only the gpunn that its process finds, without numba.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from typing import Any

if __name__ == "__main__":
    sys.modules.update(dict.fromkeys(("numba", "llvmlite")))  # importing them fails

import numpy as np

import gpunn
from gpunn import layers, losses, metrics, optimizers
from gpunn.backends.numpy.compiled.library import loaded_library
from gpunn.layers import Conv2D, Dense, MaxPool2D

ROWS, FEATURES = 333, 50
INPUTS = np.random.default_rng(0).standard_normal((ROWS, FEATURES))
WEIGHTS = np.linspace(0, 2, ROWS)
TIMES = ("seconds", "samples_per_second")
"""Keys of a history that depend on the machine."""


def trained(
    dtype: str,
    network: Sequence[layers.Layer],
    loss: Any,
    optimizer: optimizers.Optimizer,
    measured: Sequence[Any],
    targets: np.ndarray,
    accumulation: int = 1,
    shape: tuple[int, ...] = (FEATURES,),
) -> dict[str, np.ndarray]:
    """Return the parameters, the trainer's state, the history and the predictions of a training."""
    inputs = INPUTS.reshape(ROWS, *shape)
    model = gpunn.Sequential(network, shape, "numpy", seed=0, dtype=dtype)
    trainer = gpunn.Trainer(model, loss, optimizer, measured, gradient_accumulation=accumulation)
    given = {"sample_weight": WEIGHTS, "validation_split": 0.2, "progress": False}
    trainer.fit(inputs, targets, epochs=4, batch_size=48, **given)
    history = {name: np.array(trainer.history[name]) for name in trainer.history}
    left = {name: array for name, array in history.items() if name not in TIMES}
    left |= {**trainer.state(), **model.parameters.to_host()}
    return {**left, "predictions": model.predict(inputs)}


def classifier(dtype: str) -> dict[str, np.ndarray]:
    return trained(
        dtype,
        [
            layers.Standardization(),
            *(Dense(200, "gelu"), layers.BatchNorm(), layers.Dropout(0.2)),
            *(Dense(70, "mish"), layers.LayerNorm(), layers.Dropout(0.1)),
            Dense(7),
        ],
        losses.SoftmaxCrossEntropy(label_smoothing=0.1),
        optimizers.Adam(0.01, max_norm=0.5),
        ["accuracy", "auc", metrics.F1("macro"), "log_loss", "brier_score"],
        np.arange(ROWS) % 7,
    )


def regressor(dtype: str) -> dict[str, np.ndarray]:
    return trained(
        dtype,
        [
            *(Dense(90, "tanh"), layers.LayerNorm(), Dense(90, "silu"), layers.Dropout(0.1)),
            *(Dense(30, "elu"), Dense(2)),
        ],
        losses.Huber(),
        optimizers.AdamW(0.01, max_norm=1.0, l2_penalty=1e-3),
        ["r2", "mean_absolute_error"],
        np.sin(INPUTS[:, :2]) + INPUTS[:, 2:4] ** 2,
        accumulation=2,
    )


def of_images(dtype: str) -> dict[str, np.ndarray]:
    return trained(
        dtype,
        [
            *(Conv2D(6, 3, padding="same", activation="relu"), MaxPool2D(2)),
            *(Conv2D(33, 2), layers.BatchNorm(), layers.Activation("relu")),
            *(Conv2D(33, 1, strides=(1, 2), padding="same"), layers.Flatten(), Dense(7)),
        ],
        losses.SoftmaxCrossEntropy(),
        optimizers.Adam(0.01),
        ["accuracy"],
        np.arange(ROWS) % 7,
        shape=(5, 10, 1),
    )


def main() -> None:
    ended = {
        f"{make.__name__}, {dtype}, {name}": hashlib.sha256(array.tobytes()).hexdigest()
        for make in (classifier, regressor, of_images)
        for dtype in ("float32", "float64")
        for name, array in make(dtype).items()
    }
    print(json.dumps({"library": str(loaded_library().path), "hashes": ended}))


if __name__ == "__main__":
    main()
