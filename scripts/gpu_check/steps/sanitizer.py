"""NVIDIA's compute-sanitizer on a short training.

It looks at the project's kernels alone. That it does is shown by one that has an error, which must
be found first.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import device
import rows
from outcome import FAILED, PASSED, Outcome, SkipStepError

TOUR = Path(__file__).parents[1] / "tour_alone.py"
FOUND = 9  # exit status that compute-sanitizer is told to give for findings

FILTERS = ("--kernel-name", "--kernel-regex")
"""What its releases call the option, the newer name first."""

KERNELS = "kns=gpunn"  # all whose name has this in it


def run(tool: str) -> Outcome:
    """Run the tour under one of the sanitizer's tools."""
    if device.REHEARSAL:
        raise SkipStepError("a rehearsal: there is no GPU code to look at")
    program = shutil.which("compute-sanitizer")
    if program is None:
        raise SkipStepError("compute-sanitizer is not on PATH")
    command = [program, *options(program, tool), sys.executable, str(TOUR)]
    planted = printed_by([*command, tool])
    if not findings(planted.stdout):
        return failed(f"{tool} does not find an error that was planted in a kernel", planted)
    if not rows.done():
        rows.add({"planted error": "found"})  # a step that is stopped with a row has not failed
    done = printed_by(command)
    found = findings(done.stdout)
    kernels = re.search(r"^kernels of gpunn: (\d+)$", done.stdout, re.MULTILINE)
    if found or done.returncode == FOUND:
        return failed(f"{tool}: {found or 'some'} findings", done)
    if done.returncode:
        return failed(f"{tool}: exit status {done.returncode}", done)
    if found is None:
        return failed(f"{tool}: ended well, but without the sanitizer's summary", done)
    if kernels is None or kernels[1] == "0":
        return failed(f"{tool}: no kernel of gpunn was run", done)
    said = f"{tool}: no findings in {kernels[1]} kernels, while a planted error was found"
    return Outcome(PASSED, said, {"printed": tail(done)})


def options(program: str, tool: str) -> list[str]:
    """Return the sanitizer's options."""
    told = printed_by([program, "--help"]).stdout
    # A program probes for functions of newer drivers and is told that there are none: no errors.
    chosen = ["--tool", tool, "--error-exitcode", str(FOUND), "--report-api-errors", "no"]
    name = next((each for each in FILTERS if each in told), None)
    return [*chosen, name, KERNELS] if name else chosen


def printed_by(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command and return it with what it printed."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


def findings(printed: str) -> int | None:
    """Return how many findings the sanitizer's summary tells of; None if there is no summary."""
    summary = re.search(r"(?:ERROR|RACECHECK) SUMMARY: (\d+)", printed)
    return None if summary is None else int(summary[1])


def tail(done: subprocess.CompletedProcess[str]) -> str:
    """Return the end of what was printed."""
    return (done.stdout + done.stderr)[-4000:]


def failed(said: str, done: subprocess.CompletedProcess[str]) -> Outcome:
    """Return a failure."""
    print(tail(done))
    return Outcome(FAILED, said, {"exit status": done.returncode, "printed": tail(done)})
