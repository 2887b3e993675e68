"""From turns to figures, ratios and tables."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.competitors import EVERYBODY, FLOOR, PEERS, SUBJECTS
from benchmarks.session import Measured

Samples = Callable[[dict[str, Any]], Sequence[float]]


@dataclass(frozen=True)
class Figure:
    """Summary of a competitor's turns in a cell.

    Only undisturbed (`quiet`) turns count, unless there is none. `median` is the median of their
    medians, `minimum` their smallest sample, and `spread` how far the slowest turn's median is
    above the fastest one's, as a fraction. `samples` has the samples of each turn. If `compared`,
    less is better, and ratios are computed. `share` is the share of the processor's measured FMA
    peak that the median reaches.
    """

    cell: str
    competitor: str
    median: float
    minimum: float
    spread: float
    turns: int
    quiet: int
    samples: list[list[float]]
    compared: bool
    share: float | None = None


def figures(
    measured: Measured, samples: Samples, unit: str = "", *, compared: bool = True
) -> list[Figure]:
    results = []
    for (cell, name), turns in measured.items():
        if not turns:
            continue
        taken = [list(samples(turn.answer)) for turn in turns]
        quiet = [each for each, turn in zip(taken, turns, strict=True) if turn.quiet]
        chosen = quiet or taken
        medians = [statistics.median(each) for each in chosen]
        results.append(
            Figure(
                cell=f"{cell}: {unit}" if unit else str(cell),
                competitor=name,
                median=statistics.median(medians),
                minimum=min(map(min, chosen)),
                spread=max(medians) / min(medians) - 1,
                turns=len(taken),
                quiet=len(quiet),
                samples=taken,
                compared=compared,
            )
        )
    return results


def comparison(results: Sequence[Figure]) -> str:
    """Return a table: a row for each cell, a column for each competitor, then ratios.

    A ratio is the time of the best peer, or of the products alone, divided by gpunn's. Above 1,
    gpunn is faster. "~" marks results without an undisturbed turn.
    """
    names = [name for name in EVERYBODY if any(each.competitor == name for each in results)]
    pairs = [
        (rival, subject)
        for subject in SUBJECTS
        for rival in ("best peer", FLOOR)
        if any(rival in ratios(each, subject) for each in by_cell(results).values())
    ]
    rows = []
    for cell, present in by_cell(results).items():
        row = [cell, *(shown(present.get(name)) for name in names)]
        for rival, subject in pairs:
            quotient, mark = ratios(present, subject).get(rival, (None, ""))
            row.append("-" if quotient is None else f"{mark}{quotient:.2f}x")
        rows.append(row)
    return table(["", *names, *(f"{rival} / {subject}" for rival, subject in pairs)], rows)


def by_cell(results: Iterable[Figure]) -> dict[str, dict[str, Figure]]:
    cells: dict[str, dict[str, Figure]] = {}
    for each in results:
        cells.setdefault(each.cell, {})[each.competitor] = each
    return cells


def ratios(present: Mapping[str, Figure], subject: str) -> dict[str, tuple[float, str]]:
    """Return how many times as long others take in a cell, and "~" if one of the two was disturbed.

    The others are the best peer, the fastest competitor of each library, and the products alone.
    """
    own = present.get(subject)
    if own is None or not own.compared:
        return {}
    rivals: dict[str, Figure] = {name: present[name] for name in (FLOOR,) if name in present}
    for name in PEERS:
        if name in present:
            for rival in ("best peer", EVERYBODY[name].library):
                pair = rivals.get(rival, present[name]), present[name]
                rivals[rival] = min(pair, key=lambda each: each.median)
    return {
        rival: (each.median / own.median, "" if each.quiet and own.quiet else "~")
        for rival, each in rivals.items()
    }


def means(results: Sequence[Figure]) -> str:
    cells = by_cell(results)
    networks = dict.fromkeys(cell.partition(",")[0] for cell in cells if "," in cell)
    quotients: dict[tuple[str, str], dict[str, float]] = {}
    for cell, present in cells.items():
        for subject in SUBJECTS:
            for rival, (quotient, _) in ratios(present, subject).items():
                quotients.setdefault((subject, rival), {})[cell] = quotient
    rows = []
    for (subject, rival), of_cell in quotients.items():
        row = [f"{rival} / {subject}"]
        for network in ("", *networks):
            chosen = [each for cell, each in of_cell.items() if cell.startswith(network)]
            row.append(f"{statistics.geometric_mean(chosen):.2f}x" if chosen else "-")
        worst = min(of_cell, key=of_cell.__getitem__)
        rows.append([*row, f"{of_cell[worst]:.2f}x", worst])
    return table(["geometric means", "all", *networks, "least", "where"], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(head), *map(list, rows)]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(head))]
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(
        f"| {line[0].ljust(widths[0])} | "
        + " | ".join(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        + " |"
        for line in lines
    )


def number(value: float) -> str:
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{max(0, min(digits, 5))}f}"


def shown(figure: Figure | None) -> str:
    """Return a figure's median, marked if no turn was undisturbed, and its share of the peak."""
    if figure is None:
        return "-"
    share = "" if figure.share is None else f" ({100 * figure.share:.0f} %)"
    return ("" if figure.quiet else "~") + number(figure.median) + share
