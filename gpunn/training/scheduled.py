"""Settings that schedules move: one number of each for each update, in a table on the device.

So a recorded step stays as it is while a rate of dropout, a weight decay or a label smoothing
changes. The learning rate has a table of its own, which is looked up where an update is counted.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from gpunn.backends import Backend
from gpunn.configurable import Configurable, check_fraction, check_number, field_names
from gpunn.layers import Layer
from gpunn.layers.base import family
from gpunn.losses import Loss
from gpunn.optimizers import Optimizer
from gpunn.schedules import Schedule
from gpunn.typing import Array

__all__ = ["ScheduledSetting", "ScheduledSettings", "scheduled_settings"]

T = TypeVar("T", bound=Configurable)


@dataclass(frozen=True)
class ScheduledSetting:
    """A setting that a schedule moves.

    Attributes
    ----------
    owner : Layer, Loss or Optimizer
    name : str
        Of the owner's field.
    schedule : Schedule
    """

    owner: Any
    name: str
    schedule: Schedule

    def over_epoch(self, epoch: int, updates: int, duration: float) -> np.ndarray:
        """Return its value in each update of an epoch; see `Schedule.over_epoch`.

        Raises
        ------
        ArgumentError
            If the setting can't have a value of the schedule.
        """
        values = self.schedule.over_epoch(epoch, updates, duration)
        what = f"{self.name} of {self.owner.name!r}, schedule {self.schedule.name!r}"
        for value in (float(values.min()), float(values.max())):
            if self.name == "weight_decay":
                check_number(what, value, at_least=0)
            else:
                check_fraction(what, value)
        return values


def scheduled_settings(
    layers: Sequence[Layer], loss: Loss, optimizer: Optimizer
) -> list[ScheduledSetting]:
    """Return all settings that schedules move, but for the learning rate."""
    return [
        ScheduledSetting(owner, name, value)
        for owner in (*family(*layers), loss, optimizer)
        for name in field_names(type(owner))
        if isinstance(value := getattr(owner, name), Schedule) and name != "learning_rate"
    ]


class ScheduledSettings:
    """A table of the settings' values on the device, and those of the present update.

    Parameters
    ----------
    ops : Backend
    dtype : str
        The network's.
    settings : sequence of ScheduledSetting

    Attributes
    ----------
    now : dict of (int, str) to array, shape (1,)
        The values in the present update, by the owner's `id` and name.
    """

    def __init__(self, ops: Backend, dtype: str, settings: Sequence[ScheduledSetting]) -> None:
        self.settings = list(settings)
        self._ops, self._dtype = ops, dtype
        columns = len(self.settings)
        self._table = ops.zeros((0, columns), dtype)
        self._row = ops.zeros((1, columns), dtype)
        self.now = {
            (id(one.owner), one.name): self._row[0, column : column + 1]
            for column, one in enumerate(self.settings)
        }

    def over_epoch(self, epoch: int, updates: int, duration: float) -> np.ndarray:
        """Return the values (updates, settings) in each update of an epoch."""
        columns = [one.over_epoch(epoch, updates, duration) for one in self.settings]
        return np.stack(columns, axis=1) if columns else np.zeros((updates, 0))

    def load(self, values: np.ndarray) -> bool:
        """Take the values of the next updates, and return whether that needed a larger table."""
        if not self.settings:
            return False
        grown = bool(self._table.shape[0] < len(values))
        if grown:
            self._table = self._ops.zeros(values.shape, self._dtype)
        self._ops.copy_from_host(values, self._table[: len(values), :])
        return grown

    def look_up(self, position: Array) -> None:
        """Set the present values to those of the update at a position in the table."""
        if self.settings:
            self._ops.take(self._table, position, self._row)

    def present(self, owner: T) -> T:
        """Return the owner, or a copy of it with the present values in place of its schedules."""
        own = {name: value for (other, name), value in self.now.items() if other == id(owner)}
        if not own:
            return owner
        moved = copy.copy(owner)
        for name, value in own.items():
            object.__setattr__(moved, name, value)
        return moved
