"""Select the best epoch by a metric, and decide whether larger or smaller is better."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gpunn.errors import ArgumentError, ArgumentTypeError, suggest

VALIDATION = "val_"

TIMINGS = ("learning_rate", "seconds", "samples_per_second")

NOT_METRICS = {"epoch": False, "learning_rate": False, "seconds": False, "samples_per_second": True}
"""Maps names of logged values that are not metrics to whether larger values are better."""

Row = TypeVar("Row", bound=Mapping[str, float | None])


class Measure(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def larger_is_better(self) -> bool | None: ...


def directions(metrics: Iterable[Measure]) -> dict[str, bool | None]:
    metrics = list(metrics)
    for metric in metrics:
        larger = metric.larger_is_better
        if larger is not None and not isinstance(larger, bool):
            raise ArgumentTypeError(
                f"metric {metric.name!r}: larger_is_better must be True, False or None; "
                f"got {larger!r}"
            )
    measured = {"loss": False, **{metric.name: metric.larger_is_better for metric in metrics}}
    validation = {f"{VALIDATION}{name}": larger for name, larger in measured.items()}
    return {**NOT_METRICS, **validation, **measured}


def check_mode(mode: str) -> None:
    if mode not in ("auto", "min", "max"):
        raise ArgumentError(f"mode: expected 'auto', 'min' or 'max'; got {mode!r}")


def check_monitor(monitor: str, mode: str) -> None:
    if not isinstance(monitor, str):
        raise ArgumentTypeError(
            f"monitor: expected the name of a logged value, such as 'val_loss'; got {monitor!r}"
        )
    check_mode(mode)


def direction(mode: str, monitor: str, larger_is_better: Mapping[str, bool | None]) -> str:
    # "auto" needs a metric whose better direction is known.
    check_mode(mode)
    if mode != "auto":
        return mode
    larger = larger_is_better.get(monitor)
    if larger is None:
        raise ArgumentError(
            f"mode: can't decide whether a larger or a smaller {monitor!r} is better. Set mode to "
            "'max' or 'min', or set larger_is_better = True or False in the metric's class"
        )
    return "max" if larger else "min"


def default_monitor(names: Collection[str]) -> str | None:
    return next((name for name in ("val_accuracy", "val_loss") if name in names), None)


@dataclass(frozen=True)
class Best:
    """Selects the best epoch by the metric `monitor`, in the direction "min" or "max".

    An epoch is better if its metric improves by more than `min_delta`. With `ties` = "last", an
    improvement by exactly `min_delta` is also enough.
    """

    monitor: str
    direction: str
    min_delta: float = 0.0
    ties: str = "first"

    @property
    def start(self) -> float:
        return math.inf if self.direction == "min" else -math.inf

    def improved(self, value: float, best: float) -> bool:
        gain = best - value if self.direction == "min" else value - best
        return gain > self.min_delta or (self.ties == "last" and gain == self.min_delta)

    def find(self, rows: Iterable[Row]) -> Row | None:
        search, best = BestSoFar(), None
        for row in rows:
            value = row.get(self.monitor)
            if value is not None and search.improves(self, value):
                best = row
        return best


@dataclass
class BestSoFar:
    value: float | None = None
    waited: int = 0

    def improves(self, rule: Best, value: float) -> bool:
        if rule.improved(value, rule.start if self.value is None else self.value):
            self.value, self.waited = value, 0
            return True
        self.waited += 1
        return False


def missing_metric(monitor: str, names: Collection[str], hint: str = "") -> str:
    unvalidated = not any(name.startswith(VALIDATION) for name in names)
    needs = hint if monitor.startswith(VALIDATION) and unvalidated else ""
    return f"the logs have no value {monitor!r}{needs}; {suggest(monitor, names)}"


def monitored(logs: Mapping[str, float], monitor: str) -> float:
    if monitor not in logs:
        hint = " without validation data"
        raise ArgumentError(f"monitor: {missing_metric(monitor, logs, hint)}")
    return logs[monitor]
