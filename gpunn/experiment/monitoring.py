"""Selects the metric that decides which epoch is the best."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from gpunn.errors import ArgumentError, ConfigError
from gpunn.monitor import VALIDATION, Best, default_monitor, direction, missing_metric
from gpunn.training.callbacks import Callback, EarlyStopping


def settle_monitors(
    training: dict[str, Any], logs: Collection[str], larger_is_better: Mapping[str, bool | None]
) -> None:
    if training["monitor"] is None and training["monitor_mode"] != "auto":
        raise ConfigError(
            "training.monitor_mode: also set training.monitor to the metric's name. To set only "
            "the mode of the first callback, use training.callbacks.0.mode"
        )
    for path, table, mode in _monitoring(training):
        if (monitor := table.get("monitor")) is None:
            continue
        if monitor not in logs:
            hint = " without validation rows (set data.validation_fraction)"
            problem = missing_metric(monitor, logs, hint)
            name = monitor.removeprefix(VALIDATION)
            remedy = f"; to log {monitor!r}, add {name!r} to training.metrics"
            remedy = "" if hint in problem else remedy
            raise ConfigError(f"{path}.monitor: {problem}{remedy}")
        if mode in table:
            try:
                table[mode] = direction(table[mode], monitor, larger_is_better)
            except ArgumentError as error:
                raise ConfigError(f"{path}.{mode}: {error.problem}") from error


def _monitoring(training: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
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
    stoppers = [each for each in callbacks if isinstance(each, EarlyStopping)]
    if len(stoppers) > 1:
        raise ConfigError("training.callbacks: expected at most one early_stopping; remove one")
    monitor, mode = training["monitor"], training["monitor_mode"]
    if not stoppers:
        if monitor is None and (monitor := default_monitor(logs)) is not None:
            mode = "max" if monitor == "val_accuracy" else "min"
        return None if monitor is None else Best(monitor, mode)
    stopper = stoppers[0]
    if monitor is not None:
        raise ConfigError(
            "training.monitor: cannot be combined with an early_stopping callback, whose monitor "
            f"selects the best epoch; set training.callbacks.{callbacks.index(stopper)}.monitor "
            "instead"
        )
    mode = direction(stopper.mode, stopper.monitor, larger_is_better)
    return Best(stopper.monitor, mode, stopper.min_delta, stopper.ties)
