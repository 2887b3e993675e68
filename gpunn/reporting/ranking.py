"""Ranks several runs by validation."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gpunn.differences import varying
from gpunn.monitor import VALIDATION
from gpunn.reporting.records import Record


@dataclass(frozen=True)
class Ranking:
    """Runs, ordered by a validation metric; `unlike` has `[data]` settings that vary by run."""

    metric: str
    direction: str
    order: list[int]
    best: int
    unlike: list[str]

    def value(self, record: Record) -> float | None:
        return (record.best or {}).get(self.metric)

    def warnings(self) -> list[str]:
        differ = f"The runs differ in {', '.join(self.unlike)}"
        return [f"{differ}, so they may have different validation rows."] if self.unlike else []


def rank(records: Sequence[Record]) -> Ranking | None:
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
    sign, costs = (1 if direction == "min" else -1), []
    for record in records:
        value = (record.best or {}).get(metric)
        costs.append(math.inf if value is None else sign * value)
    order = sorted(range(len(records)), key=costs.__getitem__)
    unlike = [path for path, _ in varying([record.description["data"] for record in records])]
    return Ranking(metric, direction, order, order[0], [f"data.{path}" for path in unlike])
