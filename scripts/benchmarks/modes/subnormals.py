"""What numbers of too few digits cost: the way back through a layer whose derivatives are tiny."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.catalogue import EVERYBODY
from benchmarks.figures import figure
from benchmarks.plan import Plan, Report
from benchmarks.session import Session
from benchmarks.table import number, table

MEANS = {"near 0": 0.0, "very negative": -95.0}
"""Pre-activations: with the second, most of Mish's derivatives are below 1.2e-38."""


def run(session: Session, names: Sequence[str], plan: Plan) -> Report:
    """Time the backward pass of Dense(256, "mish") on 256 rows of 256 inputs."""
    chosen = [name for name in names if EVERYBODY[name].library == "gpunn"]

    def question(kind: str, number: int) -> dict[str, Any]:
        return {"job": "mish_backward", "mean": MEANS[kind], "seconds": plan.seconds / 2}

    measured = session.measure(list(MEANS), chosen, question)
    rows, body = [], []
    for kind in MEANS:
        line = [kind]
        for name in chosen:
            found = figure(
                measured[kind, name], session.watch.quiet, lambda answer: answer["seconds"]
            )
            if found is None:
                line.append("-")
                continue
            rows.append({"pre_activations": kind, "competitor": name, **asdict(found)})
            line.append(found.mark + number(1e6 * getattr(found, plan.statistic)))
        body.append(line)
    head = f"Microseconds of a backward pass through Mish, 256x256x256; {plan.statistics}."
    return Report(rows, f"{head}\n\n{table(['pre-activations', *chosen], body)}")
