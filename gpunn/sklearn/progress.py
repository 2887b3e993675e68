"""The progress of a whole training, and how long it will take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpunn.training.callbacks import Callback, EarlyStopping
from gpunn.training.progress import progress_bar

__all__ = ["TrainingProgress"]


class TrainingProgress(Callback):
    """A progress bar over all epochs, with the time that is left.

    Parameters
    ----------
    title : str
    rows : int
        Of an epoch.
    epochs : int
        Most epochs.
    stopping : EarlyStopping
        Where it may end training before the last epoch, the time is that until then, unless an
        epoch is better than the best so far.
    """

    beside_fields = frozenset(("title", "rows", "epochs", "stopping"))

    def __init__(self, title: str, rows: int, epochs: int, stopping: EarlyStopping) -> None:
        self.title, self.rows, self.epochs, self.stopping = title, rows, epochs, stopping
        self._bar: Any = None
        self._done = 0

    def on_train_begin(self, trainer: Any) -> None:
        self._bar = progress_bar(self.title, self.rows * self._last_epoch(), True)

    def on_updates_end(self, trainer: Any) -> None:
        self._show(trainer.epoch * self.rows + trainer.cursor.rows_done)

    def on_epoch_end(self, trainer: Any, logs: Mapping[str, float]) -> None:
        self._bar.total = self.rows * self._last_epoch()
        monitor, best = self.stopping.monitor, self.stopping.best
        epoch = f"{trainer.epoch}, best {self.stopping.best_epoch}"
        self._bar.set_postfix({"epoch": epoch, monitor: f"{best:.5g}"}, refresh=False)
        self._show(trainer.epoch * self.rows)

    def on_train_end(self, trainer: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def _last_epoch(self) -> int:
        return min(self.epochs, self.stopping.best_epoch + self.stopping.patience)

    def _show(self, rows: int) -> None:
        self._bar.update(rows - self._done)
        self._done = rows
