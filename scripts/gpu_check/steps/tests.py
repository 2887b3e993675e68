"""The tests that run on a CUDA device, by pytest."""

from __future__ import annotations

import faulthandler
import math
import os
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import device
import report
import rows
from outcome import FAILED, PASSED, STOPPED, Outcome
from steps import operations

LAST = 3.0
"""Seconds before the end of the step's time at which a test that still runs is taken to hang."""

NO_TESTS = 5
"""Exit status of pytest, as where all had passed before."""

LEAST_PYTEST = (8, 3)
"""As in pyproject.toml."""

REHEARSED = ("-k", "initial_weights or masks or batches_are")
"""Which tests a rehearsal runs: few, for all of them run on the emulated device in ci/test.sh."""


def run(which: str = "all") -> Outcome:
    """Run the tests with the mark `device`; "quick" leaves out those with the mark `full`."""
    reason = obstacle()
    if reason:
        return outcome_of(f"{reason}; cases of operations against NumPy", *operations.run())
    import pytest
    from pytest_rows import Rows

    os.chdir(device.REPOSITORY)
    if math.isfinite(rows.seconds_left()):
        # To a copy of what is printed to, for pytest takes that away from under it.
        where = os.fdopen(os.dup(2), "w")
        faulthandler.dump_traceback_later(rows.seconds_left() - LAST, exit=True, file=where)
    plugin = Rows()
    selected = "device and not full" if which == "quick" else "device"
    options = ["-q", "-p", "no:cacheprovider", "-m", selected, "tests"]
    status = pytest.main([*options, *(REHEARSED if device.REHEARSAL else ())], [plugin])
    faulthandler.cancel_dump_traceback_later()
    return outcome_of("pytest", [*rows.done(), *plugin.rows], plugin.left, int(status))


def obstacle() -> str:
    """Return why pytest can't run the tests, or ""."""
    try:
        found = version("pytest")
    except PackageNotFoundError:
        return "pytest is not installed"
    new_enough = tuple(map(int, found.split(".")[:2])) >= LEAST_PYTEST
    return "" if new_enough else f"pytest {found} is too old"


def outcome_of(
    what: str, found: list[dict[str, Any]], left: int = 0, status: int = NO_TESTS
) -> Outcome:
    """Return the outcome for the tests' rows; no tests at all are a failure."""
    counts = Counter(row["outcome"] for row in found)
    kinds = [f"{counts[kind]} {kind}" for kind in ("passed", "failed", "skipped") if counts[kind]]
    said = f"{what}: {', '.join(kinds)}"
    wrong = [row["test"] for row in found if row["outcome"] == "failed"]
    why = Counter(row["detail"] for row in found if row["outcome"] == "skipped")
    figures = {"tests": dict(counts), "failures": wrong, "left": left, "skipped": dict(why)}
    text = report.table(("skipped", "why"), [(n, reason) for reason, n in why.most_common()])
    verdict = PASSED
    if wrong or not counts["passed"]:
        verdict, said = FAILED, f"{said}; {', '.join(wrong[:3]) or f'none passed ({status=})'}"
    elif left:
        verdict, said = STOPPED, f"{said}; no time for {left} more"
    elif status not in (0, NO_TESTS):
        verdict, said = FAILED, f"{said}; pytest ended with exit status {status}"
    return Outcome(verdict, said, figures, text if why else "")
