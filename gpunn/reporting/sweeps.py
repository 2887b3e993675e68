"""A sweep as a report shows it: its trials beside each other, told apart by validation alone."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpunn.display import title_of
from gpunn.experiment.files import CONFIG
from gpunn.monitor import VALIDATION
from gpunn.reporting.charts import Chart, points
from gpunn.reporting.curves import comparison
from gpunn.reporting.records import read_run
from gpunn.reporting.results import Table
from gpunn.reporting.text import number_text
from gpunn.sweep import TRIALS, Trial, Trials, read_trials

__all__ = ["SweepView", "is_sweep", "view_sweep"]

CURVES = 12
"""Trials whose curves are drawn, the best ones."""

PARAMETERS = 24
"""Parameters beside which the metric is drawn."""

WIDE = 30.0
"""Positive values that differ by such a factor are drawn on a logarithmic axis."""


@dataclass(frozen=True)
class SweepView:
    """What a page shows of a sweep.

    Attributes
    ----------
    name : str
        Of its folder.
    overview : Table
        All trials, the best first.
    charts : list of Chart
        The metric beside each parameter, then curves of the best trials.
    best : Path or None
        Folder of the best trial's run.
    """

    name: str
    overview: Table
    charts: list[Chart]
    best: Path | None


def is_sweep(folder: Path) -> bool:
    """Return whether a folder is that of a sweep."""
    return (folder / TRIALS).is_file()


def view_sweep(folder: Path) -> SweepView:
    """Return what a page shows of a sweep.

    Raises
    ------
    InvalidFileError
        If a file of it, or of a trial, is damaged.
    """
    found = read_trials(folder)
    begun = [trial for trial in found.ranked if (folder / trial.folder / CONFIG).is_file()]
    shown = begun[:CURVES]
    records = [read_run(folder / trial.folder) for trial in shown]
    curves = comparison(records, [trial.folder for trial in shown])
    best = found.best
    return SweepView(
        folder.resolve().name,
        overview(found),
        [*parameter_charts(found), *curves],
        folder / best.folder if best is not None and best in begun else None,
    )


def overview(found: Trials) -> Table:
    """Return a table of all trials, the best first."""
    best, paths = found.best, parameters(found)
    rows = [
        (
            trial.folder,
            *(text(trial.parameters.get(path)) for path in paths),
            number_text(trial.value, found.metric),
            number_text(trial.epoch),
            number_text(trial.epochs),
            f"{trial.state}, best" if trial is best else trial.state,
        )
        for trial in found.ranked
    ]
    note = (
        f"Told apart by {found.metric}, of validation rows, at each trial's best epoch. The test "
        "part has no say in which one is the best."
    )
    columns = ("trial", *paths, metric_title(found), "best epoch", "epochs", "state")
    return Table("Trials", columns, rows, note)


def metric_title(found: Trials) -> str:
    """Return what the trials' metric is called on the page."""
    return f"{title_of(found.metric.removeprefix(VALIDATION))} (validation)"


def parameters(found: Trials) -> list[str]:
    """Return the paths of all parameters."""
    return list(dict.fromkeys(path for trial in found.trials for path in trial.parameters))


def text(value: Any) -> str:
    """Return a parameter's value in one line."""
    if isinstance(value, dict) and "name" in value:
        rest = ", ".join(f"{key} {text(item)}" for key, item in value.items() if key != "name")
        return f"{value['name']} ({rest})" if rest else str(value["name"])
    return number_text(value)


def parameter_charts(found: Trials) -> list[Chart]:
    """Return a chart of the metric beside each parameter."""
    return [
        parameter_chart(found, path, number)
        for number, path in enumerate(parameters(found)[:PARAMETERS], start=1)
    ]


def parameter_chart(found: Trials, path: str, number: int) -> Chart:
    """Return a chart of the metric beside one parameter."""
    trials = [each for each in found.ranked if each.value is not None and path in each.parameters]
    values = [trial.parameters[path] for trial in trials]
    numbers = all(map(is_number, values))
    categories = [] if numbers else list(dict.fromkeys(map(text, values)))
    x = values if numbers else [categories.index(text(value)) for value in values]
    y = [math.nan if trial.value is None else trial.value for trial in trials]
    metric, best = metric_title(found), found.best
    return points(
        f"sweep-{number}-{re.sub(r'[^A-Za-z0-9]+', '-', path)}",
        f"{metric} by {path}",
        x,
        y,
        labels=(path, metric),
        categories=categories,
        logarithmic=numbers and is_wide(values),
        marked=next((place for place, trial in enumerate(trials) if trial is best), None),
        columns=("trial", path, metric, "state"),
        rows=[
            (trial.folder, text(trial.parameters[path]), trial.value, trial.state)
            for trial in trials
        ],
        description=f"{metric} of {len(trials)} trials beside {path}. {described(best, path)}",
        note=f"{described(best, path)} Of trials that were ended early, too, it is the best epoch.",
    )


def described(best: Trial | None, path: str) -> str:
    """Return which point is that of the best trial."""
    if best is None:
        return "No trial is complete."
    return f"The ring is the best trial, {best.folder}, with {text(best.parameters.get(path))}."


def is_number(value: Any) -> bool:
    """Return whether a value can be drawn on an axis of numbers."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_wide(values: Sequence[float]) -> bool:
    """Return whether numbers are drawn on a logarithmic axis."""
    return bool(values) and min(values) > 0 and max(values) >= WIDE * min(values)
