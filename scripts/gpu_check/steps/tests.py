"""The project's own tests that run on a CUDA device (rungs 1, 4 and 5), by pytest."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import device
from outcome import FAILED, PASSED, Outcome, SkipStepError

NEEDED = ("pytest", "hypothesis", "array_api_strict")
REHEARSED = ("tests/parity/test_training.py", "-k", "initial_weights or masks or batches_are")
"""What a rehearsal runs: few tests, for the full run has the emulated device in ci/test.sh."""


def run() -> Outcome:
    """Run the tests with GPUNN_TEST_DEVICE as it is; they choose themselves what needs a device."""
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        raise SkipStepError(f'not installed: {", ".join(absent)} (pip install ".[test]")')
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "tests.xml"
        chosen = REHEARSED if device.REHEARSAL else ("tests",)
        options = ["-q", "-p", "no:cacheprovider", f"--junit-xml={listing}", *chosen]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options], cwd=device.REPOSITORY, check=False
        )
        if not listing.exists():
            return Outcome(FAILED, f"pytest ended with exit status {done.returncode}")
        return outcome_of(listing, done.returncode)


def outcome_of(listing: Path, status: int) -> Outcome:
    """Return the outcome of a JUnit listing; no tests at all are a failure."""
    outcomes: Counter[str] = Counter()
    failures = []
    for case in ET.parse(listing).iter("testcase"):
        tags = {child.tag for child in case}
        kind = next((tag for tag in ("failure", "error", "skipped") if tag in tags), "passed")
        outcomes[kind] += 1
        if kind in ("failure", "error"):
            failures.append(f"{case.get('classname')}.{case.get('name')}")
    figures = {"tests": dict(outcomes), "failures": failures}
    counts = ", ".join(f"{number} {kind}" for kind, number in outcomes.items())
    if status or failures or not outcomes["passed"]:
        return Outcome(
            FAILED, f"pytest: {counts or 'no tests'}; {', '.join(failures[:3])}", figures
        )
    return Outcome(PASSED, f"pytest: {counts}", figures)
