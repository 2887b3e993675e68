"""The updates of an epoch, one request after the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gpunn.data.batches import DeviceRows
from gpunn.training.dataset import Subset
from gpunn.training.epoch_cursor import EpochCursor
from gpunn.training.step import TrainStep

__all__ = ["Feed"]


class Feed:
    """Gives a step the rows of an epoch, and their learning rates, chunk by chunk.

    Parameters
    ----------
    step : TrainStep
    training : Subset
    order : ndarray of int64 or None
        The epoch's order, from its beginning; None is the rows as they are. Where members have rows
        of their own, those of all members, one after the other.
    rates : ndarray, shape (updates,)
        The learning rate of each update of the epoch.
    settings : ndarray, shape (updates, settings)
        What else schedules move, likewise.

    Attributes
    ----------
    rows_left : int
        Rows on the device that no update was asked for yet.
    """

    def __init__(
        self,
        step: TrainStep,
        training: Subset,
        order: np.ndarray | None,
        rates: np.ndarray,
        settings: np.ndarray,
    ) -> None:
        self.training, self.order, self.rates, self.settings = training, order, rates, settings
        self.rows_left = 0
        self._step = step
        self._chunks: Iterator[DeviceRows] | None = None

    def restart(self) -> None:
        """Go on from wherever the cursor is next time: it was moved by something else."""
        self.rows_left, self._chunks = 0, None

    def load(self, cursor: EpochCursor, at_most: int) -> tuple[int, int]:
        """Load what is next, and return the rows of an update and how many updates to do.

        These are between one and `at_most`.
        """
        step = self._step
        if not self.rows_left:
            if self._chunks is None:
                remaining = cursor.remaining(self.order)
                together = step.rows_per_update * step.members
                self._chunks = self.training.chunks(together, remaining)
            chunk = next(self._chunks)
            step.load(chunk)
            step.load_rates(self.rates[cursor.done :], self.settings[cursor.done :])
            self.rows_left = chunk.rows // step.members
        rows = min(step.rows_per_update, self.rows_left)
        times = min(self.rows_left // rows, at_most)
        self.rows_left -= times * rows
        return rows, times
