"""Whether the metric that tells the best epoch is defined on the validation rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gpunn.errors import DataError
from gpunn.training.callbacks import Callback

__all__ = ["DefinedMetric"]


class DefinedMetric(Callback):
    """Ends training by an error if the metric that tells the best epoch is NaN.

    Parameters
    ----------
    monitor : str
        Name of its log.
    """

    beside_fields = frozenset(("monitor",))

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def on_epoch_end(self, trainer: Any, logs: Mapping[str, float]) -> None:
        if math.isnan(logs[self.monitor]):
            raise DataError(
                f"metric: {self.monitor.removeprefix('val_')!r} is not defined on these validation "
                "rows: they may lack a class, or all rows of a class may have a weight of 0. Give "
                "X_val and y_val with every class, or choose another metric"
            )
