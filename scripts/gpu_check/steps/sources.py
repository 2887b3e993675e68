"""Compare the CUDA sources that CuPy compiles here with the sources on the emulated device.

Test tiers 3 and 4 compile and run sources from the emulated device. These tiers prove something
about a GPU only if CuPy generates the same sources there. Both tours turn fused products off:
refused products use other kernels, and the real cuBLASLt may refuse other shapes than the emulated
one.
"""

import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from unittest.mock import patch

# CuPy reads this at import. The emulated device has no CUB, which a GPU would use for some sums.
os.environ["CUPY_ACCELERATORS"] = ""

import device
import process
import tour
from process import FAILED, PASSED, Outcome, SkipError, Step


def run(step: Step) -> Outcome:
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
            f"of {len(here)} sources, {len(here - there)} do not exist on the emulated device, "
            f"which has {len(there - here)} others"
        )
    return PASSED, f"{len(here)} sources, equal to the sources on the emulated device"


def harvest() -> set[str]:
    sources = set()
    with tour.compiled_sources(lambda source, _: sources.add(source)):
        tour.run(fused_products=False)
    return sources
