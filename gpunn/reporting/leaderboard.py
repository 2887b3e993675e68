"""The leaderboard of a run of the model "auto", as a table of text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpunn.display import title_of
from gpunn.errors import ArgumentError, ModelFileError
from gpunn.monitor import VALIDATION
from gpunn.network import Sequential
from gpunn.reporting.records import Record
from gpunn.reporting.results import Table
from gpunn.reporting.text import duration, number_text
from gpunn.schema import typed

NOTE = (
    "Scores are for held-out rows; ± precedes their standard errors. These scores selected the "
    "ensemble, so the ensemble's score is slightly optimistic."
)


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    score: float | None
    standard_error: float | None
    weight: float | None
    seconds: float | None
    prediction_ms: float | None
    size: int | None
    note: str

    @property
    def cells(self) -> list[str]:
        error = "" if self.standard_error is None else f" ± {round(self.standard_error, 12):.2g}"
        return [
            self.name,
            "" if self.score is None else f"{self.score:.4g}{error}",
            f"{self.weight:.0%}" if self.weight else "",
            duration(self.seconds) if self.seconds else "",
            f"{self.prediction_ms:.3g}" if self.prediction_ms else "",
            number_text(self.size) if self.size else "",
            self.note,
        ]


def leaderboard_text(rows: Sequence[Mapping[str, Any]], metric: str) -> list[list[str]]:
    header = ["model", title_of(metric), "weight", "time", "ms per 1,000 rows", "parameters", ""]
    known: list[Row] = typed(list[Row], list(rows), "leaderboard", ignore_unknown=True)
    return [header, *(row.cells for row in known)]


def leaderboard_of(model: Sequential, record: Record) -> Table | None:
    described = model.metadata.get("estimator")
    rows = described.get("leaderboard") if isinstance(described, dict) else None
    if not rows:
        return None
    metric = (record.config.training.monitor or "").removeprefix(VALIDATION)
    try:
        header, *cells = leaderboard_text(rows, metric)
    except (ArgumentError, TypeError) as error:
        raise ModelFileError(f"{record.model_file}: the metadata is damaged: {error}") from None
    return Table("Leaderboard", header, cells, NOTE)
