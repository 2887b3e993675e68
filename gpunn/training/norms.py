"""How large each layer's parameters and gradients are, epoch by epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpunn.backends import Backend
from gpunn.errors import DataFileError
from gpunn.files import append, finite_or_none, write_atomically
from gpunn.reading import lines_of
from gpunn.training.callbacks import Callback, check_path
from gpunn.typing import Array

if TYPE_CHECKING:
    from gpunn.training.trainer import Trainer

__all__ = ["NormLog", "norms"]


def norms(backend: Backend, arrays: Mapping[str, Array]) -> dict[str, float]:
    """Return the Euclidean norm sqrt(sum of squares) of each array, in one transfer to the host."""
    if not arrays:
        return {}
    xp = backend.xp
    # An overflow is a finding, not an accident: the norm is infinite.
    with np.errstate(over="ignore", invalid="ignore"):
        squares = xp.stack([xp.sum(array * array) for array in arrays.values()])
        found = np.sqrt(backend.to_host(squares).astype(np.float64))
    return dict(zip(arrays, found.tolist(), strict=True))


@dataclass(eq=False)
class NormLog(Callback):
    """Append the norms of every trained array and of its gradient to a file, after each epoch.

    A line is a JSON object of "epoch", "parameters" and "gradients", the last two by the arrays'
    names, such as "dense_1.weights"; null if not finite. The gradient is that of the epoch's last
    update, as the optimizer was given it: after clipping, over all batches that were accumulated.

    It costs one pass over the parameters an epoch, and one wait for the device, when training has
    just read the epoch's figures from it anyway.
    """

    path: str | Path

    name = "norm_log"

    def __post_init__(self) -> None:
        check_path(self.path)

    def on_train_begin(self, trainer: Trainer) -> None:
        """Drop epochs that a resumed run is going to repeat, and a line that was cut short."""
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            lines = list(lines_of(path, DataFileError))
            kept = [line for line in lines if 0 < epoch_of(line) <= trainer.epoch]
            if kept != lines:
                write_atomically(path, b"".join(kept))

    def on_epoch_end(self, trainer: Trainer, logs: Mapping[str, float]) -> None:
        parameters, ops = trainer.model.parameters, trainer.model.backend
        trained = [name for name, spec in parameters.specs.items() if spec.trainable]
        gradients = trainer.last_gradients()
        row = {
            "epoch": trainer.epoch,
            "parameters": norms(ops, {name: parameters[name] for name in trained}),
            "gradients": norms(ops, {name: gradients[name] for name in trained}),
        }
        append(self.path, json.dumps(finite_or_none(row)) + "\n")

    def config(self) -> dict[str, Any]:
        return {**super().config(), "path": str(self.path)}


def epoch_of(line: bytes) -> int:
    """Return the epoch that a line of the file is about, 0 if the line is damaged."""
    try:
        epoch = json.loads(line)["epoch"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return epoch if isinstance(epoch, int) and line.endswith(b"\n") else 0
