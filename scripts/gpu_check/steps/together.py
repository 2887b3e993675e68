"""Train several networks at the same time, and compare bits and time with separate trainings."""

from __future__ import annotations

import time

import device
import numpy as np
import training
from process import FAILED, PASSED, Outcome, Step

import gpunn

SIZES = ((16, 8, 10), (16, 16, 10)) if device.REHEARSAL else ((64, 32, 10), (784, 512, 512, 10))
ROWS, BATCH, EPOCHS = (64, 32, 2) if device.REHEARSAL else (4096, 32, 10)
NETWORKS = 3 if device.REHEARSAL else 16
THREADS = (1, 3) if device.REHEARSAL else (1, 2, 4, 8, 16)


def run(step: Step) -> Outcome:
    """Train equal networks with other seeds: all with one thread, and with more threads."""
    random = np.random.default_rng(0)
    ratios = []
    for sizes in SIZES:
        name = "-".join(map(str, sizes))
        X = random.random((ROWS, sizes[0]), np.float32)
        y = random.integers(0, training.CLASSES, ROWS)
        alone = parameters(prepared(sizes, X, y), 1)  # compiles kernels
        seconds = {}
        for threads in THREADS:
            fits = prepared(sizes, X, y)
            began = time.perf_counter()
            trained = parameters(fits, threads)
            seconds[threads] = time.perf_counter() - began
            if not np.array_equal(trained, alone):
                return FAILED, f"{name}: other bits with {threads} threads"
            step.add({"network": name, "threads": threads, "seconds": seconds[threads]})
        ratio, best = max((seconds[1] / each, threads) for threads, each in seconds.items())
        ratios.append(f"{name}: {ratio:.1f} times as fast with {best} threads")
    return PASSED, f"{NETWORKS} networks, equal bits; " + "; ".join(ratios)


def prepared(sizes: tuple[int, ...], X: np.ndarray, y: np.ndarray) -> list[gpunn.training.Fit]:
    """Return fits of networks that differ in their seeds."""
    options = {"epochs": EPOCHS, "batch_size": BATCH}
    return [
        training.trainer(sizes, "cupy", seed=seed).prepare(X, y, **options)
        for seed in range(NETWORKS)
    ]


def parameters(fits: list[gpunn.training.Fit], threads: int) -> np.ndarray:
    """Train the networks, and return their parameters."""
    results = gpunn.train_together(fits, threads, progress=False)
    models = [result.trainer.model for result in results]
    return np.stack([each.backend.to_host(each.parameters.values) for each in models])
