"""Compile the kernels that the measurements use, so that no measurement waits for the compiler.

CuPy stores compiled kernels in a folder, from which the processes of later steps load them.
"""

import re

import tour
from process import PASSED, Outcome, Step

KERNEL = re.compile(r"__global__\s+(?:__launch_bounds__\([^)]*\)\s*)?void\s+(\w+)")


def run(step: Step) -> Outcome:
    compiled: list[tuple[float, str]] = []

    def seen(source: str, seconds: float) -> None:
        compiled.append((seconds, ", ".join(KERNEL.findall(source))))
        step.add({"kernels": compiled[-1][1], "seconds": seconds})

    with tour.compiled_sources(seen):
        tour.run()
    longest, slowest = max(compiled)
    return PASSED, (
        f"{len(compiled)} sources compiled or loaded in "
        f"{sum(seconds for seconds, _ in compiled):.0f} s; "
        f"the slowest, {slowest}, took {longest:.1f} s"
    )
