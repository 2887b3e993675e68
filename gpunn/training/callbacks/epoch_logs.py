"""Callbacks that write each epoch's logs to files: loss, metrics, learning rate and times."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from gpunn.data.text_rows import open_rows
from gpunn.errors import ArgumentError
from gpunn.optional import install_command, require
from gpunn.rows.predictions import formula_as_text, text_of_cell
from gpunn.storage.files import append, make_folder
from gpunn.training.callbacks.base import Callback, check_path
from gpunn.training.trainer_protocol import TrainerProtocol

LOG = logging.getLogger("gpunn")


def log_line(logs: Mapping[str, float]) -> str:
    return json.dumps({n: x if math.isfinite(x) else None for n, x in logs.items()}) + "\n"


@dataclass(eq=False)
class EpochLog(Callback):
    """Base of callbacks that append one line per epoch to a file."""

    path: str | Path

    def __post_init__(self) -> None:
        check_path(self.path)

    def on_train_begin(self, trainer: TrainerProtocol) -> None:
        make_folder(Path(self.path).parent)

    def state(self, trainer: TrainerProtocol) -> dict[str, Any]:
        path = Path(self.path)
        return {"bytes": path.stat().st_size if path.exists() else 0}

    def restore(self, state: Mapping[str, Any], trainer: TrainerProtocol) -> None:
        if not state:
            return
        actual, size = EpochLog.state(self, trainer)["bytes"], int(state["bytes"])
        if 0 <= size < actual:
            os.truncate(self.path, size)
        elif actual < size:  # the lost lines may belong to other runs
            LOG.warning(
                "%s: had %d bytes at the checkpoint, but has only %d now. The lost lines are not "
                "restored; the history and a run's history.jsonl contain every epoch",
                self.path,
                size,
                actual,
            )


@dataclass(eq=False)
class JSONLinesLog(EpochLog):
    """Append each epoch's logs to a file, as one JSON object per line.

    Numbers that are not finite are null. A resumed run first removes the lines after its
    checkpoint.

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
    >>> log = gpunn.callbacks.JSONLinesLog("log.jsonl")
    >>> history = trainer.fit([[1.0]], [1.0], epochs=2, callbacks=[log], progress=False)
    >>> [json.loads(line)["epoch"] for line in Path("log.jsonl").read_text().splitlines()]
    [1, 2]
    """

    reads_only: ClassVar[bool] = True
    name = "json_lines_log"

    def on_epoch_end(self, trainer: TrainerProtocol, logs: Mapping[str, float]) -> None:
        append(self.path, log_line(logs))


@dataclass(eq=False)
class CSVLog(EpochLog):
    """Append each epoch's logs to a CSV file, with a header if the file is new.

    A resumed run first removes the lines after its checkpoint.

    Parameters
    ----------
    path : str or Path
        File to write, or to append to.

    Raises
    ------
    ArgumentError
        When training begins, if an existing file has other columns.

    Examples
    --------
    >>> from pathlib import Path
    >>> model = gpunn.Sequential([gpunn.layers.Dense(1)], 1, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "mean_squared_error")
    >>> log = gpunn.callbacks.CSVLog("log.csv")
    >>> history = trainer.fit([[1.0]], [1.0], epochs=2, callbacks=[log], progress=False)
    >>> Path("log.csv").read_text().splitlines()[0]
    'epoch,loss,learning_rate,seconds,samples_per_second'
    """

    reads_only: ClassVar[bool] = True
    name = "csv_log"

    def on_train_begin(self, trainer: TrainerProtocol) -> None:
        super().on_train_begin(trainer)
        path = Path(self.path)
        columns = csv_header(path)
        if columns and set(columns) != set(trainer.log_names):
            raise ArgumentError(
                f"csv_log.path: {path} has the columns {columns}; this run has "
                f"{trainer.log_names}. Choose another file"
            )

    def on_epoch_end(self, trainer: TrainerProtocol, logs: Mapping[str, float]) -> None:
        columns = csv_header(Path(self.path))
        header = "" if columns else csv_line(list(logs), {name: name for name in logs})
        append(self.path, header + csv_line(columns or list(logs), logs))


@dataclass(eq=False)
class TensorBoard(Callback):
    """Write each epoch's logs as event files for TensorBoard; needs the `tensorboard` extra.

    Each metric has the tags "NAME/training" and "NAME/validation"; the learning rate and the speed
    have tags "run/...". `tensorboard --logdir FOLDER` shows the logs. A resumed run marks the
    events after its checkpoint as void.

    Parameters
    ----------
    path : str or Path
        Folder of the event files.

    Raises
    ------
    MissingPackageError
        When training begins, if tensorboardX is not installed.

    Examples
    --------
    >>> gpunn.callbacks.TensorBoard("runs/board")
    TensorBoard(path='runs/board')
    """

    reads_only: ClassVar[bool] = True
    path: str | Path = "tensorboard"

    name = "tensorboard"

    def __post_init__(self) -> None:
        check_path(self.path)
        self._writer: Any = None

    def on_train_begin(self, trainer: TrainerProtocol) -> None:
        require("tensorboardX", "the callback tensorboard", install_command("tensorboard"))
        self._writer = None

    def on_epoch_end(self, trainer: TrainerProtocol, logs: Mapping[str, float]) -> None:
        writer = self._opened(None)
        for name, value in logs.items():
            if name != "epoch":
                writer.add_scalar(tag(name, trainer.metric_names), value, int(logs["epoch"]))
        writer.flush()

    def restore(self, state: Mapping[str, Any], trainer: TrainerProtocol) -> None:
        self._opened(trainer.epoch + 1)

    def on_train_end(self, trainer: TrainerProtocol) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _opened(self, purge_step: int | None) -> Any:
        if self._writer is None:
            from tensorboardX import SummaryWriter

            # The name of a file has the second of its start, and two runs may start within one
            # second. TensorBoard reads files in the order of their names.
            suffix = f".{time.time_ns()}"
            self._writer = SummaryWriter(
                str(self.path), purge_step=purge_step, filename_suffix=suffix
            )
        return self._writer


def tag(name: str, measured: Sequence[str]) -> str:
    if name in measured:
        return f"{name}/training"
    validation = name.removeprefix("val_")
    return f"{validation}/validation" if validation in measured else f"run/{name}"


def csv_line(columns: Sequence[str], row: Mapping[str, float | str]) -> str:
    text = io.StringIO()
    cells = [row.get(name, "") for name in columns]
    csv.writer(text).writerow(
        formula_as_text(cell) if isinstance(cell, str) else cell for cell in cells
    )
    return text.getvalue()


def csv_header(path: Path) -> list[str]:
    if not path.exists():
        return []
    with open_rows(str(path), ",") as (_, rows):
        _, header = next(rows, (0, []))
    return [text_of_cell(name) for name in header]
