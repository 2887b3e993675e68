"""A place within an epoch, from which training can go on as if it had never stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["EpochCursor", "EpochPlan"]


@dataclass(frozen=True, kw_only=True)
class EpochPlan:
    """What an epoch consists of; the place in one epoch means nothing in another.

    If it is shuffled, its rows come in the order that belongs to seed and epoch. `metric_names` is
    what is summed up. With `drop_last` it leaves out rows at its end that are too few for an
    update. So many members have an order of their own; 1 if all have the same.
    """

    rows: int
    batch_size: int
    rows_per_update: int
    shuffle: bool
    metric_names: list[str]
    drop_last: bool = False
    members: int = 1

    @property
    def accumulation(self) -> int:
        """Batches of an update, no more than the rows fill; 2 is not computed as 1."""
        several = self.rows_per_update // self.batch_size
        return min(several, max(2, math.ceil(self.rows / self.batch_size)))

    @property
    def updates(self) -> int:
        """How many updates it has."""
        return math.ceil(self.visited / self.rows_per_update)

    @property
    def visited(self) -> int:
        """How many rows it visits."""
        return self.rows - self.rows % self.rows_per_update if self.drop_last else self.rows

    def __str__(self) -> str:
        """Describe it for a message."""
        return (
            f"{self.rows} rows in batches of {self.batch_size}, {self.rows_per_update} an update, "
            f"{'shuffled' if self.shuffle else 'not shuffled'}, with the metrics "
            f"{self.metric_names}{', without the last partial batch' if self.drop_last else ''}"
            f"{f', each of {self.members} members in its own order' if self.members > 1 else ''}"
        )


@dataclass
class EpochCursor:
    """How far an epoch has come. The sums up to there are in the step's statistics.

    Updates are `done` that are behind it, those left out included; `reported` is how many there
    were at the last report point. Since then `left_out` went bad. The `seconds` are those before an
    interruption, too.
    """

    plan: EpochPlan
    done: int = 0
    reported: int = 0
    left_out: int = 0
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        """Whether no update is left."""
        return self.done >= self.plan.updates

    @property
    def unreported(self) -> int:
        """Updates since the last report point."""
        return self.done - self.reported

    @property
    def rows_done(self) -> int:
        """Rows behind it."""
        return min(self.done * self.plan.rows_per_update, self.plan.visited)

    def is_possible(self) -> bool:
        """Return whether there can be such a place."""
        plan = self.plan
        return (
            plan.rows >= 1
            and 1 <= plan.batch_size <= plan.rows_per_update
            and 0 <= self.reported <= self.done <= plan.updates
            and 0 <= self.left_out <= self.unreported
            and 0 <= self.seconds < math.inf
        )

    def report_due(self, report_every: int) -> bool:
        """Return whether the host has to look at the statistics before going on."""
        return self.unreported >= report_every or (self.finished and self.unreported > 0)

    def remaining(self, order: np.ndarray | None) -> np.ndarray | None:
        """Return the part of an epoch's order that is still to be visited; None is all as it is."""
        done, visited = self.rows_done, self.plan.visited
        if not done and visited == self.plan.rows:
            return order
        members = self.plan.members
        return (
            np.arange(done, visited) if order is None else order[done * members : visited * members]
        )
