"""A training whose steps are replayed as CUDA graphs, against one that launches every kernel."""

from __future__ import annotations

import logging
from typing import Any

import device
import numpy as np
from outcome import FAILED, PASSED, Outcome

import gpunn
from gpunn import layers
from gpunn.backends import Backend, get_backend

BATCH = 128
TOLERANCE = 1e-4
"""Largest difference of a parameter relative to the largest parameter of its array. The kernels are
the same, so nothing should differ; cuBLAS is free to choose another algorithm in a graph."""


def run() -> Outcome:
    """Train a network with every kind of layer both ways, each epoch with a smaller last batch."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("gpunn").addHandler(handler)
    plain, eager_losses = trained(get_backend("cupy", graph=False))
    replayed, graph_losses = trained(get_backend("cupy", graph=True))
    if said:
        return Outcome(FAILED, said[0])
    off = {
        name: float(np.abs(replayed[name] - value).max() / max(np.abs(value).max(), 1e-30))
        for name, value in plain.items()
    }
    same = all(np.array_equal(replayed[name], value) for name, value in plain.items())
    figures = {"bitwise": same, "differences": off, "losses": [eager_losses, graph_losses]}
    worst = max(off.values())
    detail = "bit for bit the same" if same else f"differs by up to {worst:.1e}, not bitwise equal"
    agree = bool(np.isfinite(worst)) and worst <= TOLERANCE
    return Outcome(
        PASSED if agree else FAILED, f"after {len(graph_losses)} epochs: {detail}", figures
    )


def trained(backend: Backend) -> tuple[dict[str, Any], list[float]]:
    """Return the parameters after training, on the host, and the losses."""
    X, y, _, _ = gpunn.data.load_digits()
    rows, units = (300, 8) if device.REHEARSAL else (len(X), 256)
    parts = [
        layers.Rescaling(1 / 16),
        layers.Dense(units, "relu"),
        layers.BatchNorm(),
        layers.Dropout(0.2),
        layers.Dense(units, "gelu"),
        layers.LayerNorm(),
        layers.Dense(10),
    ]
    model = gpunn.Sequential(parts, X.shape[1], backend, seed=0)
    optimizer = gpunn.optimizers.AdamW(gpunn.schedules.Cosine(1e-3), max_norm=1.0)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", optimizer, ["accuracy"])
    history = trainer.fit(X[:rows], y[:rows], epochs=3, batch_size=BATCH, progress=False)
    return model.parameters.to_host(), [float(loss) for loss in history["loss"]]
