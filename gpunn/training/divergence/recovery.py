"""Going back to where training was still good, and finding out what went bad from there."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from gpunn.errors import DivergenceError
from gpunn.training.batches.batch_feed import Feed
from gpunn.training.batches.epoch_cursor import EpochCursor
from gpunn.training.divergence.detection import hints, is_finite, state_fault
from gpunn.training.divergence.first_bad_layer import diagnosis
from gpunn.training.state import Progress, on_device
from gpunn.training.step.train_step import TrainStep

__all__ = ["CHOICES", "GoodState", "Recovery"]

LOG = logging.getLogger("gpunn")

CHOICES = ("stop", "skip", "roll_back")
"""What can be done about an update that goes bad."""

PATIENCE = 10
"""Recoveries in a row, without a good report point in between, after which training ends."""


class GoodState:
    """A copy, on the device, of all that updates change, taken where it was known to be good.

    Its buffers are allocated once; taking the copy anew waits for nothing.
    """

    def __init__(self, step: TrainStep, progress: Progress) -> None:
        self._statistics, self._progress = step.statistics, progress
        parameters = step.model.parameters
        changing = (parameters.values, parameters.running, *on_device(step, sums=True).values())
        self._pairs = [(array, step.ops.copy(array)) for array in changing if array.shape[0]]

    def keep(self) -> None:
        """Take the copy anew."""
        for array, kept in self._pairs:
            kept[...] = array
        self._totals = self._statistics.totals()
        self._kept = self._progress.copy()

    def roll_back(self) -> EpochCursor:
        """Put everything back to where it was, and return that place."""
        for array, kept in self._pairs:
            array[...] = kept
        self._statistics.set_totals(self._totals)
        kept = self._kept.copy()
        self._progress.updates, self._progress.cursor = kept.updates, kept.cursor
        assert kept.cursor is not None
        return kept.cursor


@dataclass
class Recovery:
    """What is done when the statistics at a report point are not those of a good training.

    `good` is of the last report point, or of the beginning of the epoch. The choice is "stop",
    "skip" (leave out the update that went bad) or "roll_back" (leave out all since the last report
    point).
    """

    step: TrainStep
    progress: Progress
    good: GoodState
    choice: str

    @classmethod
    def prepared(cls, step: TrainStep, progress: Progress, choice: str) -> Recovery | None:
        """Return what helps where training goes bad, if there is memory for it."""
        try:
            good = GoodState(step, progress)
        except MemoryError:
            if choice != "stop":
                raise
            LOG.info("No memory for a copy of the parameters, so divergence can't be explained")
            return None
        return cls(step, progress, good, choice)

    def recover(self, feed: Feed, found: str) -> None:
        """Put everything to the place to go on from.

        Since training is the same each time, doing the updates once more finds the first one that
        goes bad, and doing those before it once more gives the state that it met. `found` is what
        was noticed, for the case that it doesn't happen again. Raise a DivergenceError if training
        is to stop, or has not got any further for a while.
        """
        progress = self.progress
        assert progress.cursor is not None
        until = progress.cursor.done
        count, fault = self._first_bad(feed, until)
        cursor = self.good.roll_back()
        self._redo(feed, cursor, count)
        feed.restart()
        if cursor.done == until:
            raise DivergenceError(
                f"{found}. It did not happen again when the updates were repeated, so it can't be "
                f"said where it began. {hints(self.step)}"
            )
        step_number = cursor.done + 1
        cause = diagnosis(
            self.step, feed, cursor, f"step {step_number} of epoch {progress.epoch + 1}", fault
        )
        progress.recoveries += 1
        if self.choice == "stop" or progress.recoveries > PATIENCE:
            given_up = (
                f" {PATIENCE} recoveries in a row did not help." if self.choice != "stop" else ""
            )
            raise DivergenceError(f"{cause}{given_up} {hints(self.step)}")
        left_out = 1
        if self.choice == "roll_back":
            cursor = self.good.roll_back()
            left_out = count + 1
        LOG.warning("%s Left out: %d update(s) before step %d.", cause, left_out, step_number + 1)
        cursor.done += left_out
        cursor.left_out += left_out
        progress.updates += left_out
        # The next one, in the same stretch, must not do again what is left out here.
        self.good.keep()

    def _first_bad(self, feed: Feed, until: int) -> tuple[int, str]:
        """Return how many updates from the good state on are good, and the next one's fault."""
        cursor = self.good.roll_back()
        feed.restart()
        count, fault = 0, ""
        while cursor.done < until:
            self._redo(feed, cursor, 1)
            if not is_finite(self.step, cursor):
                fault = state_fault(self.step)
                break
            count += 1
        feed.restart()
        return count, fault

    def _redo(self, feed: Feed, cursor: EpochCursor, updates: int) -> None:
        for _ in range(updates):
            rows, _ = feed.load(cursor, 1)
            self.step.update(rows)
            cursor.done += 1
            self.progress.updates += 1
