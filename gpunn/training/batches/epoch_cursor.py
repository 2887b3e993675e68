"""The position within an epoch, from which training resumes as if it had never stopped."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class EpochPlan:
    """How an epoch divides rows into batches.

    Training can resume within an epoch only if the new plan equals the checkpoint's plan.
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
        """The number of batches per update, at most max(2, batches per epoch)."""
        several = self.rows_per_update // self.batch_size
        return min(several, max(2, math.ceil(self.rows / self.batch_size)))

    @property
    def updates(self) -> int:
        return math.ceil(self.visited / self.rows_per_update)

    @property
    def visited(self) -> int:
        return self.rows - self.rows % self.rows_per_update if self.drop_last else self.rows

    def __str__(self) -> str:
        order = "shuffled" if self.shuffle else "not shuffled"
        each = f" for each of {self.members} members" if self.members > 1 else ""
        end = ", without the last partial batch" if self.drop_last else ""
        return (
            f"{self.rows} rows in batches of {self.batch_size}, {self.rows_per_update} rows per "
            f"update, {order}{each}, with the metrics {self.metric_names}{end}"
        )


@dataclass
class EpochCursor:
    """The position within an epoch.

    `done` counts all updates, including updates that diverged and were left out. `reported` is the
    value of `done` at the last logging step, and `left_out` counts the diverged updates since then.
    `seconds` includes the time before an interruption.
    """

    plan: EpochPlan
    done: int = 0
    reported: int = 0
    left_out: int = 0
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        return self.done >= self.plan.updates

    @property
    def unreported(self) -> int:
        return self.done - self.reported

    @property
    def rows_done(self) -> int:
        return min(self.done * self.plan.rows_per_update, self.plan.visited)

    def is_possible(self) -> bool:
        plan = self.plan
        return (
            plan.rows >= 1
            and 1 <= plan.batch_size <= plan.rows_per_update
            and 0 <= self.reported <= self.done <= plan.updates
            and 0 <= self.left_out <= self.unreported
            and 0 <= self.seconds < math.inf
        )

    def logging_due(self, log_every: int) -> bool:
        return self.unreported >= log_every or (self.finished and self.unreported > 0)

    def remaining(self, order: np.ndarray | None) -> np.ndarray | None:
        done, visited = self.rows_done, self.plan.visited
        if not done and visited == self.plan.rows:
            return order
        members = self.plan.members
        return (
            np.arange(done, visited) if order is None else order[done * members : visited * members]
        )
