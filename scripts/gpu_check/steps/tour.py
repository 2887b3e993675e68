"""A short training that passes through most kernels, for steps that look at kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import gpunn
from gpunn import layers, losses, optimizers

ROWS, FEATURES, CLASSES, BATCH = 20, 6, 3, 8

NETWORKS: Sequence[Sequence[layers.Layer]] = (
    (layers.Dense(5, "relu"), layers.Dropout(0.3), layers.Dense(CLASSES)),
    (layers.Dense(5, "gelu"), layers.BatchNorm(), layers.Dense(4, "silu"), layers.Dense(CLASSES)),
    (layers.Dense(5, "tanh"), layers.LayerNorm(), layers.Dense(CLASSES, "sigmoid")),
)
LOSSES = (losses.SoftmaxCrossEntropy(), losses.Huber(), losses.MeanSquaredError())
OPTIMIZERS = (optimizers.AdamW(max_norm=1.0), optimizers.SGD(momentum=0.9), optimizers.Lion())
METRICS = (("accuracy",), ("mean_absolute_error",), ("root_mean_squared_error",))


def run(backend: str) -> list[float]:
    """Train each network for one epoch, the last batch being smaller, and return their losses."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((ROWS, FEATURES)).astype(np.float32)
    y = np.arange(ROWS) % CLASSES
    finals = []
    for network, loss, optimizer, metrics in zip(
        NETWORKS, LOSSES, OPTIMIZERS, METRICS, strict=True
    ):
        model = gpunn.Sequential([layer.config() for layer in network], FEATURES, backend, seed=0)
        targets = y if loss is LOSSES[0] else np.eye(CLASSES, dtype=np.float32)[y]
        trainer = gpunn.Trainer(model, loss, optimizer, metrics)
        weights = generator.random(ROWS)
        trainer.fit(X, targets, batch_size=BATCH, sample_weight=weights, progress=False)
        trainer.evaluate(X, targets)
        model.predict(X)
        finals.append(float(trainer.history["loss"][-1]))
    return finals
