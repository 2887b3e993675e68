"""Rows that a step measures, each kept as soon as it is there.

The runner names two files to a step's process. Rows are appended to the first, a line of JSON each,
and are in the report from then on, even if the step or the whole check is stopped. The second has
the rows that an earlier, interrupted check kept of this step, so that `--resume` does not measure
them again.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

ADDED, DONE = "GPUNN_CHECK_ROWS", "GPUNN_CHECK_DONE"
"""Variables with the names of the two files; unset where a step runs without the runner."""

DEADLINE = "GPUNN_CHECK_DEADLINE"
"""Variable with the reading of `time.monotonic` at which the step is stopped."""


def add(row: dict[str, Any]) -> None:
    """Keep a row, of JSON's types."""
    path = os.environ.get(ADDED)
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def done() -> list[dict[str, Any]]:
    """Return the rows that an earlier check kept of this step.

    Those with an "outcome" other than "passed", or with an "error", are not among them.
    """
    path = os.environ.get(DONE)
    return read(Path(path)) if path else []


def seconds_left() -> float:
    """Return the seconds after which this step is stopped; infinity if nobody will."""
    return float(os.environ.get(DEADLINE, math.inf)) - time.monotonic()


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows in a file; a last line that is being written is left out."""
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows to a file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
