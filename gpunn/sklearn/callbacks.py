"""Callbacks of the tabular estimators: describe the data, check the metric, show progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from gpunn.errors import DataError
from gpunn.training.callbacks import Callback, EarlyStopping
from gpunn.training.progress_bar import progress_bar


class Describing(Callback):
    extra_attributes = frozenset(("describe",))
    reads_only: ClassVar[bool] = True  # after an epoch

    def __init__(self, describe: Callable[[], None]) -> None:
        self.describe = describe

    def on_train_begin(self, trainer: Any) -> None:
        self.describe()


class DefinedMetric(Callback):
    """Raise a DataError if the metric that selects the best epoch is NaN."""

    extra_attributes = frozenset(("monitor",))
    reads_only: ClassVar[bool] = True

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def on_epoch_end(self, trainer: Any, logs: Mapping[str, float]) -> None:
        if math.isnan(logs[self.monitor]):
            raise DataError(
                f"metric: {self.monitor.removeprefix('val_')!r} is not defined on these validation "
                "rows: they may lack a class, or all rows of a class may have a weight of 0. Pass "
                "X_val and y_val with every class, or choose another metric"
            )


class TrainingProgress(Callback):
    """A progress bar of the training.

    The estimated time left assumes that no later epoch is better than the best epoch so far.
    """

    extra_attributes = frozenset(("title", "rows", "epochs", "stopping"))

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
        patience = self.stopping.patience
        if isinstance(patience, str):
            return self.epochs
        return min(self.epochs, self.stopping.best_epoch + patience)

    def _show(self, rows: int) -> None:
        self._bar.update(rows - self._done)
        self._done = rows
