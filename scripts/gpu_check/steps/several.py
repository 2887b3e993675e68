"""Compare training on one device and on several, which exchange gradients by NCCL."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import training
from process import FAILED, PASSED, Outcome, SkipError, Step

PROGRAM = Path(__file__).parents[1] / "several_alone.py"
LIMIT = 1e-5
"""Tolerance of the digits' losses, relative to one device (as in `curves`)."""

LONGEST = 3600.0
"""Maximum seconds for one training."""

Seen = dict[str, Any]


def run(step: Step) -> Outcome:
    import cupy

    devices = cupy.cuda.runtime.getDeviceCount()
    if devices < 2:
        raise SkipError("needs several CUDA devices, but there is one")
    mpiexec = launcher()
    seen: dict[int, Seen] = {}
    for number in sorted({1, 2, devices}):
        launch = [mpiexec, "-n", str(number)] if number > 1 else []
        seen[number] = trained(step, number, launch, "nccl" if launch else "none")
        step.add({"devices": number, **seen[number]})
    show(seen)
    losses = [each["losses"] for each in seen.values()]
    difference = training.largest([training.distance(losses[0], each) for each in losses])
    if not difference <= LIMIT:  # NaN also fails
        return FAILED, f"losses differ by {difference:.1e} (at most {LIMIT:.0e})"
    if any(each["exchange"] != "nccl" for number, each in seen.items() if number > 1):
        return FAILED, "the ranks did not use NCCL"
    more, less = max(speeds(seen[devices]).items()), max(speeds(seen[1]).items())
    return PASSED, (
        f"losses within {difference:.1e}; {more[1] / less[1]:.2f} times the rows a second with "
        f"{devices} devices, {less[0]} rows each"
    )


def launcher() -> str:
    if importlib.util.find_spec("mpi4py") is None:
        raise SkipError("mpi4py is not installed")
    folders = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    mpiexec = shutil.which("mpiexec", path=folders)
    if mpiexec is None:
        raise SkipError("mpiexec is not on PATH")
    return mpiexec


def trained(step: Step, number: int, launch: list[str], communicator: str) -> Seen:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "seen.json")
        command = [*launch, sys.executable, str(PROGRAM), communicator, str(path)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=max(1.0, min(step.seconds_left(), LONGEST)),  # mpiexec ends its ranks then
        )
        if done.returncode:
            print(done.stdout, done.stderr)
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            if "libnccl.so.2 can't be opened" in done.stderr:
                raise SkipError("NCCL is not installed: pip install nvidia-nccl-cu13, or -cu12")
            raise RuntimeError(f"{number} ranks ended with status {done.returncode}: {reason}")
        seen: Seen = json.loads(path.read_text())
        return seen


def speeds(seen: Seen) -> dict[int, float]:
    return {int(batch): float(speed) for batch, speed in seen["rows a second"].items()}


def show(seen: dict[int, Seen]) -> None:
    alone = speeds(seen[1])
    rows = [
        (number, batch, f"{speed:,.0f}", f"{speed / max(alone.values()):.2f}")
        for number, each in seen.items()
        for batch, speed in speeds(each).items()
    ]
    print(training.table(("devices", "batch", "rows a second", "times one device"), rows))
