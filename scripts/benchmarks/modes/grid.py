"""Microseconds a training step, over networks, batch sizes and optimizers."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks import verdict
from benchmarks.catalogue import COMPETITORS, FLOOR, SUBJECTS
from benchmarks.figures import Figure, figure
from benchmarks.plan import PLURAL, Plan, Report
from benchmarks.session import Session
from benchmarks.table import number, shown, table, times
from benchmarks.work import SMALL_NETS, Task, grid_task

Figures = dict[Task, dict[str, Figure]]


def run(session: Session, names: Sequence[str], plan: Plan) -> Report:
    """Time the steps of every cell."""
    tasks = [grid_task(*c) for c in itertools.product(plan.sizes, plan.batches, plan.optimizers)]
    everybody = [*(name for name in names if name in COMPETITORS), FLOOR]

    def question(task: Task, number: int) -> dict[str, Any]:
        return {"job": "grid", "task": asdict(task), "seconds": plan.seconds}

    measured = session.measure(tasks, everybody, question)
    figures: Figures = {task: {} for task in tasks}
    warm_ups: dict[str, list[float]] = {}
    rows = []
    for (task, name), turns in measured.items():
        found = figure(turns, session.watch.quiet, step_microseconds)
        if found is not None:
            figures[task][name] = found
            warm_up = warm_up_seconds(turns[0].answer)
            warm_ups.setdefault(name, []).append(warm_up)
            rows.append(
                {"cell": str(task), "competitor": name, "warm_up_s": warm_up, **asdict(found)}
            )
    texts = [
        f"Microseconds a step: {plan.statistics} of quiet turns. A ratio is the other's time over "
        "gpunn's: above 1, gpunn is faster.",
        steps_table(figures, everybody, plan.statistic),
        f"Geometric means of the ratios, and the worst cell.{caution(figures)}",
        means_table(figures, everybody, tuple(PLURAL)),
        "Minima, and how far the turns' medians spread above the least of them.",
        spread_table(figures, everybody),
        "Warm-up: what the first epoch in a process took more than a later one, in seconds.",
        warm_up_table(warm_ups),
    ]
    return Report(rows, "\n\n".join(texts))


def step_microseconds(answer: Mapping[str, Any]) -> list[float]:
    """Return each epoch's microseconds a step, without the first epoch."""
    return [1e6 * seconds / answer["steps"] for seconds in answer["seconds"][1:]]


def warm_up_seconds(answer: Mapping[str, Any]) -> float:
    """Return what the first epoch took more than the later ones."""
    first, *later = answer["seconds"]
    return max(0.0, first - statistics.median(later))


def present(names: Sequence[str]) -> list[str]:
    """Return gpunn's own competitors among the names."""
    return [name for name in SUBJECTS if name in names]


def values(figures: Mapping[str, Figure], statistic: str) -> dict[str, float]:
    """Return the figures as numbers."""
    return {name: getattr(found, statistic) for name, found in figures.items()}


def steps_table(figures: Figures, names: Sequence[str], statistic: str) -> str:
    """Return everybody's times, the fastest peer, and its and the floor's ratios to gpunn."""
    subjects = present(names)
    head = ["net, batch", *names, "best peer"]
    for subject in subjects:
        head += [f"best / {subject}", f"{FLOOR} / {subject}"]
    rows = []
    for task, cell in figures.items():
        numbers = values(cell, statistic)
        best = verdict.best_peer(numbers)
        row = [str(task), *(shown(cell.get(name), statistic) for name in names), best or "-"]
        for subject in subjects:
            row += [compared(cell, other, subject, statistic) for other in (best, FLOOR)]
        rows.append(row)
    return table(head, rows)


def compared(cell: Mapping[str, Figure], other: str | None, subject: str, statistic: str) -> str:
    """Return the ratio of the other's time to the subject's, marked if one of them is."""
    pair = [cell.get(other or ""), cell.get(subject)]
    found = verdict.ratio(*(each and getattr(each, statistic) for each in pair))
    mark = "~" if found is not None and any(each and each.mark for each in pair) else ""
    return mark + times(found)


def caution(figures: Figures) -> str:
    """Return what to think of means over figures that no quiet turn stands behind; "" if none."""
    marked = sum(any(found.mark for found in cell.values()) for cell in figures.values())
    if not marked:
        return ""
    return (
        f" In {marked} of {len(figures)} cells somebody had no quiet turn (~), so they prove "
        "nothing yet."
    )


def means_table(figures: Figures, names: Sequence[str], statistics_: Sequence[str]) -> str:
    """Return geometric means over the small networks and over all, against each rival.

    The worst cell is that of the first statistic.
    """
    chosen = {
        "small nets": [str(task) for task in figures if task.sizes in SMALL_NETS],
        "all": [str(task) for task in figures],
    }
    head = ["", "against"]
    head += [f"{group}, {PLURAL[statistic]}" for group in chosen for statistic in statistics_]
    head += ["worst", "where"]
    rows = []
    for subject in present(names):
        found = {
            (group, statistic): verdict.means(
                {str(task): values(cell, statistic) for task, cell in figures.items()},
                subject,
                cells,
            )
            for group, cells in chosen.items()
            for statistic in statistics_
        }
        everywhere = found["all", statistics_[0]]
        for rival, worst in everywhere.items():
            means = [columns.get(rival) for columns in found.values()]
            rows.append(
                [
                    *(subject, rival),
                    *(times(mean and mean.mean) for mean in means),
                    *(times(worst.least), worst.where),
                ]
            )
    return table(head, rows)


def spread_table(figures: Figures, names: Sequence[str]) -> str:
    """Return minima and spreads."""
    rows = []
    for task, cell in figures.items():
        row = [str(task)]
        for name in names:
            found = cell.get(name)
            spread = "" if found is None else f" +{found.spread:.0%}"
            row.append(shown(found, "minimum") + spread)
        rows.append(row)
    return table(["net, batch", *names], rows)


def warm_up_table(warm_ups: Mapping[str, Sequence[float]]) -> str:
    """Return the median and the longest warm-up over the cells."""
    rows = [
        [name, number(statistics.median(found)), number(max(found))]
        for name, found in warm_ups.items()
    ]
    return table(["", "median of the cells", "longest"], rows)
