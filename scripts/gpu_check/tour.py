"""Short training runs that use most kernels, for steps that inspect kernels."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import networks
import numpy as np
from cupy.cuda import compiler

import gpunn
from gpunn import losses, optimizers
from gpunn.backends import get_backend
from gpunn.layers import BatchNorm, Dense, Dropout, LayerNorm

ROWS, FEATURES, CLASSES, BATCH = 68, 6, 3, 8
"""8 whole batches and a smaller one."""


def trainings() -> list[tuple[Sequence[Any], Any, Any, str, dict[str, Any]]]:
    return [
        (
            [Dense(5, "relu"), Dropout(0.3), Dense(CLASSES)],
            *(losses.SoftmaxCrossEntropy(), optimizers.AdamW(max_norm=1.0), "accuracy", {}),
        ),
        (
            [Dense(5, "gelu"), BatchNorm(), Dense(4, "silu"), Dense(CLASSES)],
            *(losses.Huber(), optimizers.SGD(momentum=0.9), "mean_absolute_error", {}),
        ),
        (
            [Dense(5, "tanh"), LayerNorm(), Dense(CLASSES, "sigmoid")],
            *(losses.MeanSquaredError(), optimizers.Lion(), "root_mean_squared_error", {}),
        ),
        (
            [Dense(5, "relu"), Dense(CLASSES)],
            *(losses.SoftmaxCrossEntropy(), optimizers.Adam(), "accuracy"),
            {"matmul_precision": "float16"},
        ),
    ]


def run(**options: Any) -> None:
    generator = np.random.default_rng(0)
    X = generator.standard_normal((ROWS, FEATURES)).astype(np.float32)
    y = np.arange(ROWS) % CLASSES
    for layers, loss, optimizer, metric, own_options in trainings():
        backend = get_backend("cupy", **own_options, **options)
        model = gpunn.Sequential(layers, FEATURES, backend, seed=0)
        labels = isinstance(loss, losses.SoftmaxCrossEntropy)
        targets = y if labels else np.eye(CLASSES, dtype=np.float32)[y]
        train(gpunn.Trainer(model, loss, optimizer, [metric]), X, targets, generator.random(ROWS))
    small = {"numbers": 3, "units": 5}
    for network in (
        *(make(ROWS, **small) for make in networks.INSPECTED.values()),
        networks.tabm(ROWS, **small, kind="full"),
    ):
        trainer = network.trainer(get_backend("cupy", **options))
        train(trainer, network.X, network.y, generator.random(ROWS))


def train(trainer: gpunn.Trainer, X: Any, y: Any, weights: Any) -> None:
    trainer.fit(X, y, epochs=2, batch_size=BATCH, sample_weight=weights, progress=False)
    trainer.evaluate(X, y)
    trainer.model.predict(X)


@contextmanager
def compiled_sources(seen: Callable[[str, float], object]) -> Iterator[None]:
    compile_module: Any = compiler._compile_module_with_cache

    def compile_and_report(source: str, *arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        module = compile_module(source, *arguments, **options)
        seen(source, time.perf_counter() - began)
        return module

    with patch.object(compiler, "_compile_module_with_cache", compile_and_report):
        yield
