"""Successive halving: train many candidates for few epochs, and the best ones for more."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gpunn.configurable import check_integer
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.monitor import check_monitor, direction, monitored
from gpunn.training.fit import Fit
from gpunn.training.together.fit_result import FitResult, StopRule


@dataclass(eq=False)
class Halving(StopRule):
    """A rule for `gpunn.train_together`: successive halving of the candidates.

    After `min_epochs` epochs, the best 1 / `factor` of the groups continue, and the other groups
    end. The rule compares the remaining groups again after `min_epochs` * `factor` epochs, after
    `min_epochs` * `factor`² epochs, and so on. A group's value is the mean of its networks' values
    in the epoch of the comparison. Among groups with equal values, the groups that come first in
    `groups` continue.

    If `EarlyStopping` has ended a network, the value of its last epoch counts. A group with a
    network that failed is worse than all other groups.

    Parameters
    ----------
    monitor : str
        The log by which groups are compared, such as "val_loss".
    groups : sequence of hashable, or None
        The group of each network; entry i belongs to fit i. For example, the seeds and folds of one
        candidate form a group. With None, each network is a group.
    factor : int
        At least 2. At each comparison, 1 / `factor` of the groups continue.
    min_epochs : int
        The number of epochs before the first comparison.
    mode : {"auto", "min", "max"}
        Whether smaller ("min") or larger ("max") values are better. "auto" uses
        `Metric.larger_is_better` for metrics, and "min" for losses.

    Raises
    ------
    ArgumentError
        If a number is invalid, if the log does not exist, or if `groups` does not have an entry for
        each fit.

    Examples
    --------
    >>> fits = []
    >>> for rate in (0.4, 0.2, 0.1, 0.05):
    ...     layer = gpunn.layers.Dense(1, initializer="zeros")
    ...     model = gpunn.Sequential([layer], 1, backend="numpy")
    ...     trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.SGD(rate))
    ...     fits.append(trainer.prepare([[1.0]], [1.0], epochs=8))
    >>> halving = gpunn.Halving("loss", factor=2, min_epochs=2)
    >>> results = gpunn.train_together(fits, stop=halving)
    >>> [len(result.history["loss"]) for result in results]
    [4, 8, 2, 2]
    """

    monitor: str
    groups: Sequence[Hashable] | None = None
    factor: int = 3
    min_epochs: int = 1
    mode: str = "auto"

    def __post_init__(self) -> None:
        check_integer("factor", self.factor, at_least=2)
        check_integer("min_epochs", self.min_epochs)
        check_monitor(self.monitor, self.mode)
        if self.groups is not None and not is_list_of_hashable(self.groups):
            raise ArgumentTypeError(
                "groups: expected a list with a number or string for each fit, or None; got "
                f"{self.groups!r:.80}"
            )

    def begin(self, fits: Sequence[Fit]) -> None:
        if self.groups is not None and len(self.groups) != len(fits):
            raise ArgumentError(
                f"groups: expected a group for each of {len(fits)} fits; got {len(self.groups)}"
            )
        for fit in fits:
            logs = fit.trainer.log_names_of(fit.session.validation is not None)
            monitored(dict.fromkeys(logs, 0.0), self.monitor)
            self._direction = direction(self.mode, self.monitor, fit.trainer.larger_is_better)

    def next_epoch(self, epoch: int) -> int:
        return epoch * self.factor or self.min_epochs

    def compare(self, epoch: int, results: Mapping[int, FitResult]) -> Mapping[int, str]:
        sign = 1 if self._direction == "min" else -1
        group_of = {i: i if self.groups is None else self.groups[i] for i in sorted(results)}
        members: dict[Hashable, list[float]] = {}
        for index, group in group_of.items():
            value = sign * self._value(epoch, results[index])
            members.setdefault(group, []).append(value if math.isfinite(value) else math.inf)
        means = {group: sum(values) / len(values) for group, values in members.items()}
        count = max(1, len(means) // self.factor)
        ended = set(sorted(means, key=lambda group: means[group])[count:])
        return {
            index: f"{self.monitor} {sign * means[group]:.6g} is not among the best {count} of "
            f"{len(means)} after epoch {epoch}"
            for index, group in group_of.items()
            if group in ended
        }

    def _value(self, epoch: int, result: FitResult) -> float:
        first = result.trainer.first_epoch
        rows = [row for row in result.history.rows if first < row["epoch"] <= first + epoch]
        return (
            math.nan if result.error is not None or not rows else monitored(rows[-1], self.monitor)
        )


def is_list_of_hashable(values: object) -> bool:
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
        return False
    try:
        return set(values) is not None
    except TypeError:
        return False
