"""The tests that run on a CUDA device, by pytest."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib.util
import io
import os
from collections import Counter
from typing import Any

import device
from process import FAILED, PASSED, STOPPED, Outcome, Row, Step

ENOUGH = 20.0
"""Seconds before the end of the step's time at which no test is begun any more."""

LAST = 3.0
"""Seconds before the end of the step's time at which a test that still runs is taken to hang."""

NO_TESTS = 5
"""Exit status of pytest, as where all had passed before."""

SELECTED = ["tests"]
if device.REHEARSAL:  # few, for all of them run on the emulated device in ci/test.sh
    SELECTED = ["tests/test_workspace.py", "tests/test_optimizers.py", "tests/sklearn"]
    SELECTED += ["-k", "test_workspace"]
EVERY = 200 if device.REHEARSAL else 1
"""Every so many cases of operations are run where there is no pytest."""


def run(step: Step) -> Outcome:
    """Run the tests with the mark `device`; in a quick check not those with the mark `full`."""
    if importlib.util.find_spec("pytest") is None:
        found, left = compare_operations(step)
        return outcome_of("pytest is not installed; operations against NumPy", found, left)
    import pytest

    os.chdir(device.REPOSITORY)
    # To a copy of what is printed to, for pytest takes that away from under it.
    where = os.fdopen(os.dup(2), "w")
    faulthandler.dump_traceback_later(step.seconds_left() - LAST, exit=True, file=where)
    plugin, printed = Rows(step), io.StringIO()
    mark = "device and not full" if step.quick else "device"
    with contextlib.redirect_stdout(printed):
        options = ["-q", "-p", "no:cacheprovider", "-m", mark]
        status = pytest.main([*options, *SELECTED], [plugin])
    faulthandler.cancel_dump_traceback_later()
    outcome = outcome_of("pytest", plugin.rows, plugin.left, int(status))
    if outcome[0] == FAILED:
        print(printed.getvalue())
    return outcome


class Rows:
    """A plugin of pytest, which adds a row for each test as soon as it ends.

    `rows` also has those of an earlier check; `left` is how many selected tests were not begun.
    """

    def __init__(self, step: Step) -> None:
        self.step, self.rows, self.left = step, list(step.done), 0

    def add(self, report: Any, seconds: float) -> None:
        """Add a row for pytest's report of a test or of a file."""
        what = report.longrepr
        reason = what[2] if isinstance(what, tuple) else str(what or "")
        row = {
            "test": report.nodeid,
            "outcome": report.outcome,
            "seconds": seconds,
            "detail": reason.removeprefix("Skipped: ").strip()[-500:],
        }
        self.rows.append(row)
        self.step.add(row)

    def pytest_collection_finish(self, session: Any) -> None:
        """Leave out what passed before, and do what compiles most at last."""
        passed = {row["test"] for row in self.rows}
        items = [item for item in session.items if item.nodeid not in passed]
        session.items[:] = sorted(items, key=lambda item: "test_operations" in item.nodeid)
        self.left = len(items)

    def pytest_collectreport(self, report: Any) -> None:
        """Keep a file that can't be read, or is skipped for what is not installed."""
        if report.outcome != "passed":
            self.add(report, 0.0)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep a test; of its parts, the call, and others where something is wrong."""
        if report.when == "call" or report.outcome != "passed":
            self.add(report, report.duration)

    def pytest_runtest_teardown(self, item: Any) -> None:
        """End in time."""
        self.left -= 1
        if self.left and self.step.seconds_left() < ENOUGH:
            item.session.shouldstop = "the time is up"


def compare_operations(step: Step) -> tuple[list[Row], int]:
    """Compare cases of operations with NumPy; return the rows, and how many were not begun."""
    from parity.operations import CASES, check

    from gpunn.backends import get_backend

    backend, rows, passed = get_backend("cupy"), list(step.done), {r["test"] for r in step.done}
    cases = [(case, dtype) for case in CASES[::EVERY] for dtype in ("float32", "float64")]
    left = [each for each in cases if f"{each[0].name}, {each[1]}" not in passed]
    while left and step.seconds_left() > ENOUGH:
        case, dtype = left.pop(0)
        row = {"test": f"{case.name}, {dtype}", "outcome": "passed", "detail": ""}
        try:
            check(backend, dtype, case)
        except Exception as error:
            row |= {"outcome": "failed", "detail": str(error).strip()[-500:]}
        rows.append(row)
        step.add(row)
    return rows, len(left)


def outcome_of(what: str, rows: list[Row], left: int, status: int = NO_TESTS) -> Outcome:
    """Return the outcome for the tests' rows; no tests at all are a failure."""
    counts = Counter(row["outcome"] for row in rows)
    kinds = [f"{counts[kind]} {kind}" for kind in ("passed", "failed", "skipped") if counts[kind]]
    said = f"{what}: {', '.join(kinds)}"
    why = Counter(row["detail"] for row in rows if row["outcome"] == "skipped")
    print("\n".join(f"{number} skipped: {reason}" for reason, number in why.most_common()))
    failed = [row["test"] for row in rows if row["outcome"] == "failed"]
    if failed or not counts["passed"]:
        return FAILED, f"{said}; {', '.join(failed[:3]) or f'none passed ({status=})'}"
    if left:
        return STOPPED, f"{said}; no time for {left} more"
    if status not in (0, NO_TESTS):
        return FAILED, f"{said}; pytest ended with exit status {status}"
    return PASSED, said
