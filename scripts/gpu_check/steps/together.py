"""Train several networks at the same time, and compare bits and time with separate trainings."""

import time

import device
import numpy as np
import training
from process import FAILED, PASSED, Outcome, Step

import gpunn

SIZES = ((16, 8, 10), (16, 16, 10)) if device.REHEARSAL else ((64, 32, 10), (784, 512, 512, 10))
ROWS, BATCH, EPOCHS = (64, 32, 2) if device.REHEARSAL else (4096, 32, 30)
NETWORKS = 3 if device.REHEARSAL else 16
THREADS = (1, 3) if device.REHEARSAL else (1, 2, 4, 8, 16)


def run(step: Step) -> Outcome:
    random = np.random.default_rng(0)
    ratios = []
    for sizes in SIZES:
        name = "-".join(map(str, sizes))
        X = random.random((ROWS, sizes[0]), np.float32)
        y = random.integers(0, training.CLASSES, ROWS)
        prepared(sizes, X, y)[0].run()  # compiles kernels
        seconds, expected = dict[int, float](), None
        for threads in (0, *THREADS):
            fits = prepared(sizes, X, y)
            began = time.perf_counter()
            parameters = trained(fits, threads)
            seconds[threads] = time.perf_counter() - began
            expected = parameters if expected is None else expected
            if not np.array_equal(parameters, expected):
                return FAILED, f"{name}: results differ with {threads} threads"
            step.add({"network": name, "threads": threads, "seconds": seconds[threads]})
        ratio, best = max((seconds[0] / each, threads) for threads, each in seconds.items())
        ratios.append(f"{name}: {ratio:.1f} times as fast with {best} threads")
    return PASSED, f"{NETWORKS} networks, bitwise identical; " + "; ".join(ratios)


def prepared(sizes: tuple[int, ...], X: np.ndarray, y: np.ndarray) -> list[gpunn.training.Fit]:
    options = {"epochs": EPOCHS, "batch_size": BATCH, "progress": False}
    return [
        training.trainer(sizes, "cupy", seed=seed).prepare(X, y, **options)
        for seed in range(NETWORKS)
    ]


def trained(fits: list[gpunn.training.Fit], threads: int) -> np.ndarray:
    """Train the networks, by `Trainer.fit` if there are 0 threads; return their parameters."""
    if threads:
        gpunn.train_together(fits, threads, progress=False)
    else:
        for fit in fits:
            fit.run()
    models = [fit.trainer.model for fit in fits]
    return np.stack([each.backend.to_host(each.parameters.values) for each in models])
