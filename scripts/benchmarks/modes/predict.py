"""How long predictions take: one sample, and ten thousand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.catalogue import COMPETITORS
from benchmarks.figures import figure
from benchmarks.modes.listing import listing, marked, plain
from benchmarks.plan import Plan, Report
from benchmarks.session import Session
from benchmarks.work import Task


def run(session: Session, names: Sequence[str], plan: Plan) -> Report:
    """Time predictions of class numbers, from NumPy arrays to NumPy arrays."""

    def question(task: Task, number: int) -> dict[str, Any]:
        return {"job": "predict", "task": asdict(task), "folder": str(plan.folder)}

    trainers = [name for name in names if name in COMPETITORS]
    measured = session.measure(plan.tasks, trainers, question)
    rows = []
    for (task, name), turns in measured.items():
        single = figure(turns, session.watch.quiet, lambda answer: [answer["single"]])
        whole = figure(turns, session.watch.quiet, lambda answer: [answer["all"]])
        if single is not None and whole is not None:
            rows.append(
                {
                    "cell": str(task),
                    "competitor": name,
                    "quiet": single.quiet,
                    "single": getattr(single, plan.statistic),
                    "single_spread": single.spread,
                    "all": getattr(whole, plan.statistic),
                    "all_spread": whole.spread,
                    "rows_per_second": turns[0].answer["rows"] / getattr(whole, plan.statistic),
                }
            )
    columns = [
        ("one sample, us", marked("single", 1e6)),
        ("spread", lambda row: f"+{row['single_spread']:.0%}"),
        ("10,000 rows, ms", marked("all", 1e3)),
        ("spread", lambda row: f"+{row['all_spread']:.0%}"),
        ("1000 rows/s", plain("rows_per_second", 1e-3)),
    ]
    head = f"Predicted classes of MNIST's test rows; {plan.statistics} of quiet turns."
    compared = [("one", "single"), ("10,000", "all")]
    return Report(rows, f"{head}\n\n{listing(rows, columns, compared)}")
