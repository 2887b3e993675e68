"""Going back to where training was still good, and finding out what went bad from there."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gpunn.errors import DivergenceError
from gpunn.training.dataset import Subset
from gpunn.training.diagnosis import diagnosis
from gpunn.training.epoch_cursor import EpochCursor
from gpunn.training.feed import Feed
from gpunn.training.step import TrainStep

if TYPE_CHECKING:
    from gpunn.training.trainer import Trainer

__all__ = ["CHOICES", "REMEDIES", "GoodState", "Recovery"]

LOG = logging.getLogger("gpunn")

CHOICES = ("stop", "skip", "roll_back")
"""What can be done about an update that goes bad."""

REMEDIES = (
    "A smaller learning_rate usually helps; so do a warm-up, max_norm (gradient clipping), and "
    "inputs scaled to about [-1, 1]"
)
"""What to do when training diverges."""

PATIENCE = 10
"""Recoveries in a row, without a good report point in between, after which training ends."""


class GoodState:
    """A copy, on the device, of all that updates change, taken where it was known to be good.

    Its buffers are allocated once; taking the copy anew waits for nothing.
    """

    def __init__(self, trainer: Trainer, step: TrainStep) -> None:
        self._trainer, self._statistics = trainer, step.statistics
        parameters, ops = trainer.model.parameters, trainer.model.backend
        changing = (
            parameters.values,
            parameters.statistics,
            *step.slots.values(),
            step.updates,
            step.workspace.passes,
            *step.loss_scale.state.values(),
            step.statistics.vector,
        )
        self._pairs = [(array, ops.copy(array)) for array in changing if array.shape[0]]

    def keep(self, position: EpochCursor) -> None:
        """Take the copy anew."""
        for array, kept in self._pairs:
            kept[...] = array
        self._totals = self._statistics.totals()
        self._updates = self._trainer.updates
        self._position = replace(position)

    def go_back(self) -> EpochCursor:
        """Put everything back to where it was, and return that place."""
        for array, kept in self._pairs:
            array[...] = kept
        self._statistics.set_totals(self._totals)
        self._trainer.updates = self._updates
        return replace(self._position)


@dataclass
class Recovery:
    """What is done when the statistics at a report point are not those of a good training.

    Parameters
    ----------
    trainer : Trainer
    step : TrainStep
    training : Subset
    good : GoodState
        Of the last report point, or of the beginning of the epoch.
    choice : str
        "stop", "skip" (leave out the update that went bad) or "roll_back" (leave out all since the
        last report point).
    """

    trainer: Trainer
    step: TrainStep
    training: Subset
    good: GoodState
    choice: str

    def recover(
        self, order: np.ndarray | None, rates: np.ndarray, until: EpochCursor, found: str
    ) -> EpochCursor:
        """Return the place to go on from, everything else having been put there.

        Since training is the same each time, doing the updates once more finds the first one that
        goes bad, and doing those before it once more gives the state that it met.

        Parameters
        ----------
        order, rates : ndarray
            Of the epoch.
        until : EpochCursor
            Where the trouble was noticed.
        found : str
            What was noticed, for the case that it doesn't happen again.

        Raises
        ------
        DivergenceError
            If training is to stop, or has not got any further for a while.
        """
        epoch = self.trainer.epoch + 1
        count = self._first_bad(order, rates, until)
        position = self._again(order, rates, count)
        if position.done == until.done:
            raise DivergenceError(
                f"{found}. It did not happen again when the updates were repeated, so it can't be "
                f"said where it began. {self._remedies}"
            )
        step_number = position.done + 1
        place = f"step {step_number} of epoch {epoch}"
        cause = diagnosis(self.trainer, self.step, self.training, order, rates, position, place)
        self.trainer.recoveries += 1
        if self.choice == "stop" or self.trainer.recoveries > PATIENCE:
            given_up = (
                f" {PATIENCE} recoveries in a row did not help." if self.choice != "stop" else ""
            )
            raise DivergenceError(f"{cause}{given_up} {self._remedies}")
        left_out = 1
        if self.choice == "roll_back":
            position = self.good.go_back()
            left_out = count + 1
        LOG.warning("%s Left out: %d update(s) before step %d.", cause, left_out, step_number + 1)
        position.done += left_out
        position.left_out += left_out
        self.trainer.updates += left_out
        # The next one, in the same stretch, must not do again what is left out here.
        self.good.keep(position)
        return position

    @property
    def _remedies(self) -> str:
        return REMEDIES + self.step.loss_scale.remedy

    def _first_bad(self, order: np.ndarray | None, rates: np.ndarray, until: EpochCursor) -> int:
        """Return how many updates from the good state on are good."""
        position = self.good.go_back()
        feed = Feed(self.step, self.training, order, rates, position)
        count = 0
        while position.done < until.done:
            feed.advance(1)
            if not sound(self.step, position):
                return count
            count += 1
        return count

    def _again(self, order: np.ndarray | None, rates: np.ndarray, count: int) -> EpochCursor:
        """Do so many updates from the good state on."""
        position = self.good.go_back()
        if count:
            feed = Feed(self.step, self.training, order, rates, position)
            for _ in range(count):
                done, _ = feed.advance(1)
                self.trainer.updates += done
        return position


def sound(step: TrainStep, position: EpochCursor) -> bool:
    """Return whether all losses since the last report, and all parameters now, are finite.

    This waits for the device and changes nothing.
    """
    step.sum_parameters()
    finite_steps, parameters_finite = step.statistics.peek()
    expected = position.done - position.reported - position.left_out
    return finite_steps == expected and parameters_finite
