"""Recover from divergence: restore the last good state, then stop or leave out updates."""

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

LOG = logging.getLogger("gpunn")

CHOICES = ("stop", "skip", "roll_back")

PATIENCE = 10
"""Maximum number of recoveries in a row without a good logging step; then training ends."""


class GoodState:
    """A copy of a finite state, on the device; refreshing the copy does not wait for the device."""

    def __init__(self, step: TrainStep, progress: Progress) -> None:
        self._statistics, self._progress = step.statistics, progress
        parameters = step.model.parameters
        changing = (parameters.values, parameters.running, *on_device(step, sums=True).values())
        self._pairs = [(array, step.ops.copy(array)) for array in changing if array.shape[0]]

    def keep(self) -> None:
        for array, saved in self._pairs:
            saved[...] = array
        self._totals = self._statistics.totals()
        self._saved_progress = self._progress.copy()

    def roll_back(self) -> EpochCursor:
        for array, saved in self._pairs:
            array[...] = saved
        self._statistics.set_totals(self._totals)
        progress = self._saved_progress.copy()
        self._progress.updates, self._progress.cursor = progress.updates, progress.cursor
        assert progress.cursor is not None
        return progress.cursor


@dataclass
class Recovery:
    """Recovers when the statistics at a logging step show that training has diverged.

    `good` is the state at the last logging step, or at the beginning of the epoch. `choice` is
    "stop", "skip" (leave out the update that diverged) or "roll_back" (leave out all updates since
    `good`).
    """

    step: TrainStep
    progress: Progress
    good: GoodState
    choice: str

    @classmethod
    def prepared(cls, step: TrainStep, progress: Progress, choice: str) -> Recovery | None:
        try:
            good = GoodState(step, progress)
        except MemoryError:
            if choice != "stop":
                raise
            LOG.info("Cannot explain divergences: too little memory to copy the parameters")
            return None
        return cls(step, progress, good, choice)

    def recover(self, feed: Feed, symptom: str) -> None:
        """Restore a state from which training can continue.

        Training is deterministic, so repeating the updates finds the first update that diverges.
        Repeating only the earlier updates restores the state before the divergence. If no update
        diverges, or after too many recoveries in a row, raise a DivergenceError.
        """
        progress = self.progress
        assert progress.cursor is not None
        until = progress.cursor.done
        count, fault = self._first_diverged(feed, until)
        cursor = self.good.roll_back()
        self._redo(feed, cursor, count)
        feed.restart()
        if cursor.done == until:
            raise DivergenceError(
                f"{symptom}. Repeating the updates did not reproduce the divergence, so its origin "
                f"is unknown. {hints(self.step)}"
            )
        step_number = cursor.done + 1
        cause = diagnosis(
            self.step, feed, cursor, f"step {step_number} of epoch {progress.epoch + 1}", fault
        )
        progress.recoveries += 1
        if self.choice == "stop" or progress.recoveries > PATIENCE:
            attempts = (
                f" {PATIENCE} recoveries in a row did not help." if self.choice != "stop" else ""
            )
            raise DivergenceError(f"{cause}{attempts} {hints(self.step)}")
        left_out = 1
        if self.choice == "roll_back":
            cursor = self.good.roll_back()
            left_out = count + 1
        LOG.warning(
            "%s gpunn left out %d update(s) before step %d.", cause, left_out, step_number + 1
        )
        cursor.done += left_out
        cursor.left_out += left_out
        progress.updates += left_out
        # Another recovery before the next logging step must not repeat the updates left out here.
        self.good.keep()

    def _first_diverged(self, feed: Feed, until: int) -> tuple[int, str]:
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
