"""Every operation of the CuPy backend against the plain definitions in float64 (rung 4's cases)."""

from __future__ import annotations

import device
from outcome import FAILED, PASSED, Outcome
from parity.operations import CASES, check

from gpunn.backends import get_backend

REHEARSED = 40
"""Every so many cases are run in a rehearsal."""


def run() -> Outcome:
    """Run every case in both types and all memory layouts, with the tests' tolerances."""
    backend = get_backend("cupy")
    cases = CASES[::REHEARSED] if device.REHEARSAL else CASES
    wrong: dict[str, str] = {}
    for case in cases:
        for dtype in ("float32", "float64"):
            try:
                check(backend, dtype, case)
            except Exception as error:
                wrong[f"{case.name}, {dtype}"] = str(error).strip()
    done = 2 * len(cases)
    figures = {"cases": done, "failures": wrong}
    if wrong:
        return Outcome(
            FAILED, f"{len(wrong)} of {done} cases fail: {', '.join(list(wrong)[:3])}", figures
        )
    return Outcome(PASSED, f"{done} cases within the tests' tolerances, in three layouts", figures)
