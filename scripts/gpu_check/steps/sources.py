"""The CUDA sources that CuPy compiles here, against those of the emulated device.

Tiers 3 and 4 compile and run sources taken from the emulated device. They are evidence about a GPU
only if CuPy generates the very same sources there. Products are not fused in either tour: what
cuBLASLt refuses takes other kernels, and it may refuse other shapes than the emulated one does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# CuPy reads it when it is imported. The emulated device has no CUB; without this a GPU would use it
# for some sums.
os.environ["CUPY_ACCELERATORS"] = ""

import device
from outcome import FAILED, PASSED, Outcome, SkipStepError
from steps import tour

WORKER = Path(__file__).parents[1] / "worker.py"


def run() -> Outcome:
    """Train the tour here and on the emulated device, and compare the sources."""
    if shutil.which("g++") is None:
        raise SkipStepError("the emulated device needs g++, which is not installed")
    here, toured = harvest()
    there = emulated_sources()
    only_here, only_there = here - there, there - here
    figures = {
        "sources": len(here),
        "only here": sorted(only_here),
        "only there": sorted(only_there),
        "launches": toured.launches,
    }
    if only_here or only_there or not here:
        said = (
            f"of {len(here)} sources, {len(only_here)} are other ones than on the emulated device, "
            f"which has {len(only_there)} that are not here"
        )
        return Outcome(FAILED, said, figures)
    return Outcome(PASSED, f"{len(here)} sources, the same text as on the emulated device", figures)


def harvest() -> tuple[set[str], tour.Tour]:
    """Return every source that CuPy asks its compiler for during the tour, and the tour."""
    with tour.compiled_sources() as found:
        toured = tour.run(fused_products=False)
    return found, toured


def harvested() -> Outcome:
    """Return the sources as figures, for the process on the emulated device."""
    return Outcome(PASSED, "", {"sources": sorted(harvest()[0])})


def emulated_sources() -> set[str]:
    """Return the sources of a process on the emulated device."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "outcome.json"
        done = subprocess.run(
            [sys.executable, str(WORKER), "sources.harvested", str(answer), str(os.getpid())],
            env={**os.environ, device.VARIABLE: "emulated"},
            capture_output=True,
            text=True,
            check=False,
        )
        if not answer.exists():
            raise RuntimeError(f"the emulated device's process ended: {done.stderr[-500:]}")
        outcome = Outcome(**json.loads(answer.read_text(encoding="utf-8")))
    if "pinned to CuPy" in outcome.detail:
        raise SkipStepError(outcome.detail)
    if outcome.status != PASSED:
        raise RuntimeError(f"on the emulated device: {outcome.detail}")
    return set(outcome.figures["sources"])
