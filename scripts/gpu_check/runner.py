"""Running a step in a process of its own, stopped when its time is up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import device
from outcome import FAILED, SKIPPED, Outcome
from plan import Step

WORKER = Path(__file__).with_name("worker.py")
LEAST = 5.0
"""With fewer seconds left of the budget than this, a step is not begun."""

SHOWN = 2000
"""Characters of a failed step's output that are kept."""


def run(step: Step, left: float) -> tuple[Outcome, float]:
    """Run a step and return its outcome and the seconds it took.

    Parameters
    ----------
    left : float
        Seconds left for all steps.
    """
    if left < LEAST:
        return Outcome(SKIPPED, "no time left"), 0.0
    limit = min(step.limit * device.PATIENCE, left)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "outcome.json"
        # A session of its own, so that what the step starts is stopped with it.
        process = subprocess.Popen(
            [sys.executable, str(WORKER), step.call, str(answer)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            printed, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            stop(process)
            return Outcome(FAILED, f"stopped after {limit:.0f} s"), time.monotonic() - began
        except BaseException:
            stop(process)
            raise
        seconds = time.monotonic() - began
        if not answer.exists():
            end = f"exit status {process.returncode}"
            outcome = Outcome(FAILED, f"the process ended without an answer ({end})")
        else:
            outcome = Outcome(**json.loads(answer.read_text(encoding="utf-8")))
    if outcome.status == FAILED:
        outcome.figures["output"] = printed.decode(errors="replace")[-SHOWN:]
    return outcome, seconds


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
