"""Seconds of training until the test accuracy first reaches 98 %."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.catalogue import COMPETITORS
from benchmarks.figures import figure
from benchmarks.modes.listing import listing, marked, plain
from benchmarks.modes.mnist import later_epochs, training
from benchmarks.plan import Plan, Report
from benchmarks.quietness import Turn
from benchmarks.session import Session


def run(session: Session, names: Sequence[str], plan: Plan) -> Report:
    """Train from another seed in each round, each time in a new process."""
    trainers = [name for name in names if name in COMPETITORS]
    question = training(plan, plan.most_epochs, plan.target)
    measured = session.measure(plan.tasks, trainers, question, fresh=True)
    rows = []
    for (task, name), turns in measured.items():
        epoch = figure(turns, session.watch.quiet, later_epochs)
        if epoch is not None:
            row = {"cell": str(task), "competitor": name, "epoch": asdict(epoch)}
            row |= {"quiet": epoch.quiet, **reached(turns, plan.target)}
            if row["epochs"] is not None:
                row["warm"] = row["epochs"] * getattr(epoch, plan.statistic)
            rows.append(row)
    columns = [
        ("warm, s", marked("warm")),
        ("epochs", plain("epochs")),
        ("as run, s", plain("as_run")),
        ("cold, s", plain("cold")),
        ("reached", lambda row: f"{row['reached']}/{row['runs']}"),
        ("best accuracy", lambda row: f"{row['best']:.2%}"),
    ]
    head = (
        f"Training to a test accuracy of {plan.target:.1%}. Warm: the median number of epochs "
        f"times the {plan.statistic} of an epoch after the first, in quiet turns. As run: all "
        "epochs, the first one's compilation included. Cold: importing the library and building "
        "the network as well. Medians of the runs that got there."
    )
    return Report(rows, f"{head}\n\n{listing(rows, columns, [('warm', 'warm'), ('cold', 'cold')])}")


def reached(turns: Sequence[Turn], target: float) -> dict[str, Any]:
    """Return how many runs got there and what that took, None if none did."""
    answers = [turn.answer for turn in turns]
    there = [answer for answer in answers if answer["accuracies"][-1] >= target]

    def median(of: Sequence[float]) -> float | None:
        return statistics.median(of) if of else None

    return {
        "runs": len(answers),
        "reached": len(there),
        "best": max(max(answer["accuracies"]) for answer in answers),
        "epochs": median([len(answer["seconds"]) for answer in there]),
        "as_run": median([sum(answer["seconds"]) for answer in there]),
        "cold": median([answer["cold"] for answer in there]),
    }
