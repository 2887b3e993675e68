"""Store the values of scheduled settings, such as a dropout rate, on the device.

A recorded step looks up the values for its update in tables, so the recording stays valid when
they change. The learning rates have a separate table, which the step reads when it counts the
update.
"""

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

T = TypeVar("T", bound=Configurable)


@dataclass(frozen=True)
class ScheduledSetting:
    owner: Any
    name: str
    schedule: Schedule

    def over_epoch(self, epoch: int, updates: int, duration: float) -> np.ndarray:
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
    return [
        ScheduledSetting(owner, name, value)
        for owner in (*family(*layers), loss, optimizer)
        for name in field_names(type(owner))
        if isinstance(value := getattr(owner, name), Schedule) and name != "learning_rate"
    ]


class ScheduledSettings:
    """The values of scheduled settings, on the device.

    Tables have a row for each update. The arrays in `now` have the values for the current update.
    """

    def __init__(self, ops: Backend, dtype: str, settings: Sequence[ScheduledSetting]) -> None:
        self.settings = list(settings)
        self._ops, self._dtype = ops, dtype
        self._capacity = 0
        self.now: dict[tuple[int, str], Array] = {}
        if self.settings:
            self._row = ops.zeros((1, len(self.settings)), dtype)
        for column, one in enumerate(self.settings):
            self.now[id(one.owner), one.name] = self._row[0, column : column + 1]

    def over_epoch(self, rates: np.ndarray, epoch: int, duration: float) -> np.ndarray:
        # The learning rates are in the first column.
        more = [one.over_epoch(epoch, len(rates), duration) for one in self.settings]
        return np.stack([rates, *more], axis=1) if more else rates[:, None]

    def load(self, values: np.ndarray) -> bool:
        ops, updates = self._ops, len(values)
        grown = self._capacity < updates
        if grown:
            self._capacity = updates
            self.rates, self.rate = ops.zeros((updates,), self._dtype), ops.zeros((1,), self._dtype)
            self.position = ops.zeros((1,), "int64")
            self._table = ops.zeros((updates, len(self.settings)), self._dtype)
        ops.copy_from_host(values[:, 0], self.rates[:updates])
        if self.settings:
            ops.copy_from_host(values[:, 1:], self._table[:updates, :])
        ops.fill(self.position, 0)
        return grown

    def look_up(self) -> None:
        if self.settings:
            self._ops.take(self._table, self.position, self._row)

    def present(self, owner: T) -> T:
        """Return `owner`, or a copy of `owner` in which current values replace schedules."""
        values = {name: value for (other, name), value in self.now.items() if other == id(owner)}
        if not values:
            return owner
        current = copy.copy(owner)
        for name, value in values.items():
            object.__setattr__(current, name, value)
        return current
