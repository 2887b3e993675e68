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
    """Gives a step the rest of an epoch's rows, and has it do updates on them.

    Parameters
    ----------
    step : TrainStep
    training : Subset
    order : ndarray of int64 or None
        The epoch's order, from its beginning; None is the rows as they are.
    rates : ndarray
        The learning rate of each update of the epoch.
    position : EpochCursor
        Where to go on from; it moves with each update.
    """

    def __init__(
        self,
        step: TrainStep,
        training: Subset,
        order: np.ndarray | None,
        rates: np.ndarray,
        position: EpochCursor,
    ) -> None:
        self._step, self._rates, self._position = step, rates, position
        self._pieces: Iterator[DeviceRows] = training.chunks(
            step.rows_per_update, position.rest(order)
        )
        self._left = 0

    @property
    def rows_left(self) -> int:
        """How many of the rows that are on the device are still to come."""
        return self._left

    def advance(self, at_most: int) -> tuple[int, int]:
        """Do between one and `at_most` updates; return how many, and of how many rows in all."""
        step, position = self._step, self._position
        if not self._left:
            chunk = next(self._pieces)
            step.load(chunk)
            step.load_rates(self._rates[position.done :])
            self._left = chunk.rows
        rows = min(step.rows_per_update, self._left)
        times = min(self._left // rows, at_most)
        step.update(rows, times)
        position.done += times
        self._left -= times * rows
        return times, times * rows
