"""Turn traced definitions of custom classes into instructions of the kernel `expression`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpunn.backends.numpy.compiled.expressions.loop import Loop
from gpunn.backends.numpy.compiled.expressions.memory import Memory, roots_of
from gpunn.backends.numpy.compiled.expressions.steps import steps_of
from gpunn.backends.numpy.compiled.expressions.totals import without_totals
from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.tracing import Write
from gpunn.expressions import stages_of

__all__ = ["instructions_of"]


def instructions_of(
    writes: Sequence[Write], dtype: np.dtype, threads: int, early: bool = False
) -> list[Instruction]:
    """Return instructions that write traced results to their arrays.

    Raises an `Untraceable` if the kernel can't broadcast a shape.
    """
    writes, totals = without_totals(writes, dtype)
    writes = roots_of(writes)
    stages, stored = stages_of([each.node for each in writes])
    steps = [steps_of(stage, stored) for stage in stages]
    memory = Memory(writes, steps, stored, dtype)
    of_rows = {stage.rows for stage in stages if stage.columns > 1}
    instructions: list[Instruction] = []
    for stage, own in zip(stages, steps, strict=True):
        # Vectors are divided at cache lines, unless other loops divide the same rows.
        multiple = 1 if stage.rows in of_rows else BLOCK_BYTES // dtype.itemsize
        instructions += Loop(stage, memory, multiple, threads, early).instructions(own)
    if memory.copies:
        instructions += instructions_of(memory.copies, dtype, threads, early)
    return instructions + totals
