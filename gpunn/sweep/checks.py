"""Checks all values before the first trial, and finds the metric that compares trials."""

from collections.abc import Mapping
from typing import Any

from gpunn.config import Sweep, toml_text
from gpunn.errors import ArgumentError, ConfigError, DataError, InvalidFileError
from gpunn.experiment import Experiment
from gpunn.monitor import VALIDATION, Best, direction, directions, missing_metric
from gpunn.sweep.source import Source
from gpunn.sweep.space import extreme_values, settings_of


def check_sweep(source: Source, sweep: Sweep) -> tuple[Best, dict[str, list[int]]]:
    # Returns the rule that compares trials, and the fingerprints of the data.
    # Each extreme value of a key is checked together with the first extreme values of all other
    # keys. In addition, the last extreme values of all keys are checked together.
    first = extreme_values(sweep.space, last=False)
    for path, values in sweep.space.items():
        for value in values.extremes:
            try:
                source.check(settings_of({**first, path: value}))
            except ConfigError as error:
                raise ConfigError(
                    f"sweep.parameters.{path}: the value {toml_text(value)} is not valid: {error}"
                ) from error
    _built(source, extreme_values(sweep.space, last=True))
    experiment = _built(source, first)
    return _rule(experiment, sweep), experiment.splits.fingerprints()


def _built(source: Source, values: Mapping[str, Any]) -> Experiment:
    settings = settings_of(values)
    try:
        return source.build(settings)
    except InvalidFileError:  # a damaged data file fails for any values
        raise
    except (ConfigError, DataError) as error:
        raise ConfigError(
            f"sweep.parameters: the combination {', '.join(settings)} is not valid: {error}"
        ) from error


def _rule(experiment: Experiment, sweep: Sweep) -> Best:
    validated = experiment.splits.validation is not None
    if not validated or experiment.best is None:
        raise ConfigError(
            "sweep: comparing trials needs validation rows; set data.validation_fraction"
        )
    logs = experiment.trainer.log_names_of(validated)
    metric = sweep.metric or experiment.best.monitor
    if metric not in logs:
        raise ConfigError(f"sweep.metric: {missing_metric(metric, logs)}")
    if not metric.startswith(VALIDATION):
        valid = ", ".join(repr(name) for name in logs if name.startswith(VALIDATION))
        raise ConfigError(f"sweep.metric: expected a validation metric ({valid}); got {metric!r}")
    if sweep.metric_mode == "auto" and metric == experiment.best.monitor:
        return Best(metric, experiment.best.direction)
    with ConfigError.instead_of(ArgumentError, prefix="sweep.metric_"):
        known = directions(experiment.trainer.metrics)
        return Best(metric, direction(sweep.metric_mode, metric, known))
