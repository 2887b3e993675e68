"""A callback that writes the norms of parameters and gradients after each epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.backends import Backend
from gpunn.errors import ArgumentError, DataFileError
from gpunn.storage.files import append, finite_or_none, holds, write_atomically
from gpunn.storage.reading import parsed_json, read_lines
from gpunn.training.callbacks.epoch_logs import EpochLog
from gpunn.training.trainer_protocol import TrainerProtocol
from gpunn.typing import Array

KINDS = ("parameters", "gradients")


def norms(backend: Backend, arrays: Mapping[str, Array]) -> dict[str, float]:
    if not arrays:
        return {}
    xp = backend.xp
    # After an overflow, the log shows an infinite norm.
    with np.errstate(over="ignore", invalid="ignore"):
        squares = xp.stack([xp.sum(array * array) for array in arrays.values()])
        values = np.sqrt(backend.to_host(squares).astype(np.float64))
    return dict(zip(arrays, values.tolist(), strict=True))


@dataclass(eq=False)
class NormLog(EpochLog):
    """After each epoch, append the norms of trainable parameters and their gradients to a file.

    Each line is a JSON object with "epoch", "parameters" and "gradients". The last two keys map
    names of arrays, such as "dense_1.weights", to norms. A norm that is not finite is null. The
    gradients are from the epoch's last update, after accumulation over batches and after clipping.

    A resumed run restores lost lines of the file, and removes lines after its checkpoint.

    Parameters
    ----------
    path : str or Path
        File to append to.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> model = gpunn.Sequential([gpunn.layers.Dense(1)], 1, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "mean_squared_error")
    >>> log = gpunn.callbacks.NormLog("norms.jsonl")
    >>> history = trainer.fit([[1.0]], [1.0], epochs=1, callbacks=[log], progress=False)
    >>> list(json.loads(Path("norms.jsonl").read_text())["gradients"])
    ['dense_1.weights', 'dense_1.biases']
    """

    name = "norm_log"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._rows: dict[int, dict[str, Any]] = {}

    def on_train_begin(self, trainer: TrainerProtocol) -> None:
        super().on_train_begin(trainer)
        # Remove an incomplete line, and epochs that a resumed run will repeat.
        self._write(self.content(trainer, {}))

    def restore(self, state: Mapping[str, Any], trainer: TrainerProtocol) -> None:
        self._write(self.content(trainer, state))

    def content(self, trainer: TrainerProtocol, state: Mapping[str, Any]) -> bytes:
        """Return the file's lines for all epochs so far, and store their norms in this callback.

        Parameters
        ----------
        trainer : Trainer
            The trainer that calls this method.
        state : mapping
            The callback's state in a checkpoint. If empty, the method reads the file.

        Returns
        -------
        bytes
            Lines of JSON.
        """
        path = Path(self.path)
        rows: list[dict[str, Any]] = []
        if state:
            rows = rows_of(state, trained_names(trainer))
        elif trainer.epoch and path.exists():
            lines = read_lines(path, DataFileError)
            rows = [parsed_json(line) for line in lines if epoch_of(line)]
        self._rows = {row["epoch"]: row for row in rows if 0 < row["epoch"] <= trainer.epoch}
        return "".join(map(line_of, self._rows.values())).encode()

    def _write(self, content: bytes) -> None:
        path = Path(self.path)
        if (content or path.exists()) and not holds(path, content):
            write_atomically(path, content)

    def on_epoch_end(self, trainer: TrainerProtocol, logs: Mapping[str, float]) -> None:
        parameters, ops = trainer.model.parameters, trainer.model.backend
        names = trained_names(trainer)
        gradients = trainer.last_gradients()
        row = {
            "epoch": trainer.epoch,
            "parameters": norms(ops, {name: parameters[name] for name in names}),
            "gradients": norms(ops, {name: gradients[name] for name in names}),
        }
        self._rows[trainer.epoch] = finite_or_none(row)
        append(self.path, line_of(self._rows[trainer.epoch]))

    def state(self, trainer: TrainerProtocol) -> dict[str, Any]:
        names = trained_names(trainer)
        # An existing file may contain lines of another network.
        rows = [
            row for row in self._rows.values() if all(list(row.get(k, ())) == names for k in KINDS)
        ]
        return {
            "epochs": np.array([row["epoch"] for row in rows], np.int64),
            **{
                kind: np.array(
                    [[np.nan if x is None else x for x in row[kind].values()] for row in rows]
                ).reshape(len(rows), len(names))
                for kind in KINDS
            },
        }


def trained_names(trainer: TrainerProtocol) -> list[str]:
    return [name for name, spec in trainer.model.parameters.specs.items() if spec.trainable]


def rows_of(state: Mapping[str, Any], names: list[str]) -> list[dict[str, Any]]:
    # Arrays in a file may be missing, or their shapes may not fit the network.
    epochs = state.get("epochs")
    if not isinstance(epochs, np.ndarray) or epochs.ndim != 1 or epochs.dtype != np.int64:
        raise ArgumentError("epochs: expected a vector of integers")
    columns = {}
    for kind in KINDS:
        array = state.get(kind)
        shape = (len(epochs), len(names))
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind != "f":
            raise ArgumentError(f"{kind}: expected numbers of shape {shape}")
        columns[kind] = array.tolist()
    return [
        finite_or_none(
            {
                "epoch": epoch,
                **{kind: dict(zip(names, columns[kind][i], strict=True)) for kind in KINDS},
            }
        )
        for i, epoch in enumerate(epochs.tolist())
    ]


def line_of(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"


def epoch_of(line: bytes) -> int:
    try:
        epoch = parsed_json(line)["epoch"]
    except (ValueError, KeyError, TypeError):
        return 0
    return epoch if isinstance(epoch, int) and line.endswith(b"\n") else 0
