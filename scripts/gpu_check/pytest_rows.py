"""A plugin of pytest that keeps a row for each test as soon as it ends."""

from __future__ import annotations

from typing import Any

import rows

ENOUGH = 20.0
"""Seconds before the end of the step's time at which no test is begun any more."""


class Rows:
    """A plugin of pytest.

    Attributes
    ----------
    rows : list of dict
        "test", "outcome", "seconds" and "detail" of each test that has ended.
    left : int
        How many of the selected tests were not begun.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.left = 0

    def add(self, seen: Any, seconds: float) -> None:
        """Keep a row for pytest's report of a test or of a file."""
        what = seen.longrepr
        reason = what[2] if isinstance(what, tuple) else str(what or "")
        row = {
            "test": seen.nodeid,
            "outcome": seen.outcome,
            "seconds": seconds,
            "detail": reason.removeprefix("Skipped: ").strip()[-500:],
        }
        self.rows.append(row)
        rows.add(row)

    def pytest_collection_finish(self, session: Any) -> None:
        """Leave out what passed before, and do what compiles most at last."""
        passed = {row["test"] for row in rows.done()}
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
        if self.left and rows.seconds_left() < ENOUGH:
            item.session.shouldstop = "the time is up"
