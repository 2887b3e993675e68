"""Run NVIDIA's compute-sanitizer on short training runs.

The tool checks only gpunn's kernels. To prove that it checks them, it must first find an error that
is planted in a kernel.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import device
from process import FAILED, PASSED, Outcome, SkipError, Step

TOUR = Path(__file__).parents[1] / "tour_alone.py"
FOUND = 9  # exit status that compute-sanitizer is asked to return for findings


def run(step: Step) -> Outcome:
    if device.REHEARSAL:
        raise SkipError("a rehearsal has no GPU code to check")
    program = shutil.which("compute-sanitizer")
    if program is None:
        raise SkipError("compute-sanitizer is not on PATH")
    options_text = printed_by([program, "--help"]).stdout
    # Releases differ in the option's name; the newer one comes first.
    option = next(
        (each for each in ("--kernel-name", "--kernel-regex") if each in options_text), None
    )
    kernels = [option, "kns=gpunn"] if option else []
    done, messages = [row.get("tool") for row in step.done], []
    for tool in ("memcheck", "racecheck"):
        if tool in done:
            continue
        # CuPy looks for functions of newer drivers; their absence is not an error.
        options = ["--tool", tool, "--error-exitcode", str(FOUND), "--report-api-errors", "no"]
        wrong, seen = checked(step, tool, [program, *options, *kernels, sys.executable, str(TOUR)])
        step.add({"tool": tool, "outcome": FAILED if wrong else PASSED, "detail": wrong or seen})
        messages.append(f"{tool}: {wrong or seen}")
        if wrong:
            return FAILED, messages[-1]
    return PASSED, "; ".join(messages)


def checked(step: Step, tool: str, command: list[str]) -> tuple[str, str]:
    """Return the problem, or "", and the result if there is no problem."""
    planted = printed_by([*command, tool])
    if not findings(planted.stdout):
        print(planted.stdout, planted.stderr)
        return "did not find an error that was planted in a kernel", ""
    step.add({"planted error": f"found by {tool}"})  # with a row, a step without time is stopped
    done = printed_by(command)
    count = findings(done.stdout)
    kernels = re.search(r"^kernels of gpunn: (\d+)$", done.stdout, re.MULTILINE)
    wrong = ""
    if count or done.returncode == FOUND:
        wrong = f"{count or 'some'} findings"
    elif done.returncode:
        wrong = f"exit status {done.returncode}"
    elif count is None:
        wrong = "the program succeeded, but without the sanitizer's summary"
    elif kernels is None or kernels[1] == "0":
        wrong = "no kernel of gpunn ran"
    if wrong:
        print(done.stdout, done.stderr)
        return wrong, ""
    return "", f"no findings in {kernels[1]} kernels, while a planted error was found"


def printed_by(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def findings(printed: str) -> int | None:
    summary = re.search(r"(?:ERROR|RACECHECK) SUMMARY: (\d+)", printed)
    return None if summary is None else int(summary[1])
