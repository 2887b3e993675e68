"""The runs in a folder: their metrics, states and settings, for `gpunn runs`."""

from __future__ import annotations

import difflib
import operator
import os
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gpunn.differences import leaves, varying
from gpunn.errors import ArgumentError, ConfigError, GpunnError
from gpunn.experiment.files import CONFIG, HISTORY
from gpunn.monitor import NOT_METRICS, VALIDATION
from gpunn.reporting.ranking import Ranking, rank
from gpunn.reporting.records import Record, read_run

DEPTH = 4

COLUMNS = ("run", "state", "epoch", "epochs", "seconds", "started")


@dataclass(frozen=True)
class Run:
    name: str
    record: Record

    @cached_property
    def metrics(self) -> dict[str, float]:
        rows = self.record.history
        row = self.record.best or (rows[-1] if rows else {})
        validated = any(name.startswith(VALIDATION) for name in row)
        return {
            name: value
            for name, value in row.items()
            if value is not None
            and name not in NOT_METRICS
            and name.startswith(VALIDATION) == validated
        }

    @cached_property
    def columns(self) -> dict[str, Any]:
        record = self.record
        best = record.best or {}
        values = (
            self.name,
            record.state,
            None if best.get("epoch") is None else int(best["epoch"] or 0),
            len(record.history),
            record.seconds,
            record.environment.started or None,
        )
        return dict(zip(COLUMNS, values, strict=True))

    @cached_property
    def settings(self) -> dict[str, Any]:
        return dict(leaves(self.record.description))

    def get(self, key: str) -> Any:
        for values in (self.columns, self.metrics, self.settings):
            if key in values:
                return values[key]
        return self.settings.get(f"{key}.name")


def find_runs(folder: Path) -> tuple[list[Run], list[str]]:
    # Hidden folders, and folders more than four levels below, are skipped. Links are followed, but
    # each folder is read once. The second list has a message for each unreadable folder and damaged
    # run.
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: expected a folder with runs; there is no such folder. Check the path"
        )
    runs: list[Run] = []
    problems: list[str] = []

    def unreadable(error: OSError) -> None:
        problems.append(f"{error.filename}: {error.strerror or error}")

    seen: set[Path] = set()
    for path, inner, files in os.walk(folder, onerror=unreadable, followlinks=True):
        here = Path(path)
        if (real := here.resolve()) in seen:  # reached before, by a link
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        depth = len(here.relative_to(folder).parts)
        if CONFIG in files or HISTORY in files or depth == DEPTH:
            inner.clear()
        if CONFIG in files:
            try:
                record = read_run(here)
                run = Run(str(here.relative_to(folder)) if depth else record.name, record)
                _ = run.columns  # raises an error if a callback's description is invalid
            except (GpunnError, OSError) as error:
                where = "" if str(here) in str(error) else f"{here}: "
                problems.append(f"{where}{error}")
            else:
                runs.append(run)
        elif HISTORY in files:
            problems.append(f"{here}: {CONFIG} is missing; restore this file, or remove the folder")
    return sorted(runs, key=lambda run: run.name), problems


def rank_runs(runs: Sequence[Run]) -> Ranking | None:
    return rank([run.record for run in runs])


def settings_that_differ(runs: Sequence[Run]) -> list[tuple[str, list[Any]]]:
    return list(varying([constants_as_numbers(run.record.description) for run in runs]))


def constants_as_numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [constants_as_numbers(item) for item in value]
    if isinstance(value, dict):
        if value.get("name") == "constant" and "rate" in value:
            return value["rate"]
        return {key: constants_as_numbers(item) for key, item in value.items()}
    return value


def full_key(key: str, runs: Sequence[Run], argument: str) -> str:
    # A full key is a column, a metric, or the path of a setting that ends in `key`. If several
    # settings end in `key`, the setting that differs between the runs counts.
    path = re.sub(r"\[(\d+)\]", r".\1", key)
    if path == "time":
        return "seconds"
    if path in COLUMNS or any(path in run.metrics for run in runs):
        return path
    known = list(dict.fromkeys(name for run in runs for name in run.settings))
    for end in (path, f"{path}.name"):
        matches = [name for name in known if f".{name}".endswith(f".{end}")]
        if len(matches) > 1 and end not in matches:
            differing = [
                name for name in matches if len({repr(run.settings.get(name)) for run in runs}) > 1
            ]
            matches = differing if len(differing) == 1 else matches
        if end in matches or len(matches) == 1:
            return end if end in matches else matches[0]
        if matches:
            raise ArgumentError(
                f"{argument}: {key!r} matches several keys; use one of {', '.join(matches[:6])}"
            )
    columns = dict.fromkeys([*COLUMNS, *(name for run in runs for name in run.metrics)])
    ends = {name.rpartition(".")[2]: name for name in known}
    nearest = difflib.get_close_matches(path, [*columns, *known, *ends], n=1)
    meant = f"; did you mean {ends.get(nearest[0], nearest[0])!r}?" if nearest else "."
    raise ArgumentError(
        f"{argument}: no run has {key!r}{meant} Valid keys are {', '.join(columns)}, and the "
        "settings in a run's config.json, such as training.batch_size"
    )


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}


class Condition:
    def __init__(self, text: str) -> None:
        match = re.fullmatch(r"\s*([^=<>!]+?)\s*(!=|<=|>=|==?|<|>)\s*(.*?)\s*", text)
        if match is None:
            raise ArgumentError(
                "where: expected KEY OPERATOR VALUE, such as optimizer.name=adam, where OPERATOR "
                f"is one of {' '.join(OPERATORS)}; got {text!r}"
            )
        self.text = text
        self._key, sign, self._written = match.groups()
        self._compare, self._value = OPERATORS[sign], plain_value(self._written)

    def chosen(self, runs: Sequence[Run]) -> list[Run]:
        # If a run has no value for the key, only "!=" matches it.
        if not runs:
            return []
        key = full_key(self._key, runs, "where")
        return [run for run in runs if self._holds(run.get(key), key in COLUMNS)]

    def _holds(self, value: Any, of_column: bool) -> bool:
        if self._compare in (operator.eq, operator.ne):
            same = value in (self._value, self._written) or str(value) == str(self._value)
            return same == (self._compare is operator.eq)
        if value is None:
            return False
        # A date or a run's name may look like a number, such as 2026.
        text = of_column and isinstance(value, str) and not isinstance(self._value, str)
        expected = self._written if text else self._value
        try:
            return bool(self._compare(value, expected))
        except TypeError:
            raise ArgumentError(
                f"where: {self.text!r} compares {value!r} with {self._value!r}; use < and > only "
                "for two numbers or two strings"
            ) from None


def plain_value(text: str) -> Any:
    """Return the value of a TOML number, Boolean or string; return other text unchanged.

    >>> plain_value("0.1"), plain_value("true"), plain_value("adam"), plain_value("none")
    (0.1, True, 'adam', None)
    """
    if text == "none":
        return None
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = document["value"]  # dates stay text
    return value if len(document) == 1 and isinstance(value, (bool, int, float, str)) else text


def ordered(
    runs: Sequence[Run], ranking: Ranking | None, key: str | None, reverse: bool
) -> list[Run]:
    # If larger is better for a metric, the largest value comes first. Runs without a value always
    # come last.
    if key is None:
        if ranking is None:
            return list(runs)[::-1] if reverse else list(runs)
        every = [runs[index] for index in ranking.order]
        ranked = [run for run in every if ranking.value(run.record) is not None]
        return (ranked[::-1] if reverse else ranked) + every[len(ranked) :]
    if not runs:
        return []
    key = full_key(key, runs, "sort")
    larger = any(run.record.larger_is_better.get(key) for run in runs if key in run.metrics)
    having = [run for run in runs if run.get(key) is not None]
    numbers = all(isinstance(run.get(key), (int, float)) for run in having)
    having.sort(
        key=lambda run: run.get(key) if numbers else str(run.get(key)), reverse=reverse != larger
    )
    return having + [run for run in runs if run.get(key) is None]
