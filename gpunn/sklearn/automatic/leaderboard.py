"""The leaderboard: a row for the ensemble, and for each candidate, baseline and library."""

import importlib
import importlib.util
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpunn.forks import IMPORTING
from gpunn.network import Sequential
from gpunn.sklearn.automatic.candidates import Candidate
from gpunn.sklearn.scoring import Scoring
from gpunn.tables import Table

MEASURED = 1000


def row_of(
    kind: str,
    name: str,
    scoring: Scoring,
    predictions: np.ndarray | None,
    seconds: float,
    networks: Sequence[Sequential] = (),
    *,
    weight: float = 0.0,
    prediction_ms: float = math.nan,
    settings: Mapping[str, Any] | None = None,
    note: str = "",
) -> dict[str, Any]:
    # Unknown numbers become None, so the row can be stored as JSON.
    score = error = math.nan
    if predictions is not None:
        score = float(scoring.scores(predictions).mean())
        error = scoring.standard_error(predictions)
    numbers = {
        "score": score,
        "standard_error": error,
        "weight": weight,
        "seconds": round(seconds, 3),
        "prediction_ms": round(prediction_ms, 3),
    }
    return {
        "name": name,
        "kind": kind,
        **{key: value if math.isfinite(value) else None for key, value in numbers.items()},
        "size": sum(network.parameters.count for network in networks) or None,
        "settings": dict(settings or {}),
        "note": note,
    }


def row_of_candidate(candidate: Candidate, scoring: Scoring, weight: float = 0.0) -> dict[str, Any]:
    outcome = candidate.outcome
    return row_of(
        "candidate",
        outcome.name,
        scoring,
        None if outcome.error else candidate.predictions,
        outcome.seconds,
        candidate.networks,
        weight=weight,
        prediction_ms=math.nan if outcome.error else outcome.prediction_ms,
        settings=outcome.parameters,
        note=outcome.error or outcome.stopped,
    )


def line_of(row: Mapping[str, Any], metric: str) -> str:
    if row["score"] is None:
        return f"{row['name']}: {row['note']}"
    error = "" if row["standard_error"] is None else f" ± {row['standard_error']:.2g}"
    note = f" ({row['note']})" if row["note"] else ""
    return f"{row['name']}: {metric} {row['score']:.5g}{error}, {row['seconds']:.3g} s{note}"


def milliseconds(network: Sequential, table: Table) -> float:
    """Return the CPU time of a prediction from raw rows, in milliseconds per 1,000 rows."""
    some = table.take(np.arange(min(table.rows, MEASURED)))
    seconds = 0.0
    for _ in range(2):  # the first time includes preparations
        began = time.process_time()
        outputs_of(network, some)
        seconds = time.process_time() - began
    return seconds * 1e6 / some.rows


def outputs_of(network: Sequential, table: Table) -> np.ndarray:
    assert network.schema is not None
    X, _ = network.schema.encode_with_unseen(table, network.dtype)
    return network.predict_encoded(X)


def as_frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    if importlib.util.find_spec("pandas") is None:
        return rows
    with IMPORTING:
        return importlib.import_module("pandas").DataFrame(rows)
