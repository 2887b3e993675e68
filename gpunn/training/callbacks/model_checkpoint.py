"""Write the model or a checkpoint during training, after each epoch or more often."""

from __future__ import annotations

import glob
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gpunn.configurable import flag, integer, number
from gpunn.errors import ArgumentError
from gpunn.monitor import Best, BestSoFar, check_monitor, monitored
from gpunn.storage.files import make_folder, remove, remove_leftovers
from gpunn.training.callbacks.base import Callback, check_path, monitored_direction
from gpunn.training.trainer_protocol import TrainerProtocol


@dataclass(eq=False)
class ModelCheckpoint(Callback):
    """Write the model, or a checkpoint to resume from, after each epoch or more often.

    Parameters
    ----------
    path : str or Path
        File to write. "{epoch}" stands for the number of epochs done, and "{updates}" for the
        number of updates.
    monitor : str or None
        If set, write the file only after epochs that improve this metric. If such a file still
        exists, a resumed run compares epochs with the best epoch in the run's history.
    mode : {"auto", "min", "max"}
        As in `EarlyStopping`.
    resumable : bool
        Whether to write a checkpoint for `Trainer.fit(resume_from=...)`. Without a `monitor`, the
        checkpoint is also written when Ctrl-C or SIGTERM ends training.
    keep : int or None
        How many of the newest files to keep; None keeps all files. If set, the path must contain
        "{epoch}" or "{updates}".
    every_updates : int or None
        If set, also write the file each time this many updates are done. This option requires
        `resumable`, and can't be combined with `monitor`.
    every_seconds : float or None
        If set, also write the file within an epoch, whenever the last file is this many seconds
        old. This option requires `resumable`, and can't be combined with `monitor`.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Dense(1)], 1, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "mean_squared_error")
    >>> keep_best = gpunn.callbacks.ModelCheckpoint("best.safetensors", monitor="loss")
    >>> history = trainer.fit([[1.0]], [1.0], epochs=3, callbacks=[keep_best], progress=False)
    >>> gpunn.load_model("best.safetensors", backend="numpy")
    <Sequential (1,) -> (1,) on numpy>
    """

    reads_only: ClassVar[bool] = True
    path: str | Path
    monitor: str | None = None
    mode: str = "auto"
    resumable: bool = flag(False)
    keep: int | None = integer(None)
    every_updates: int | None = integer(None)
    every_seconds: float | None = number(None, above=0)

    name = "model_checkpoint"
    extra_attributes = frozenset(("check_place",))
    saves = True

    def __post_init__(self) -> None:
        check_path(self.path)
        super().__post_init__()
        if self.keep is not None and "{" not in str(self.path):
            raise ArgumentError(
                "keep: works only if the path contains {epoch} or {updates}; add one of them, or "
                "leave keep out"
            )
        if self._within_epochs and (not self.resumable or self.monitor is not None):
            raise ArgumentError(
                "every_updates and every_seconds: require resumable=True and no monitor, since a "
                "file written within an epoch is only for resuming"
            )
        check_monitor("loss" if self.monitor is None else self.monitor, self.mode)
        self._written_at, self._due = 0.0, False
        self.check_place: Callable[[Path], None] = check_path
        """A check that raises an error if the file must not be written."""

    @property
    def _within_epochs(self) -> bool:
        return self.every_updates is not None or self.every_seconds is not None

    def on_train_begin(self, trainer: TrainerProtocol) -> None:
        self._written_at, self._due = time.monotonic(), False
        files = NumberedFiles(self.path)
        files.remove_leftovers()
        if self.monitor is None:
            return
        self._rule = Best(self.monitor, monitored_direction(trainer, self.mode, self.monitor))
        self._best = BestSoFar()
        for row in trainer.history.rows if files.present() else ():
            if self.monitor in row:
                self._best.improves(self._rule, row[self.monitor])

    def on_updates_end(self, trainer: TrainerProtocol) -> None:
        if not self._within_epochs:
            return
        seconds = math.inf if self.every_seconds is None else self.every_seconds
        counted = self.every_updates is not None and trainer.updates % self.every_updates == 0
        self._due |= counted or time.monotonic() - self._written_at >= seconds
        if self._due and trainer.can_checkpoint():
            self._write(trainer)

    def on_epoch_end(self, trainer: TrainerProtocol, logs: Mapping[str, float]) -> None:
        if self.monitor is not None:
            value = monitored(logs, self.monitor)
            if not self._best.improves(self._rule, value):
                return
        self._write(trainer)

    def on_interruption(self, trainer: TrainerProtocol) -> None:
        if self.resumable and self.monitor is None and trainer.can_checkpoint():
            self._write(trainer)

    def _write(self, trainer: TrainerProtocol) -> None:
        files = NumberedFiles(self.path)
        path = files.path(trainer.epoch, trainer.updates)
        self.check_place(path)
        make_folder(path.parent)
        if self.resumable:
            trainer.save_checkpoint(path)
        else:
            trainer.model.save(path)
        self._written_at, self._due = time.monotonic(), False
        if self.keep is not None:
            files.remove_oldest(path, self.keep)


NUMBERS = ("epoch", "updates")


class NumberedFiles:
    def __init__(self, template: str | Path) -> None:
        self.template = str(template)

    def path(self, epoch: int, updates: int) -> Path:
        return Path(fill_in(self.template, {"epoch": str(epoch), "updates": str(updates)}))

    def present(self) -> list[str]:
        pattern = fill_in(glob.escape(self.template), dict.fromkeys(NUMBERS, "*"))
        return glob.glob(pattern)  # noqa: PTH207  whose pattern must not be absolute

    def remove_oldest(self, newest: Path, keep: int) -> None:
        files = [(re.fullmatch(self._pattern, file.name), file) for file in newest.parent.iterdir()]
        numbered = [([int(n) for n in match.groups()], file) for match, file in files if match]
        for _, file in sorted(numbered)[:-keep]:
            if file != newest:  # files of a longer training may have larger numbers
                remove(file)

    def remove_leftovers(self) -> None:
        folders = fill_in(glob.escape(str(Path(self.template).parent)), dict.fromkeys(NUMBERS, "*"))
        for folder in glob.glob(folders):  # noqa: PTH207  whose pattern must not be absolute
            if Path(folder).is_dir():
                remove_leftovers(Path(folder), self._pattern)

    @property
    def _pattern(self) -> str:
        name = re.escape(Path(self.template).name)
        return fill_in(name, dict.fromkeys(NUMBERS, r"(\d+)"), placeholder=r"\{{{}\}}")


def fill_in(text: str, values: Mapping[str, str], placeholder: str = "{{{}}}") -> str:
    for name, value in values.items():
        text = text.replace(placeholder.format(name), value)
    return text
