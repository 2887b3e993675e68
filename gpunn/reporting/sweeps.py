"""The report's content about a sweep: its trials, compared by validation."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.config import SearchRange
from gpunn.display import title_of
from gpunn.experiment.files import CONFIG
from gpunn.meaning import plural
from gpunn.monitor import VALIDATION
from gpunn.reporting.charts import Axis, Chart, points, ranking
from gpunn.reporting.curves import comparison
from gpunn.reporting.records import read_run
from gpunn.reporting.results import Table
from gpunn.reporting.text import number_text
from gpunn.sweep import TRIALS, Trial, Trials, read_trials
from gpunn.sweep.importance import importances
from gpunn.sweep.trials import COMPLETE

CURVES = 12

PARAMETERS = 24

WIDE = 30.0
"""A parameter's axis is logarithmic if its largest value is this many times its smallest one."""

HOLLOW = "Hollow points show the best epochs of trials that did not complete."


@dataclass(frozen=True)
class SweepView:
    name: str
    overview: Table
    charts: list[Chart]
    best: Path | None


def is_sweep(folder: Path) -> bool:
    return (folder / TRIALS).is_file()


def view_sweep(folder: Path) -> SweepView:
    trials = read_trials(folder)
    begun = [trial for trial in trials.ranked if (folder / trial.folder / CONFIG).is_file()]
    shown, best = begun[:CURVES], trials.best
    records = [read_run(folder / trial.folder) for trial in shown]
    curves = comparison(records, [trial.folder for trial in shown])
    return SweepView(
        folder.resolve().name,
        overview(trials),
        [*summary_charts(trials), *parameter_charts(trials), *curves],
        folder / best.folder if best is not None and best in begun else None,
    )


def overview(sweep: Trials) -> Table:
    best, paths = sweep.best, parameters(sweep)
    rows = [
        (
            trial.folder,
            f"{trial.state}, best" if trial is best else state_text(trial),
            *(text(trial.parameters.get(path)) for path in paths),
            number_text(trial.value, sweep.metric),
            number_text(trial.epoch),
            number_text(trial.epochs),
        )
        for trial in sweep.ranked
    ]
    counts = Counter(trial.state for trial in sweep.trials).most_common()
    states = ", ".join(f"{count:,} {state}" for state, count in counts)
    note = (
        f"{states}. Compared by the validation metric {sweep.metric} at each trial's best epoch. "
        "The test split does not affect the comparison."
    )
    columns = ("trial", "state", *paths, metric_title(sweep), "best epoch", "epochs")
    return Table("Trials", columns, rows, note)


def state_text(trial: Trial) -> str:
    if trial.state == COMPLETE:
        return trial.state
    if trial.state == "pruned":
        return f"pruned after epoch {number_text(trial.epochs)}"
    if trial.state == "running":
        return f"running; epochs so far: {number_text(trial.epochs)}"
    reason = trial.reason if len(trial.reason) <= 80 else f"{trial.reason[:79]}…"
    return f"{trial.state}: {reason}" if reason else trial.state


def metric_title(sweep: Trials) -> str:
    return f"{title_of(sweep.metric.removeprefix(VALIDATION))} (validation)"


def parameters(sweep: Trials) -> list[str]:
    return list(dict.fromkeys(path for trial in sweep.trials for path in trial.parameters))


def text(value: Any) -> str:
    if isinstance(value, dict) and "name" in value:
        rest = ", ".join(f"{key} {text(item)}" for key, item in value.items() if key != "name")
        return f"{value['name']} ({rest})" if rest else str(value["name"])
    return number_text(value)


def parameter_charts(sweep: Trials) -> list[Chart]:
    return [
        parameter_chart(sweep, path, number)
        for number, path in enumerate(parameters(sweep)[:PARAMETERS], start=1)
    ]


def summary_charts(sweep: Trials) -> list[Chart]:
    shares = importances(sweep) if find_spec("optuna") else {}
    charts = [history(sweep)] if any(each.value is not None for each in sweep.trials) else []
    return [*charts, importance(sweep, shares)] if shares else charts


def history(sweep: Trials) -> Chart:
    trials = [each for each in sweep.trials if each.value is not None]
    values = [math.nan if each.value is None else each.value for each in trials]
    is_complete = [each.state == COMPLETE for each in trials]
    better = np.fmin if sweep.direction == "min" else np.fmax
    so_far = better.accumulate(np.where(is_complete, values, np.nan))
    metric, best = metric_title(sweep), sweep.best
    return points(
        "sweep-history",
        f"{metric} of each trial",
        [each.number for each in trials],
        values,
        labels=("trial", metric),
        axis=Axis(whole=True),
        marked=next((index for index, each in enumerate(trials) if each is best), None),
        hollow=[not complete for complete in is_complete],
        line=so_far.tolist(),
        columns=("trial", metric, "best so far", "state"),
        rows=[
            (each.folder, each.value, float(best_so_far), state_text(each))
            for each, best_so_far in zip(trials, so_far, strict=True)
        ],
        description=f"{metric} of {plural(len(trials), 'trial')}, by trial number. "
        f"{described(best)}",
        note=f"The line shows the best value so far. {HOLLOW}",
    )


def importance(sweep: Trials, shares: dict[str, float]) -> Chart:
    values = list(shares.values())
    # The end of a path is the most specific part.
    names = [path if len(path) <= 24 else f"…{path[-23:]}" for path in shares]
    return ranking(
        "sweep-importance",
        "Which parameters matter",
        names,
        values,
        maximum=PARAMETERS,
        label="share",
        columns=("parameter", "share"),
        rows=list(shares.items()),
        texts=list(map(number_text, values)),
        description=f"Bar chart of {len(names)} parameters. {next(iter(shares))} matters most, "
        f"with a share of {values[0]:.4g}.",
        note="Optuna's PED-ANOVA compares a parameter's values in the best tenth of the complete "
        "trials with its values in all complete trials. With few trials, the estimate is rough.",
    )


def axis_of(values: Sequence[Any], space: SearchRange | None) -> Axis:
    if space is not None and space.choices is None:
        low, high = (float(each) for each in space.extremes)
        return Axis(logarithmic=space.log, whole=space.whole, limits=(low, high))
    if space is None and all(map(is_number, values)):
        is_wide = bool(values) and min(values) > 0 and max(values) >= WIDE * min(values)
        return Axis(logarithmic=is_wide)
    return Axis(list(dict.fromkeys(map(text, [*(space.extremes if space else ()), *values]))))


def parameter_chart(sweep: Trials, path: str, number: int) -> Chart:
    space = sweep.space.get(path)
    trials = [each for each in sweep.ranked if each.value is not None and path in each.parameters]
    if space is not None and space.choices is None:
        trials = [each for each in trials if is_number(each.parameters[path])]
    values = [trial.parameters[path] for trial in trials]
    axis = axis_of(values, space)
    positions = {name: index for index, name in enumerate(axis.categories)}
    x = [positions[text(value)] for value in values] if positions else values
    y = [math.nan if trial.value is None else trial.value for trial in trials]
    metric = metric_title(sweep)
    marked = next((index for index, trial in enumerate(trials) if trial is sweep.best), None)
    if marked is not None or sweep.best is None:
        summary = described(sweep.best, path)
    else:
        summary = f"The best trial, {sweep.best.folder}, has no value in this chart."
    return points(
        f"sweep-{number}-{re.sub(r'[^A-Za-z0-9]+', '-', path)}",
        f"{metric} by {path}",
        x,
        y,
        labels=(path, metric),
        axis=axis,
        marked=marked,
        hollow=[trial.state != COMPLETE for trial in trials],
        columns=("trial", path, metric, "state"),
        rows=[
            (trial.folder, text(trial.parameters[path]), trial.value, state_text(trial))
            for trial in trials
        ],
        description=f"{metric} of {len(trials)} trials by {path}. {summary}",
        note=f"{summary} {HOLLOW}",
    )


def described(best: Trial | None, path: str | None = None) -> str:
    if best is None:
        return "No trial is complete."
    value = "" if path is None else f", with {path} = {text(best.parameters[path])}"
    return f"The ring marks the best trial, {best.folder}{value}."


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
