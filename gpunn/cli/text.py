"""Text for the terminal: metrics, tables, and escaped output."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from gpunn.monitor import NOT_METRICS
from gpunn.terminal import escaped

if TYPE_CHECKING:
    from gpunn.experiment.evaluation import Evaluation

INTERRUPTED = 130


def metrics_text(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def evaluation_text(result: Evaluation) -> str:
    lines = [f"{metrics_text(result)} ({result.rows:,} row{'s' * (result.rows != 1)})"]
    if result.rates is not None:
        present = [float(rate) for rate in result.rates if rate > 0]
        entropy = -sum(rate * math.log(rate) for rate in present)
        shown = result.shown
        lines.append(
            f"base rate: {100 * result.rates[shown]:.3g} % are {result.classes[shown]!r}; the best "
            f"constant prediction has accuracy {max(present):.4g}, log_loss {abs(entropy):.4g}"
        )
    if result.decisions is not None:
        metrics = dict(result.decisions)
        threshold = f"threshold {metrics.pop('threshold'):.4g} for {result.classes[1]!r}"
        lines.append(f"{threshold}: {metrics_text(metrics)}")
    return "\n".join(lines)


def epoch_text(logs: Mapping[str, float], epochs: int) -> str:
    metrics = {name: value for name, value in logs.items() if name not in NOT_METRICS}
    return (
        f"epoch {logs['epoch']:.0f}/{epochs}: {metrics_text(metrics)}, "
        f"learning rate {logs['learning_rate']:.3g}, {logs['seconds']:.2f} s"
    )


def summary_table(
    rows: Sequence[Mapping[str, float]], best_epoch: int | None, test: Mapping[str, float] | None
) -> str:
    if not rows:
        return ""
    last = rows[-1]
    validation = [name for name in last if name.startswith("val_")]
    metrics = [name for name in last if name not in NOT_METRICS and name not in validation]
    evaluated = [name.removeprefix("val_") for name in validation] + list(test or ())
    metrics = list(dict.fromkeys([*metrics, *evaluated]))
    lines = [["", *metrics]]

    def add(title: str, values: Mapping[str, float], prefix: str = "") -> None:
        cells = (values.get(prefix + name) for name in metrics)
        lines.append([title, *("" if cell is None else f"{cell:.4g}" for cell in cells)])

    shown = {int(last["epoch"]): last}
    if best_epoch is not None:
        shown[best_epoch] = next((row for row in rows if row["epoch"] == best_epoch), last)
    for epoch in sorted(shown):
        title = f"epoch {epoch}" + (" (best)" if epoch == best_epoch else "")
        add(f"training, {title}", shown[epoch])
        if validation:
            add(f"validation, {title}", shown[epoch], "val_")
    if test is not None:
        add("test", test)
    # A resumed history can lack these keys: another program may have written the checkpoint.
    speeds = [(row.get("seconds", 0.0), row.get("samples_per_second", 0.0)) for row in rows]
    seconds = sum(duration for duration, _ in speeds)
    samples = sum(duration * speed for duration, speed in speeds)
    speed = f", {samples / seconds:,.0f} samples/s" if seconds else ""
    epochs = "1 epoch" if len(rows) == 1 else f"{len(rows)} epochs"
    return "\n".join([*aligned(lines, {0}), f"{epochs} in {seconds:.1f} s{speed}"])


def aligned(rows: Sequence[Sequence[str]], left: Collection[int]) -> list[str]:
    """Return the lines of a table; columns in `left` are left-aligned, others right-aligned.

    >>> aligned([["run", "loss"], ["a", "0.25"], ["bcde", "2"]], {0})
    ['run   loss', 'a     0.25', 'bcde     2']
    """
    rows = [[escaped(cell) for cell in row] for row in rows]
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]

    def padded(column: int, cell: str) -> str:
        blanks = " " * (widths[column] - width_of(cell))
        return cell + blanks if column in left else blanks + cell

    return ["  ".join(map(padded, range(len(row)), row)).rstrip() for row in rows]


def width_of(text: str) -> int:
    """Return the width of a text on a terminal: Chinese characters are two columns wide.

    >>> width_of("run"), width_of("运行")
    (3, 4)
    """
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "FW")
        for letter in text
    )


def shortened(text: str, maximum: int, keep_end: bool = False) -> str:
    """Return the text, cut to at most `maximum` columns of a terminal.

    >>> shortened("learning_rate", 8), shortened("sweep/trial-0003", 8, keep_end=True)
    ('learnin…', '…al-0003')
    """
    if width_of(text) <= maximum:
        return text
    kept = text[-maximum:] if keep_end else text[:maximum]
    while width_of(kept) >= maximum:
        kept = kept[1:] if keep_end else kept[:-1]
    return f"…{kept}" if keep_end else f"{kept}…"


def lines_escaped(text: str) -> str:
    return "\n".join(map(escaped, text.split("\n")))


def say(text: str = "", *, err: bool = False) -> None:
    click.echo(lines_escaped(text), err=err)


def short_names(paths: Sequence[str]) -> list[str]:
    """Return the shortest unique suffix of each path.

    A suffix consists of the last parts of a path, and does not begin with a list index.

    >>> short_names(["training.optimizer.learning_rate", "model.layers.1.units"])
    ['learning_rate', 'units']
    >>> short_names(["model.layers.1.units", "model.layers.2.units"])
    ['layers.1.units', 'layers.2.units']
    """
    parts = [path.split(".") for path in paths]
    return [".".join(_shortest(path, parts)) for path in parts]


def _shortest(path: list[str], all_paths: Sequence[list[str]]) -> list[str]:
    for length in range(1, len(path)):
        end = path[-length:]
        equal = sum(other[-length:] == end for other in all_paths)
        if equal == 1 and not end[0].isdecimal():
            return end
    return path
