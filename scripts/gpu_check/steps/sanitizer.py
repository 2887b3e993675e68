"""NVIDIA's compute-sanitizer on a short training."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import device
from outcome import FAILED, PASSED, Outcome, SkipStepError

TOUR = Path(__file__).parents[1] / "tour_alone.py"
FOUND = 9  # exit status that compute-sanitizer is told to give for findings


def run(tool: str) -> Outcome:
    """Run the tour under one of the sanitizer's tools."""
    if device.REHEARSAL:
        raise SkipStepError("a rehearsal: there is no GPU code to look at")
    program = shutil.which("compute-sanitizer")
    if program is None:
        raise SkipStepError("compute-sanitizer is not on PATH")
    options = ["--tool", tool, "--error-exitcode", str(FOUND)]
    done = subprocess.run(
        [program, *options, sys.executable, str(TOUR)], capture_output=True, text=True, check=False
    )
    printed = (done.stdout + done.stderr)[-4000:]
    figures = {"exit status": done.returncode, "printed": printed}
    print(printed)
    if done.returncode == 0 and "ERROR SUMMARY: 0" not in done.stdout and tool == "memcheck":
        return Outcome(FAILED, "ended well, but without the sanitizer's summary", figures)
    if done.returncode:
        what = "findings" if done.returncode == FOUND else f"exit status {done.returncode}"
        return Outcome(FAILED, f"{tool}: {what}", figures)
    return Outcome(PASSED, f"{tool}: no findings in trainings of four networks", figures)
