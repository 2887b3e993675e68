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
from process import FAILED, PASSED, Outcome, SkipError, Step

TOUR = Path(__file__).parents[1] / "tour_alone.py"
FOUND = 9  # exit status that compute-sanitizer is told to give for findings


def run(step: Step) -> Outcome:
    """Run the tour under two of the sanitizer's tools."""
    if device.REHEARSAL:
        raise SkipError("a rehearsal: there is no GPU code to look at")
    program = shutil.which("compute-sanitizer")
    if program is None:
        raise SkipError("compute-sanitizer is not on PATH")
    told = printed_by([program, "--help"]).stdout
    # Releases differ in the option's name; the newer one comes first.
    option = next((each for each in ("--kernel-name", "--kernel-regex") if each in told), None)
    kernels = [option, "kns=gpunn"] if option else []
    done, said = [row.get("tool") for row in step.done], []
    for tool in ("memcheck", "racecheck"):
        if tool in done:
            continue
        # CuPy probes for functions of newer drivers and is told that there are none: no errors.
        options = ["--tool", tool, "--error-exitcode", str(FOUND), "--report-api-errors", "no"]
        wrong, seen = checked(step, tool, [program, *options, *kernels, sys.executable, str(TOUR)])
        step.add({"tool": tool, "outcome": FAILED if wrong else PASSED, "detail": wrong or seen})
        said.append(f"{tool}: {wrong or seen}")
        if wrong:
            return FAILED, said[-1]
    return PASSED, "; ".join(said)


def checked(step: Step, tool: str, command: list[str]) -> tuple[str, str]:
    """Return what is wrong, or "", and else what was seen."""
    planted = printed_by([*command, tool])
    if not findings(planted.stdout):
        print(planted.stdout, planted.stderr)
        return "does not find an error that was planted in a kernel", ""
    step.add({"planted error": f"found by {tool}"})  # stopped with a row, it has not failed
    done = printed_by(command)
    found = findings(done.stdout)
    kernels = re.search(r"^kernels of gpunn: (\d+)$", done.stdout, re.MULTILINE)
    wrong = ""
    if found or done.returncode == FOUND:
        wrong = f"{found or 'some'} findings"
    elif done.returncode:
        wrong = f"exit status {done.returncode}"
    elif found is None:
        wrong = "ended well, but without the sanitizer's summary"
    elif kernels is None or kernels[1] == "0":
        wrong = "no kernel of gpunn was run"
    if wrong:
        print(done.stdout, done.stderr)
        return wrong, ""
    return "", f"no findings in {kernels[1]} kernels, while a planted error was found"


def printed_by(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command and return it with what it printed."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


def findings(printed: str) -> int | None:
    """Return how many findings the sanitizer's summary tells of; None if there is no summary."""
    summary = re.search(r"(?:ERROR|RACECHECK) SUMMARY: (\d+)", printed)
    return None if summary is None else int(summary[1])
