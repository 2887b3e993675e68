"""A training whose steps are replayed as CUDA graphs, against one that launches every kernel.

They must agree bit for bit. The kernels are the same. So are the products: cuBLAS promises the same
bits in every run on one device if no two streams share a workspace (its documentation, "Results
Reproducibility"), and a graph's workspace is its own.
"""

from __future__ import annotations

import logging
from typing import Any

import device
import numpy as np
from gpu.launches import launches_of_graphs, unhurried
from outcome import FAILED, PASSED, Outcome

import gpunn
from gpunn import layers
from gpunn.backends import Backend, get_backend
from gpunn.backends.cupy.graph import IN_A_ROW

EPOCHS = 4


def run() -> Outcome:
    """Train a network with every kind of layer both ways, each epoch with a smaller last batch."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("gpunn").addHandler(handler)
    plain, losses = trained(get_backend("cupy", graph=False))
    off: dict[str, float] = {}
    launches: dict[str, dict[int, int]] = {}
    with launches_of_graphs() as one:
        replayed, _ = trained(get_backend("cupy"))
    with launches_of_graphs() as several, unhurried():
        replayed_at_once, _ = trained(get_backend("cupy"))
    for way, found, launched in (
        ("one a launch", replayed, one),
        ("several a launch", replayed_at_once, several),
    ):
        launches[way] = dict(launched)
        off |= {f"{way}: {name}": difference(found[name], array) for name, array in plain.items()}
    figures = {"differences": off, "losses": losses, "launches": launches}
    if said:
        return Outcome(FAILED, said[0], figures)
    if not one[1] or not several[IN_A_ROW]:
        return Outcome(FAILED, f"no graph of one step or of {IN_A_ROW} was launched", figures)
    different = [name for name, value in off.items() if value]
    detail = f"after {EPOCHS} epochs, one step a launch and {IN_A_ROW}: "
    if different:
        worst = max(off.values())
        detail += f"not the same bits in {different[0]}, off by up to {worst:.1e} of the largest"
        return Outcome(FAILED, detail, figures)
    return Outcome(PASSED, f"{detail}bit for bit the same", figures)


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference relative to the largest number; 0 only for the same bits."""
    if ours.tobytes() == theirs.tobytes():
        return 0.0
    largest = np.abs(ours.astype(np.float64) - theirs).max()
    return float(max(largest / max(np.abs(theirs).max(), 1e-30), np.finfo(np.float64).tiny))


def trained(backend: Backend) -> tuple[dict[str, Any], list[float]]:
    """Return the parameters after training, on the host, and the losses."""
    X, y, _, _ = gpunn.data.load_digits()
    rows, units, batch_size = (150, 8, 16) if device.REHEARSAL else (len(X), 256, 128)
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
    history = trainer.fit(X[:rows], y[:rows], epochs=EPOCHS, batch_size=batch_size, progress=False)
    return model.parameters.to_host(), [float(loss) for loss in history["loss"]]
