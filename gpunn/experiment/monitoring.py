"""By which of its logs an epoch is the best, as a configuration says it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from gpunn.errors import ArgumentError, ConfigError
from gpunn.monitor import Best, default_monitor, direction, missing_metric
from gpunn.training.callbacks import Callback, EarlyStopping

__all__ = ["best_rule", "settle_monitors"]


def settle_monitors(
    training: dict[str, Any],
    logs: Collection[str],
    larger_is_better: Mapping[str, bool | None],
) -> None:
    """Put "min" or "max" in the place of each mode "auto", once the metrics are known.

    `training` is the table `[training]` with every default written out; it is changed in place.
    `logs` names what is logged of an epoch, and `larger_is_better` is as `gpunn.monitor.directions`
    returns it. A ConfigError says what monitors something that no epoch logs, or whose direction is
    unknown.
    """
    if training["monitor"] is None and training["monitor_mode"] != "auto":
        raise ConfigError(
            "training.monitor_mode: needs training.monitor, the metric's name; that of a callback "
            "is set by training.callbacks.0.mode, where 0 is its number"
        )
    for path, table, mode in _monitoring(training):
        if (monitor := table.get("monitor")) is None:
            continue
        if monitor not in logs:
            remedy = " without validation rows (data.validation_fraction)"
            raise ConfigError(
                f"{path}.monitor: {missing_metric(monitor, logs, remedy)}; what is measured is in "
                "training.metrics"
            )
        if mode in table:
            try:
                table[mode] = direction(table[mode], monitor, larger_is_better)
            except ArgumentError as error:
                raise ConfigError(f"{path}.{mode}: {error.problem}") from error


def _monitoring(training: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield the path and the table of all that may monitor something, and its key of the mode."""
    for index, callback in enumerate(training["callbacks"]):
        yield f"training.callbacks[{index}]", callback, "mode"
    schedule = training["optimizer"].get("learning_rate")
    while isinstance(schedule, dict):
        yield "training.optimizer.learning_rate", schedule, "mode"
        schedule = schedule.get("schedule")
    yield "training", training, "monitor_mode"


def best_rule(
    training: Mapping[str, Any],
    callbacks: Sequence[Callback],
    logs: Collection[str],
    larger_is_better: Mapping[str, bool | None],
) -> Best | None:
    """Return what selects the best epoch, once monitors are settled; None if nothing does.

    If several things would, a ConfigError says so.
    """
    stoppers = [each for each in callbacks if isinstance(each, EarlyStopping)]
    if len(stoppers) > 1:
        raise ConfigError("training.callbacks: only one early_stopping can be given")
    monitor, mode = training["monitor"], training["monitor_mode"]
    if not stoppers:
        if monitor is None and (monitor := default_monitor(logs)) is not None:
            mode = "max" if monitor == "val_accuracy" else "min"
        return None if monitor is None else Best(monitor, mode)
    stopper = stoppers[0]
    if monitor is not None:
        raise ConfigError(
            "training.monitor: can't be given beside an early_stopping callback, whose monitor "
            "chooses the best epoch; set "
            f"training.callbacks.{callbacks.index(stopper)}.monitor instead"
        )
    mode = direction(stopper.mode, stopper.monitor, larger_is_better)
    return Best(stopper.monitor, mode, stopper.min_delta, stopper.ties)
