"""Run the tests for a CUDA device with pytest."""

import contextlib
import faulthandler
import importlib.util
import io
import os
from collections import Counter
from typing import Any

import device
from process import FAILED, PASSED, STOPPED, Outcome, Row, Step, exclusive

ENOUGH = 20.0
"""Remaining seconds below which no test starts."""

LAST = 3.0
"""Remaining seconds below which a running test counts as hanging."""

NO_TESTS = 5
"""Exit status of pytest without tests, for example if all passed earlier."""

SELECTED = ["tests"]
if device.REHEARSAL:  # few, because ci/test.sh runs all of them on the emulated device
    SELECTED = [
        "tests/test_workspace.py",
        "tests/training/test_frozen.py",
        "tests/test_optimizers.py",
        "tests/sklearn/test_devices.py",
    ]
    SELECTED += ["-k", "test_workspace or test_frozen"]
SEVERAL = ("tests/gpu/test_command.py", "tests/robustness/test_kill_and_resume.py")
"""Tests whose processes use the device while pytest uses it."""
EVERY = 1000 if device.REHEARSAL else 1
"""Without pytest, one of this many cases of operations runs."""


def run(step: Step) -> Outcome:
    """Run the tests with the marker `device`; a quick check leaves out the marker `full`."""
    if importlib.util.find_spec("pytest") is None:
        rows, left = compare_operations(step)
        return outcome_of("pytest is not installed; operations against NumPy", rows, left)
    import pytest

    os.chdir(device.REPOSITORY)
    # To a copy of standard error, because pytest replaces the original.
    where = os.fdopen(os.dup(2), "w")
    faulthandler.dump_traceback_later(step.seconds_left() - LAST, exit=True, file=where)
    plugin, printed = Rows(step), io.StringIO()
    mark = "device and not full" if step.quick else "device"
    with contextlib.redirect_stdout(printed):
        options = ["-q", "-p", "no:cacheprovider", "-m", mark]
        if exclusive():
            options += [f"--ignore={file}" for file in SEVERAL]
        status = pytest.main([*options, *SELECTED], [plugin])
    faulthandler.cancel_dump_traceback_later()
    outcome = outcome_of("pytest", plugin.rows, plugin.left, int(status))
    if reason := exclusive():
        print(f"without {', '.join(SEVERAL)}: {reason}")
    if outcome[0] == FAILED:
        print(printed.getvalue())
    return outcome


class Rows:
    """A pytest plugin that adds a row for each test as soon as it ends.

    `rows` also has the rows of an earlier run; `left` counts the selected tests that did not start.
    """

    def __init__(self, step: Step) -> None:
        self.step, self.rows, self.left = step, list(step.done), 0

    def add(self, report: Any, seconds: float) -> None:
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
        """Leave out tests that passed earlier, and run tests with many kernels last."""
        passed = {row["test"] for row in self.rows}
        items = [item for item in session.items if item.nodeid not in passed]
        session.items[:] = sorted(items, key=lambda item: "test_operations" in item.nodeid)
        self.left = len(items)

    def pytest_collectreport(self, report: Any) -> None:
        if report.outcome != "passed":
            self.add(report, 0.0)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.add(report, report.duration)

    def pytest_runtest_teardown(self, item: Any) -> None:
        self.left -= 1
        if self.left and self.step.seconds_left() < ENOUGH:
            item.session.shouldstop = "the time is up"


def compare_operations(step: Step) -> tuple[list[Row], int]:
    """Compare cases of operations with NumPy; return rows, and the number of cases left."""
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
    counts = Counter(row["outcome"] for row in rows)
    kinds = [f"{counts[kind]} {kind}" for kind in ("passed", "failed", "skipped") if counts[kind]]
    summary = f"{what}: {', '.join(kinds)}"
    why = Counter(row["detail"] for row in rows if row["outcome"] == "skipped")
    print("\n".join(f"{number} skipped: {reason}" for reason, number in why.most_common()))
    failed = [row["test"] for row in rows if row["outcome"] == "failed"]
    if failed or not counts["passed"]:
        return FAILED, f"{summary}; {', '.join(failed[:3]) or f'none passed ({status=})'}"
    if left:
        return STOPPED, f"{summary}; no time for {left} more"
    if status not in (0, NO_TESTS):
        return FAILED, f"{summary}; pytest ended with exit status {status}"
    return PASSED, summary
