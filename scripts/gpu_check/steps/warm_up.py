"""Compiling the kernels that the measurements use, so that none of them waits for the compiler.

CuPy keeps what it has compiled in a folder, where the processes of later steps find it.
"""

from __future__ import annotations

import re
import time
from typing import Any
from unittest.mock import patch

import rows
from outcome import PASSED, Outcome
from steps import tour

KERNEL = re.compile(r"__global__\s+(?:__launch_bounds__\([^)]*\)\s*)?void\s+(\w+)")


def run() -> Outcome:
    """Train the tour's networks, with a row for each source that CuPy compiles or has kept."""
    from cupy.cuda import compiler

    compile_module = compiler._compile_module_with_cache
    compiled: list[tuple[float, str]] = []

    def timed(source: str, *arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        module = compile_module(source, *arguments, **options)
        took = time.perf_counter() - began
        kernels = ", ".join(KERNEL.findall(source))
        compiled.append((took, kernels))
        rows.add({"kernels": kernels, "seconds": took})
        return module

    began = time.perf_counter()
    with patch.object(compiler, "_compile_module_with_cache", timed):
        tour.run()
    whole = time.perf_counter() - began
    compiling = sum(seconds for seconds, _ in compiled)
    longest, slowest = max(compiled)
    return Outcome(
        PASSED,
        f"{len(compiled)} sources compiled or found compiled in {compiling:.0f} of {whole:.0f} s; "
        f"the slowest, {slowest}, took {longest:.1f} s",
        {"sources": len(compiled), "compiling": compiling, "seconds": whole},
    )
