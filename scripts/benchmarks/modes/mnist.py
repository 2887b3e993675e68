"""Seconds of a whole epoch of MNIST: shuffle, gather, steps, statistics."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.catalogue import COMPETITORS
from benchmarks.figures import figure
from benchmarks.modes.listing import listing, marked, plain
from benchmarks.plan import Plan, Report
from benchmarks.session import Session
from benchmarks.work import Task


def run(session: Session, names: Sequence[str], plan: Plan) -> Report:
    """Time epochs, and take the accuracy after the last of them."""
    trainers = [name for name in names if name in COMPETITORS]
    measured = session.measure(plan.tasks, trainers, training(plan, plan.epochs), fresh=True)
    rows = []
    for (task, name), turns in measured.items():
        found = figure(turns, session.watch.quiet, later_epochs)
        if found is not None:
            accuracies = [turn.answer["accuracies"][-1] for turn in turns]
            rows.append(
                {
                    "cell": str(task),
                    "competitor": name,
                    **asdict(found),
                    "first_epoch": statistics.median(t.answer["seconds"][0] for t in turns),
                    "accuracy": statistics.mean(accuracies),
                    "accuracies": accuracies,
                    "compared": getattr(found, plan.statistic),
                }
            )
    columns = [
        ("s an epoch", marked("median")),
        ("least", marked("minimum")),
        ("spread", lambda row: f"+{row['spread']:.0%}"),
        ("first epoch", plain("first_epoch")),
        (f"accuracy after {plan.epochs}", lambda row: f"{row['accuracy']:.2%}"),
    ]
    head = (
        "Seconds of an epoch of MNIST after the first one in a process; the first one, with "
        f"compilation, apart. Ratios of the {plan.statistics}."
    )
    return Report(rows, f"{head}\n\n{listing(rows, columns, [('time', 'compared')])}")


def training(
    plan: Plan, epochs: int, target: float | None = None
) -> Callable[[Task, int], dict[str, Any]]:
    """Return the question for a training, from another seed in each round; see `Jobs.mnist`."""

    def question(task: Task, number: int) -> dict[str, Any]:
        return {
            "job": "mnist",
            "task": asdict(task),
            "folder": str(plan.folder),
            "seed": number,
            "epochs": epochs,
            "target": target,
        }

    return question


def later_epochs(answer: Mapping[str, Any]) -> list[float]:
    """Return the epochs' seconds without the first, unless it is the only one."""
    seconds: list[float] = answer["seconds"]
    return seconds[1:] or seconds
