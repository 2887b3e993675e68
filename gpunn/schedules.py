"""Schedules: the learning rate, or another setting, as a function of time in epochs.

Time includes fractions of epochs, so a schedule has the same meaning for every batch size. The time
of update u, counted from 0, is (u + 1/2) / updates_per_epoch, the middle of the update. Because of
the 1/2, no update is on the boundary of two epochs, and neither the first rate of a warm-up nor the
last rate of a cosine is 0. `Schedule.time_of_update` can replace the 1/2. To define a new schedule,
write a subclass with `at`.

A schedule can also control an optimizer's `weight_decay`, the `rate` of `gpunn.layers.Dropout`, and
the `label_smoothing` of a loss. For such a setting, read "rate" in the descriptions below as the
setting's value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gpunn.configurable import Configurable, check_number, integer, missing_class, number, resolve
from gpunn.errors import ArgumentError
from gpunn.monitor import Best, BestSoFar, check_monitor, direction, directions, monitored

__all__ = [
    "Constant",
    "Cosine",
    "CosineLog",
    "Exponential",
    "FlatCosine",
    "InverseScaling",
    "OneCycle",
    "ReduceOnPlateau",
    "Schedule",
    "Step",
    "WarmUp",
    "as_schedule",
    "as_setting",
]


class Schedule(Configurable):
    """Base of all schedules: the learning rate as a function of time.

    Attributes
    ----------
    time_of_update : float
        The moment of an update at which the rate is computed: 1/2 is the middle, 0 the beginning.

    Examples
    --------
    >>> class Halves(gpunn.schedules.Schedule):
    ...     name = "halves"
    ...
    ...     def at(self, time, duration):
    ...         return np.where(time < duration / 2, 0.1, 0.05)
    >>> Halves().at(np.array([1.0, 9.0]), duration=10)
    array([0.1 , 0.05])
    """

    time_of_update: float = 0.5

    def over_epoch(self, epoch: int, updates: int, duration: float) -> np.ndarray:
        """Return the rate of each update in an epoch.

        Parameters
        ----------
        epoch : int
            Number of epochs before this epoch.
        updates : int
            Number of updates in this epoch.
        duration : float
            Planned length of the training, in epochs.

        Returns
        -------
        ndarray of float64, shape (updates,)
            The result of `at` for the times of the updates.
        """
        time = epoch + (np.arange(updates) + self.time_of_update) / updates
        return np.full(updates, self.at(time, duration), np.float64)

    def at(self, time: np.ndarray, duration: float) -> np.ndarray:
        """Return the learning rate at each time.

        Parameters
        ----------
        time : ndarray of float64
            Epochs since training began, including fractions.
        duration : float
            Planned length of the training, in epochs.

        Returns
        -------
        ndarray of float64, shape of time
            Rates, at least 0.
        """
        raise NotImplementedError(f"{type(self).__name__} must define at(time, duration)")

    def cycle_ends(self, duration: float) -> list[float]:
        """Return the times at which cycles of the learning rate end.

        Parameters
        ----------
        duration : float
            Planned length of the training, in epochs.

        Returns
        -------
        list of float
            The ends of cycles, in epochs since training began. By default, the list is empty.
        """
        return []

    def check(self, larger_is_better: Mapping[str, bool | None]) -> None:
        """Raise an ArgumentError if the epochs' logs will lack a key that `observe` needs.

        Parameters
        ----------
        larger_is_better : mapping of str to bool or None
            Maps each key of the epochs' logs to whether larger is better, or to None if unknown.
        """

    def forget_logs(self) -> None:
        """Forget the logs of another trainer. A trainer calls this method before its first epoch.

        By default, this method does nothing.
        """

    def observe(self, logs: Mapping[str, float]) -> None:
        """Process the logs of an epoch. By default, this method does nothing.

        Parameters
        ----------
        logs : mapping of str to float
            The epoch's row of the history.
        """

    def state(self) -> dict[str, float]:
        """Return the state that `observe` changes and checkpoints store.

        Returns
        -------
        dict of str to float
            Empty by default.
        """
        return {}

    def restore(self, state: Mapping[str, float]) -> None:
        """Restore the state from a checkpoint.

        Parameters
        ----------
        state : mapping of str to float
            The result of `state`.
        """


def as_schedule(value: Any, argument: str = "learning_rate") -> Schedule:
    """Make a schedule from a number, a name or a configuration; return a schedule unchanged.

    Parameters
    ----------
    value : float, str, mapping or Schedule
        A constant of at least 0, a schedule's name, or its name and parameters.
    argument : str
        The value's name in error messages.

    Returns
    -------
    Schedule
        `Constant` for a number.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a number is negative, or a schedule or parameter does not exist.

    Examples
    --------
    >>> gpunn.schedules.as_schedule({"name": "cosine", "rate": 0.1})
    Cosine(rate=0.1, final=0.0)
    """
    if isinstance(value, Schedule):
        return value
    if isinstance(value, str | Mapping | type):
        return resolve(Schedule, value, argument)
    return Constant(check_number(argument, value, at_least=0))


def as_setting(
    value: Any, argument: str, check: Callable[..., float] = check_number, **limits: float
) -> float | Schedule:
    """Check a setting other than the learning rate, and return the number or schedule.

    Parameters
    ----------
    value : float, str, mapping or Schedule
        A number, a schedule's name, or its name and parameters.
    argument : str
        The value's name in error messages.
    check : function
        The function that checks a number; its parameters are `argument`, `value` and the limits.
    **limits : float
        Passed to `check`.

    Returns
    -------
    float or Schedule
        The number or the schedule.

    Raises
    ------
    ArgumentError
        If the number is outside the limits, or the schedule depends on the logs of epochs.

    Examples
    --------
    >>> gpunn.schedules.as_setting(0.1, "weight_decay", at_least=0)
    0.1
    """
    if not isinstance(value, (str, Mapping, Schedule, type)):
        return check(argument, value, **limits)
    schedule = resolve(Schedule, value, argument)
    if schedule.state():
        raise ArgumentError(
            f"{argument}: the schedule {schedule.name!r} depends on the logs of epochs; use it "
            "only for the learning rate, or choose another schedule"
        )
    return schedule


def setting(default: float, check: Callable[..., float] = check_number, **limits: float) -> Any:
    def as_parameter(name: str, value: Any) -> float | Schedule:
        return as_setting(value, name, check, **limits)

    return field(default=default, metadata={"check": as_parameter})


@dataclass(frozen=True)
class Constant(Schedule):
    """Constant rate.

    Parameters
    ----------
    rate : float
        The constant rate; at least 0, by default 0.01.

    Examples
    --------
    >>> gpunn.schedules.Constant(0.1).at(np.array([0.0, 5.0, 10.0]), duration=10)
    array([0.1, 0.1, 0.1])
    """

    rate: float = number(0.01, at_least=0)

    name = "constant"

    def at(self, time: np.ndarray, duration: float) -> np.ndarray:
        return np.full_like(time, self.rate)


@dataclass(frozen=True)
class Step(Schedule):
    """Step decay: rate * factor^floor(time / every).

    Parameters
    ----------
    rate : float
        The initial rate, at least 0; 0.01 by default.
    every : float
        Number of epochs between two steps: positive, 10 by default.
    factor : float
        Factor of the rate at each step: positive, 0.1 by default.

    Examples
    --------
    >>> gpunn.schedules.Step(0.1, every=5, factor=0.5).at(np.array([0.0, 5.0, 10.0]), duration=10)
    array([0.1  , 0.05 , 0.025])
    """

    rate: float = number(0.01, at_least=0)
    every: float = number(10.0, above=0)
    factor: float = number(0.1, above=0)

    name = "step"

    def at(self, time: np.ndarray, duration: float) -> np.ndarray:
        return self.rate * self.factor ** np.floor(time / self.every)


@dataclass(frozen=True)
class Exponential(Schedule):
    """Exponential decay: rate * factor^time. Each epoch multiplies the rate by `factor`.

    Parameters
    ----------
    rate : float
        The initial rate, at least 0; 0.01 by default.
    factor : float
        Factor of the rate per epoch: positive, 0.95 by default.

    Examples
    --------
    >>> gpunn.schedules.Exponential(0.8, factor=0.5).at(np.array([0.0, 1.0, 2.0]), duration=10)
    array([0.8, 0.4, 0.2])
    """

    rate: float = number(0.01, at_least=0)
    factor: float = number(0.95, above=0)

    name = "exponential"

    def at(self, time: np.ndarray, duration: float) -> np.ndarray:
        return self.rate * self.factor**time


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """Power-law decay: rate / (1 + time)^power.

    Parameters
    ----------
    rate : float
        The initial rate, at least 0; 0.01 by default.
    power : float
        The exponent of the decay; at least 0, by default 0.5.

    Examples
    --------
    >>> gpunn.schedules.InverseScaling(0.6).at(np.array([0.0, 3.0, 8.0]), duration=10).round(3)
    array([0.6, 0.3, 0.2])
    """

    rate: float = number(0.01, at_least=0)
    power: float = number(0.5, at_least=0)

    name = "inverse_scaling"

    def at(self, time: np.ndarray, duration: float) -> np.ndarray:
        return self.rate / (1 + time) ** self.power


@dataclass(frozen=True)
class Cosine(Schedule):
    """Cosine decay from `rate` to `final` over the whole training.

    The rate is final + (rate - final) * (1 + cos(pi * time / duration)) / 2. After `duration`, the
    rate is `final`.

    From Loshchilov & Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts",
    equation 5.

    Parameters
    ----------
    rate : float
        The initial rate, at least 0; 0.01 by default.
    final : float
        The final rate, at least 0; 0 by default.

    Examples
    --------
    >>> gpunn.schedules.Cosine(0.1).at(np.array([0.0, 5.0, 10.0]), duration=10).round(3)
    array([0.1 , 0.05, 0.  ])
    """

    rate: float = number(0.01, at_least=0)
    final: float = number(0.0, at_least=0)

    name = "cosine"

    def at(self, time: np.ndarray, duration: float) -> np.ndarray:
        return _cosine(self.rate, self.final, time / duration)


def _cosine(start: float, end: float, progress: np.ndarray) -> np.ndarray:
    remaining: np.ndarray = (1 + np.cos(math.pi * np.clip(progress, 0, 1))) / 2
    return end + (start - end) * remaining


@dataclass(frozen=True)
class CosineLog(Schedule):
    """Cosine cycles, each twice as long as the previous cycle (Holzmueller et al. 2024, RealMLP).

    The rate is rate * (1 - cos(2 pi log2(1 + (2^cycles - 1) * t))) / 2, with t = time / duration.
    The rate is 0 at t = (2^k - 1) / (2^cycles - 1), k = 0, 1, ..., cycles. Between two zeros, the
    schedule reaches its highest rate, `rate`, once.

    Parameters
    ----------
    rate : float
        The highest rate.
    cycles : int
        Number of cycles. The default, 4, gives the schedule coslog_4 of the paper.
    time_of_update : float
        The moment of an update at which the rate is computed, from 0 to 1. With 0, as in RealMLP,
        this is the update's beginning.

    Examples
    --------
    At t = 0, 1/15, 3/15, 7/15 and 1 the rate is 0:

    >>> schedule = gpunn.schedules.CosineLog(0.1)
    >>> schedule.at(np.array([0.0, 1.0, 3.0, 7.0, 15.0]), duration=15).round(3)
    array([0., 0., 0., 0., 0.])
    """

    rate: float = number(0.01, at_least=0)
    cycles: int = integer(4)
    time_of_update: float = number(0.5, at_least=0, at_most=1)

    name = "cosine_log"

    def at(self, time: np.ndarray, duration: float) -> np.ndarray:
        progress = np.clip(time / duration, 0, 1)
        cycle = np.log2(1 + (2.0**self.cycles - 1) * progress)
        return self.rate * (1 - np.cos(2 * math.pi * cycle)) / 2

    def cycle_ends(self, duration: float) -> list[float]:
        last = 2.0**self.cycles - 1
        return [duration * (2.0**k - 1) / last for k in range(1, self.cycles + 1)]


@dataclass(frozen=True)
class FlatCosine(Schedule):
    """Constant rate, then cosine decay to 0 (flat_cos in RealMLP, Holzmueller et al. 2024).

    With t = time / duration, the rate is `rate` for t <= flat. Afterwards, the rate is rate * (1 +
    cos(pi * u)) / 2 with u = (t - flat) / (1 - flat).

    Parameters
    ----------
    rate : float
        The initial rate, at least 0; 0.01 by default.
    flat : float
        Fraction of the training with a constant rate: in [0, 1), 0.5 by default.
    time_of_update : float
        As in `CosineLog`.

    Examples
    --------
    >>> gpunn.schedules.FlatCosine(0.1).at(np.array([0.0, 5.0, 7.5, 10.0]), duration=10).round(3)
    array([0.1 , 0.1 , 0.05, 0.  ])
    """

    rate: float = number(0.01, at_least=0)
    flat: float = number(0.5, at_least=0, below=1)
    time_of_update: float = number(0.5, at_least=0, at_most=1)

    name = "flat_cosine"

    def at(self, time: np.ndarray, duration: float) -> np.ndarray:
        return _cosine(self.rate, 0.0, (time / duration - self.flat) / (1 - self.flat))


@dataclass(frozen=True)
class WarmUp(Schedule):
    """Linear warm-up from 0 during `epochs`, before another schedule starts.

    See Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.2.

    Parameters
    ----------
    schedule : float, str, mapping or Schedule
        The schedule after the warm-up: a constant of 0.01 by default.
    epochs : float
        Length of the warm-up in epochs; positive, by default 1.

    Examples
    --------
    >>> schedule = gpunn.schedules.WarmUp(gpunn.schedules.Constant(0.1), epochs=2)
    >>> schedule.at(np.array([0.0, 1.0, 2.0, 3.0]), duration=10)
    array([0.  , 0.05, 0.1 , 0.1 ])
    """

    schedule: Schedule = field(default_factory=Constant)
    epochs: float = number(1.0, above=0)

    name = "warm_up"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "schedule", as_schedule(self.schedule, "schedule"))
        self._keep("time_of_update", self.schedule.time_of_update)

    def at(self, time: np.ndarray, duration: float) -> np.ndarray:
        rise = np.minimum(time / self.epochs, 1)
        rest = max(duration - self.epochs, np.finfo(float).tiny)  # a warm-up may fill the training
        after: np.ndarray = rise * self.schedule.at(np.maximum(time - self.epochs, 0), rest)
        return after

    def cycle_ends(self, duration: float) -> list[float]:
        ends = self.schedule.cycle_ends(max(duration - self.epochs, 0.0))
        return [self.epochs + end for end in ends]

    def check(self, larger_is_better: Mapping[str, bool | None]) -> None:
        self.schedule.check(larger_is_better)

    def forget_logs(self) -> None:
        self.schedule.forget_logs()

    def observe(self, logs: Mapping[str, float]) -> None:
        self.schedule.observe(logs)

    def state(self) -> dict[str, float]:
        return self.schedule.state()

    def restore(self, state: Mapping[str, float]) -> None:
        self.schedule.restore(state)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """One-cycle schedule: the rate increases to `rate`, then decreases until training ends.

    The increase and the decrease are half cosines.

    See Smith & Topin 2018, "Super-Convergence: Very Fast Training of Neural Networks Using Large
    Learning Rates".

    Parameters
    ----------
    rate : float
        The highest rate, at least 0; 0.01 by default.
    rise : float
        Fraction of the training in which the rate increases, in (0, 1).
    start_factor : float
        At least 1; the initial rate is rate / start_factor.
    final_factor : float
        At least 1; the final rate is rate / final_factor.

    Examples
    --------
    >>> gpunn.schedules.OneCycle(0.5).at(np.array([0.0, 3.0, 10.0]), duration=10).round(3)
    array([0.02, 0.5 , 0.  ])
    """

    rate: float = number(0.01, at_least=0)
    rise: float = number(0.3, above=0, below=1)
    start_factor: float = number(25.0, at_least=1)
    final_factor: float = number(1e4, at_least=1)

    name = "one_cycle"

    def at(self, time: np.ndarray, duration: float) -> np.ndarray:
        progress = time / duration
        up = _cosine(self.rate / self.start_factor, self.rate, progress / self.rise)
        fall = (progress - self.rise) / (1 - self.rise)
        down = _cosine(self.rate, self.rate / self.final_factor, fall)
        return np.where(progress < self.rise, up, down)


@dataclass(eq=False)
class ReduceOnPlateau(Schedule):
    """Multiply the rate by `factor` each time the monitored metric stops improving.

    PyTorch's `ReduceLROnPlateau` waits for one more epoch, and has a relative threshold.

    Parameters
    ----------
    rate : float
        The initial rate, at least 0; 0.01 by default.
    monitor : str
        A key of the epoch's logs, such as "val_loss".
    mode : {"auto", "min", "max"}
        Whether smaller ("min") or larger ("max") values are better. "auto" uses
        `Metric.larger_is_better` for metrics, and "min" for losses.
    factor : float
        Factor of each reduction, between 0 and 1.
    patience : int
        Number of consecutive epochs without improvement before a reduction.
    min_delta : float
        A change counts as an improvement only if it is larger than this number.
    min_rate : float
        The minimum rate.

    Raises
    ------
    ArgumentError
        Before training, if the logs do not include `monitor`, or if `mode` is "auto" and the metric
        does not define whether larger is better.

    Examples
    --------
    >>> schedule = gpunn.schedules.ReduceOnPlateau(0.1, monitor="loss", factor=0.5, patience=2)
    >>> for loss in (1.0, 1.0, 1.0):
    ...     schedule.observe({"loss": loss})
    >>> schedule.at(np.array([3.0]), duration=10)
    array([0.05])
    """

    rate: float = number(0.01, at_least=0)
    monitor: str = "val_loss"
    mode: str = "auto"
    factor: float = number(0.1, above=0, below=1)
    patience: int = integer(5)
    min_delta: float = number(1e-4, at_least=0)
    min_rate: float = number(0.0, at_least=0)

    name = "reduce_on_plateau"
    _restored = False
    """Whether a user or a checkpoint has set the state, and no epoch has followed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_monitor(self.monitor, self.mode)
        self._direction: str | None = None
        self._current, self._best = self.rate, BestSoFar()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "rate":
            self._current = self.rate

    def forget_logs(self) -> None:
        if not self._restored:
            self._current, self._best = self.rate, BestSoFar()

    def at(self, time: np.ndarray, duration: float) -> np.ndarray:
        return np.full_like(time, self._current)

    def check(self, larger_is_better: Mapping[str, bool | None]) -> None:
        monitored(dict.fromkeys(larger_is_better, 0.0), self.monitor)
        self._direction = direction(self.mode, self.monitor, larger_is_better)

    def observe(self, logs: Mapping[str, float]) -> None:
        value, self._restored = monitored(logs, self.monitor), False
        if self._direction is None:  # only a trainer calls `check` first
            self._direction = direction(self.mode, self.monitor, directions(()))
        rule = Best(self.monitor, self._direction, self.min_delta)
        if not self._best.improves(rule, value) and self._best.waited >= self.patience:
            reduced = max(self._current * self.factor, self.min_rate)
            self._current = min(self._current, reduced)  # `rate` may be less than `min_rate`
            self._best.waited = 0

    def state(self) -> dict[str, float]:
        best = math.inf if self._best.value is None else self._best.value
        return {"current": self._current, "best": best, "waited": self._best.waited}

    def restore(self, state: Mapping[str, float]) -> None:
        current, waited = float(state["current"]), int(state["waited"])
        if not 0 <= current < math.inf:
            raise ValueError(f"current: expected a finite rate >= 0; got {current}")
        best = state["best"] if math.isfinite(state["best"]) else None
        self._current, self._best, self._restored = current, BestSoFar(best, waited), True


if not TYPE_CHECKING:  # otherwise mypy would accept any name from this module

    def __getattr__(name: str) -> None:
        raise missing_class(__name__, Schedule, name)
