"""A short training that passes through most kernels, for steps that look at kernels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np
from cupy.cuda import compiler
from gpu.launches import launches_of_graphs, unhurried

import gpunn
from gpunn import layers, losses, optimizers
from gpunn.backends import get_backend

ROWS, FEATURES, CLASSES, BATCH = 68, 6, 3, 8
"""8 whole batches, for a graph of 8 steps, and a smaller one."""
EPOCHS = 2  # the larger graph is launched in the second one

NETWORKS: Sequence[Sequence[layers.Layer]] = (
    (layers.Dense(5, "relu"), layers.Dropout(0.3), layers.Dense(CLASSES)),
    (layers.Dense(5, "gelu"), layers.BatchNorm(), layers.Dense(4, "silu"), layers.Dense(CLASSES)),
    (layers.Dense(5, "tanh"), layers.LayerNorm(), layers.Dense(CLASSES, "sigmoid")),
    (layers.Dense(5, "relu"), layers.Dense(CLASSES)),
)
LOSSES = (
    *(losses.SoftmaxCrossEntropy(), losses.Huber(), losses.MeanSquaredError()),
    losses.SoftmaxCrossEntropy(),
)
OPTIMIZERS = (
    *(optimizers.AdamW(max_norm=1.0), optimizers.SGD(momentum=0.9), optimizers.Lion()),
    optimizers.Adam(),
)
METRICS = (("accuracy",), ("mean_absolute_error",), ("root_mean_squared_error",), ())
OPTIONS: Sequence[Mapping[str, Any]] = ({}, {}, {}, {"matmul_precision": "float16"})


@dataclass
class Tour:
    """What the trainings gave.

    Attributes
    ----------
    losses : list of float
        At the end of each.
    launches : dict of int to int
        Launches of graphs, by the number of steps in them.
    """

    losses: list[float] = field(default_factory=list)
    launches: dict[int, int] = field(default_factory=dict)


@contextmanager
def compiled_sources() -> Iterator[set[str]]:
    """Take note of every source that CuPy asks its compiler for."""
    compile_module: Any = compiler._compile_module_with_cache
    found: set[str] = set()

    def compile_and_keep(source: str, *arguments: Any, **options: Any) -> Any:
        found.add(source)
        return compile_module(source, *arguments, **options)

    with patch.object(compiler, "_compile_module_with_cache", compile_and_keep):
        yield found


def run(**more_options: Any) -> Tour:
    """Train each network for two epochs, the last batch being smaller."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((ROWS, FEATURES)).astype(np.float32)
    y = np.arange(ROWS) % CLASSES
    tour = Tour()
    with unhurried(), launches_of_graphs() as launches:
        for network, loss, optimizer, metrics, options in zip(
            NETWORKS, LOSSES, OPTIMIZERS, METRICS, OPTIONS, strict=True
        ):
            backend = get_backend("cupy", **options, **more_options)
            parts = [layer.config() for layer in network]
            model = gpunn.Sequential(parts, FEATURES, backend, seed=0)
            labels = isinstance(loss, losses.SoftmaxCrossEntropy)
            targets = y if labels else np.eye(CLASSES, dtype=np.float32)[y]
            trainer = gpunn.Trainer(model, loss, optimizer, metrics)
            trainer.fit(
                *(X, targets),
                epochs=EPOCHS,
                batch_size=BATCH,
                sample_weight=generator.random(ROWS),
                progress=False,
            )
            trainer.evaluate(X, targets)
            model.predict(X)
            tour.losses.append(float(trainer.history["loss"][-1]))
    tour.launches = dict(launches)
    return tour
