"""Time each kernel of a step with NVIDIA's Nsight Compute, including the helpers of cuBLAS.

Nsight Compute runs the kernels of a CUDA graph one by one. So times include no gaps between kernels
and no overlap of branches.
"""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import device
import training
from networks import INSPECTED
from process import FAILED, PASSED, STOPPED, Outcome, Row, SkipError, Step

PROGRAM = Path(__file__).parents[1] / "step_alone.py"
OPTIONS = (
    *("--profile-from-start", "off", "--graph-profiling", "node", "--csv"),
    *("--metrics", "gpu__time_duration.sum", "--print-units", "base"),
)
FORBIDDEN = "ERR_NVGPUCTRPERM"
FEWEST_LEFT = 10.0
"""Remaining seconds that a network needs to start."""


def run(step: Step) -> Outcome:
    if device.REHEARSAL:
        raise SkipError("a rehearsal has no GPU code to time")
    program = shutil.which("ncu")
    if program is None:
        raise SkipError("ncu is not on PATH")
    rows = list(step.done)
    left = [name for name in INSPECTED if name not in {row["network"] for row in rows}]
    while left and step.seconds_left() > FEWEST_LEFT:
        command = [program, *OPTIONS, sys.executable, str(PROGRAM), left[0]]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"}
        )
        if FORBIDDEN in done.stdout + done.stderr:
            raise SkipError(f"ncu may not read the GPU's counters ({FORBIDDEN}); try it as root")
        kernels = kernels_of(done.stdout)
        if done.returncode or not kernels:
            print(done.stdout, done.stderr)
            return FAILED, f"{left[0]}: exit status {done.returncode}, {len(kernels)} kernels"
        rows.append({"network": left.pop(0), "kernels": kernels})
        step.add(rows[-1])
    for row in rows:
        lines = [(each["kernel"], f"{each['microseconds']:.2f}") for each in row["kernels"]]
        total = sum(each["microseconds"] for each in row["kernels"])
        lines.append(("sum", f"{total:.2f}"))
        print(f"{row['network']}\n{training.table(('kernel', 'µs'), lines)}\n")
    result = f"{len(rows)} steps, with the time of each kernel"
    return (STOPPED, f"{result}; no time for {len(left)} more") if left else (PASSED, result)


def kernels_of(printed: str) -> list[Row]:
    """Return the kernels in ncu's table, which follows other lines, with their times."""
    lines = [line for line in printed.splitlines() if line.startswith('"')]
    return [
        {
            "kernel": row["Kernel Name"],
            "microseconds": float(row["Metric Value"].replace(",", "")) / 1e3,  # from ns
        }
        for row in csv.DictReader(lines)
    ]
