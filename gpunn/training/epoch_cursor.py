"""A place within an epoch, from which training can go on as if it had never stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["EpochCursor", "EpochPlan"]


@dataclass(frozen=True)
class EpochPlan:
    """What an epoch consists of; the place in one epoch means nothing in another.

    Attributes
    ----------
    rows : int
        Rows to train on.
    batch_size : int
        Rows in a batch.
    rows_per_update : int
        Rows in an update.
    shuffle : bool
        Whether the rows come in the order that belongs to seed and epoch, or as they are.
    figures : list of str
        Names of what is summed up.
    """

    rows: int
    batch_size: int
    rows_per_update: int
    shuffle: bool
    figures: list[str]

    @cached_property
    def updates(self) -> int:
        """How many updates it has."""
        return math.ceil(self.rows / self.rows_per_update)


@dataclass
class EpochCursor:
    """How far an epoch has come. The sums up to there are in the step's statistics.

    Attributes
    ----------
    course : EpochPlan
    done : int
        Updates behind it, those left out included.
    reported : int
        Updates at the last report point.
    left_out : int
        Updates since the last report point that were left out, because they went bad.
    seconds : float
        Time they took, that before an interruption included.
    """

    course: EpochPlan
    done: int = 0
    reported: int = 0
    left_out: int = 0
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        """Whether no update is left."""
        return self.done >= self.course.updates

    def makes_sense(self) -> bool:
        """Return whether there can be such a place."""
        course, new = self.course, self.done - self.reported
        return (
            course.rows >= 1
            and 1 <= course.batch_size <= course.rows_per_update
            and 0 <= self.reported <= self.done <= course.updates
            and 0 <= self.left_out <= new
            and 0 <= self.seconds < math.inf
        )

    def report_due(self, report_every: int) -> bool:
        """Return whether the host has to look at the statistics before going on."""
        new = self.done - self.reported
        return new >= report_every or (self.finished and new > 0)

    @property
    def rows_done(self) -> int:
        """Rows behind it."""
        return min(self.done * self.course.rows_per_update, self.course.rows)

    def rest(self, order: np.ndarray | None) -> np.ndarray | None:
        """Return the part of an epoch's order that is still to be visited; None is all as it is."""
        if not self.done:
            return order
        if order is None:
            return np.arange(self.rows_done, self.course.rows)
        return order[self.rows_done :]
