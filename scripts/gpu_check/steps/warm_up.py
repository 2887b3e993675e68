"""Compiling the kernels that the measurements use, so that none of them waits for the compiler.

CuPy keeps what it has compiled in a folder, where the processes of later steps find it.
"""

from __future__ import annotations

import re

import tour
from process import PASSED, Outcome, Step

KERNEL = re.compile(r"__global__\s+(?:__launch_bounds__\([^)]*\)\s*)?void\s+(\w+)")


def run(step: Step) -> Outcome:
    """Train the tour's networks, with a row for each source that CuPy compiles or has kept."""
    compiled: list[tuple[float, str]] = []

    def seen(source: str, seconds: float) -> None:
        compiled.append((seconds, ", ".join(KERNEL.findall(source))))
        step.add({"kernels": compiled[-1][1], "seconds": seconds})

    with tour.compiled_sources(seen):
        tour.run()
    longest, slowest = max(compiled)
    return PASSED, (
        f"{len(compiled)} sources compiled or found compiled, in "
        f"{sum(seconds for seconds, _ in compiled):.0f} s; "
        f"the slowest, {slowest}, took {longest:.1f} s"
    )
