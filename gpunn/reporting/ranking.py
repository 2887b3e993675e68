"""Which of several runs is the best by validation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gpunn.differences import varying
from gpunn.monitor import VALIDATION
from gpunn.reporting.records import Record

__all__ = ["Ranking", "rank"]


@dataclass(frozen=True)
class Ranking:
    """Runs in the order of a metric of validation rows, each at its own best epoch.

    The test part has no say in it. The metric is the one by which most of the runs tell their best
    epoch, such as "val_accuracy". `order` has the runs' places, the best first, and last those
    without a finite value. The runs differ in the `unlike` settings of `[data]`, so that the
    validation rows may be others.
    """

    metric: str
    direction: str
    order: list[int]
    best: int
    unlike: list[str]

    def value(self, record: Record) -> float | None:
        """Return the metric at a run's best epoch; None if it has none that is finite."""
        return (record.best or {}).get(self.metric)


def rank(records: Sequence[Record]) -> Ranking | None:
    """Rank runs; None if none has a metric of validation rows that tells its best epoch."""
    rules = [
        record.rule
        for record in records
        if record.rule is not None
        and record.rule.monitor.startswith(VALIDATION)
        and record.best is not None
    ]
    if not rules:
        return None
    ((metric, direction), _), *_ = Counter((r.monitor, r.direction) for r in rules).most_common()
    sign, worths = (1 if direction == "min" else -1), []
    for record in records:
        value = (record.best or {}).get(metric)
        worths.append(math.inf if value is None else sign * value)
    order = sorted(range(len(records)), key=worths.__getitem__)
    unlike = [path for path, _ in varying([record.description["data"] for record in records])]
    return Ranking(metric, direction, order, order[0], [f"data.{path}" for path in unlike])
