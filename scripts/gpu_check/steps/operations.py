"""Every operation against the plain definitions in float64, for a machine without pytest."""

from __future__ import annotations

from typing import Any

import device
import rows
from parity.operations import CASES, check
from pytest_rows import ENOUGH

from gpunn.backends import get_backend

EVERY = 200
"""Every so many cases are run in a rehearsal."""


def run() -> tuple[list[dict[str, Any]], int]:
    """Run the cases of tests/parity/operations.py in both types.

    Returns
    -------
    rows : list of dict
    left : int
        How many were not begun.
    """
    backend = get_backend("cupy")
    found = rows.done()
    passed = {row["test"] for row in found}
    cases = {
        f"{case.name}, {dtype}": (dtype, case)
        for case in CASES[:: EVERY if device.REHEARSAL else 1]
        for dtype in ("float32", "float64")
    }
    left = [name for name in cases if name not in passed]
    while left and rows.seconds_left() > ENOUGH:
        name = left.pop(0)
        row = {"test": name, "outcome": "passed", "detail": ""}
        try:
            check(backend, *cases[name])
        except Exception as error:
            row |= {"outcome": "failed", "detail": str(error).strip()[-500:]}
        found.append(row)
        rows.add(row)
    return found, len(left)
