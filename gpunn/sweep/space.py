"""Converts the ranges of a sweep to Optuna's distributions, and values to a trial's settings."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from gpunn.config import SearchRange, toml_text
from gpunn.sweep.journal import optuna


def suggested(trial: Any, space: Mapping[str, SearchRange]) -> dict[str, Any]:
    return {path: _suggested(trial, path, each) for path, each in space.items()}


def _suggested(trial: Any, path: str, values: SearchRange) -> Any:
    if values.choices is not None:
        labels = values.labels
        return labels[trial.suggest_categorical(path, list(labels))]
    suggest = trial.suggest_int if values.whole else trial.suggest_float
    return suggest(path, **_numbers(values))


def distribution(values: SearchRange) -> Any:
    kinds = optuna().distributions
    if values.choices is not None:
        return kinds.CategoricalDistribution(list(values.labels))
    kind = kinds.IntDistribution if values.whole else kinds.FloatDistribution
    return kind(**_numbers(values))


def _numbers(values: SearchRange) -> dict[str, Any]:
    if values.whole:
        ends = {"low": values.low, "high": values.high}
        return {**ends, "step": values.step or 1, "log": values.log}
    ends = {"low": float(values.low or 0), "high": float(values.high or 0)}
    return {**ends, "step": values.step, "log": values.log}


def next_of_grid(
    space: Mapping[str, SearchRange], used: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    before = {_hashable(each) for each in used}
    for values in product(*(each.grid for each in space.values())):
        combination = dict(zip(space, values, strict=True))
        if _hashable(combination) not in before:
            return combination
    return None


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(each)) for key, each in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def labeled(values: Mapping[str, Any], space: Mapping[str, SearchRange]) -> dict[str, Any]:
    return {
        path: value
        if (choices := space[path].choices) is None
        else list(space[path].labels)[choices.index(value)]
        for path, value in values.items()
    }


def extreme_values(space: Mapping[str, SearchRange], last: bool) -> dict[str, Any]:
    return {path: each.extremes[-1 if last else 0] for path, each in space.items()}


def settings_of(values: Mapping[str, Any]) -> list[str]:
    # A table comes before keys in the table: `training.optimizer` before its learning rate.
    paths: Iterable[str] = sorted(values, key=lambda path: path.count(".") + path.count("["))
    return [f"{path}={toml_text(values[path])}" for path in paths]
