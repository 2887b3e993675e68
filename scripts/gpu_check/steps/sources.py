"""The CUDA sources that CuPy compiles here, against those of the emulated device.

The test tiers 3 and 4 compile and run sources taken from the emulated device. They are evidence
about a GPU only if CuPy generates the very same sources there. Products are not fused in either
tour: what cuBLASLt refuses takes other kernels, and it may refuse other shapes than the emulated
one does.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from unittest.mock import patch

# CuPy reads it when it is imported. The emulated device has no CUB; without this a GPU would use it
# for some sums.
os.environ["CUPY_ACCELERATORS"] = ""

import device
import process
import tour
from process import FAILED, PASSED, Outcome, SkipError, Step


def run(step: Step) -> Outcome:
    """Train the tour here and on the emulated device, and compare the sources."""
    if shutil.which("g++") is None:
        raise SkipError("the emulated device needs g++, which is not installed")
    here = harvest()
    with (
        patch.dict(os.environ, {device.VARIABLE: "emulated"}),
        ProcessPoolExecutor(1, process.SPAWN) as pool,
    ):
        try:
            there = pool.submit(process.called, "steps.sources", "harvest").result()
        except RuntimeError as error:
            if "pinned to CuPy" in str(error):
                raise SkipError(str(error)) from None
            raise
    step.add({"only here": sorted(here - there), "only there": sorted(there - here)})
    if here != there or not here:
        return FAILED, (
            f"of {len(here)} sources, {len(here - there)} are other ones than on the emulated "
            f"device, which has {len(there - here)} that are not here"
        )
    return PASSED, f"{len(here)} sources, the same text as on the emulated device"


def harvest() -> set[str]:
    """Return every source that CuPy asks its compiler for during the tour."""
    found = set()
    with tour.compiled_sources(lambda source, _: found.add(source)):
        tour.run(fused_products=False)
    return found
