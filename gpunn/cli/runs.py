"""`gpunn runs`."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpunn.cli.text import aligned, say, short_names, shortened, width_of
from gpunn.terminal import is_terminal

if TYPE_CHECKING:
    from gpunn.reporting.ranking import Ranking
    from gpunn.reporting.runs import Run

WIDEST = 32

PROBLEMS = 10


@click.command(short_help="List the runs in a folder; the best validation score is first.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs"))
@click.option(
    "--where",
    metavar="CONDITION",
    multiple=True,
    help="List only runs that meet a condition, such as optimizer.name=adam, state=finished or "
    "'val_accuracy>=0.9'. Can be repeated.",
)
@click.option(
    "--sort",
    metavar="KEY",
    help="Sort by a column, a metric or a setting, such as started, val_loss or batch_size.  "
    "[default: best first]",
)
@click.option("--reverse", is_flag=True, help="Reverse the order.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, with unrounded numbers and full paths."
)
def runs(
    folder: Path, where: tuple[str, ...], sort: str | None, reverse: bool, as_json: bool
) -> None:
    """List the runs in FOLDER and its subfolders; the best validation score is first.

    FOLDER is by default "runs". The table has each run's validation metrics at its best epoch, and
    the settings that differ between the runs. The test split does not affect the order.

    KEY is a column (run, state, epoch, epochs, seconds, started), a metric, or the end of a
    setting's path, such as batch_size or layers.1.units.
    """
    from gpunn.meaning import plural
    from gpunn.reporting.runs import Condition, find_runs, ordered, rank_runs
    from gpunn.storage.files import json_bytes

    conditions = [Condition(text) for text in where]
    matching, problems = find_runs(folder)
    for text in problems[:PROBLEMS]:
        say(f"Skipped: {text}", err=True)
    if len(problems) > PROBLEMS:
        more = plural(len(problems) - PROBLEMS, "more folder")
        say(f"Skipped: {more} that cannot be read", err=True)
    total = len(matching)
    for condition in conditions:
        matching = condition.chosen(matching)
    ranking = rank_runs(matching)
    best = None if ranking is None else matching[ranking.best]
    matching = ordered(matching, ranking, sort, reverse)
    if as_json:
        content = description(folder, matching, ranking, best, problems)
        click.echo(json_bytes(content), nl=False)
        return
    width = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
    shown = [
        *table_of_runs(matching, best, ranking, width),
        *conclusion(folder, matching, total, ranking, best),
    ]
    say("\n".join(shown))


def table_of_runs(
    runs: Sequence[Run], best: Run | None, ranking: Ranking | None, width: int | None
) -> list[str]:
    from gpunn.reporting.runs import settings_that_differ
    from gpunn.reporting.text import duration, setting_text

    if not runs:
        return []
    first = [] if ranking is None else [ranking.metric]
    metrics = list(dict.fromkeys([*first, *(name for run in runs for name in run.metrics)]))
    rows = [["run", "state", *metrics, "epoch", "time"]]
    for run in runs:
        columns = run.columns
        done, planned = columns["epochs"], run.record.config.training.epochs
        epochs = str(done) if done == planned else f"{done}/{planned}"
        if columns["epoch"] is not None:
            epochs = f"{columns['epoch']} of {epochs}"
        values = (run.metrics.get(name) for name in metrics)
        rows.append(
            [
                shortened(f"{run.name} *" if run is best else run.name, WIDEST, keep_end=True),
                run.record.state,
                *("" if value is None else f"{value:.4g}" for value in values),
                epochs,
                duration(run.record.seconds),
            ]
        )
    differing = [pair for pair in settings_that_differ(runs) if pair[0] != "training.epochs"]
    used = sum(max(map(width_of, column)) + 2 for column in zip(*rows, strict=True))
    hidden = []
    names = short_names([path.removesuffix(".name") for path, _ in differing])
    for (path, settings), name in zip(differing, names, strict=True):
        # Round the numbers that a sweep chose.
        texts = [setting_text(value, "{:.6g}".format) for value in settings]
        cells = [name, *(shortened(text, WIDEST) for text in texts)]
        size = max(map(width_of, cells))
        if width is not None and used + size > width:
            hidden.append(path)
            continue
        used += size + 2
        for row, cell in zip(rows, cells, strict=True):
            row.append(cell)
    table = aligned(rows, {0, 1})
    if hidden:
        table.append(
            f"The terminal is too narrow for: {', '.join(hidden)}; widen it, or use --json"
        )
    return [*table, ""]


def conclusion(
    folder: Path, runs: Sequence[Run], total: int, ranking: Ranking | None, best: Run | None
) -> list[str]:
    if not total:
        return [f"{folder}: there are no runs in this folder; gpunn train adds one."]
    states = Counter(run.record.state for run in runs)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    chosen = f"{len(runs)} of {total}" if len(runs) < total else str(total)
    text = [f"{chosen} run{'s' if total > 1 else ''}{f' ({counts})' if counts else ''}."]
    if ranking is not None and best is not None:
        text.append(
            f"Best by validation (*): {best.record.path}, {ranking.metric} "
            f"{best.metrics[ranking.metric]:.6g} in epoch {best.columns['epoch']}."
        )
        text += ranking.warnings()
    return text


def description(
    folder: Path,
    runs: Sequence[Run],
    ranking: Ranking | None,
    best: Run | None,
    problems: Sequence[str],
) -> dict[str, Any]:
    from gpunn.differences import ABSENT
    from gpunn.reporting.runs import settings_that_differ

    settings: list[dict[str, Any]] = [{} for _ in runs]
    for path, values in settings_that_differ(runs):
        for setting, value in zip(settings, values, strict=True):
            if value is not ABSENT:
                setting[path] = value
    return {
        "folder": str(folder),
        "metric": None if ranking is None else ranking.metric,
        "direction": None if ranking is None else ranking.direction,
        "best": None if best is None else best.name,
        "runs": [
            {
                **run.columns,
                "path": str(run.record.path),
                "planned_epochs": run.record.config.training.epochs,
                "stopped": "" if run.record.ending is None else run.record.ending.stopped,
                "metrics": run.metrics,
                "settings": setting,
            }
            for run, setting in zip(runs, settings, strict=True)
        ],
        "left_out": list(problems),
    }
