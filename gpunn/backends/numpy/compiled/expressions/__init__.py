"""Turn traced definitions of custom classes into instructions of the kernel `expression`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from gpunn.backends.numpy.compiled.expressions.broadcasting import with_broadcasts
from gpunn.backends.numpy.compiled.expressions.loop import Loop
from gpunn.backends.numpy.compiled.expressions.memory import Memory, roots_of
from gpunn.backends.numpy.compiled.expressions.steps import Step, steps_of
from gpunn.backends.numpy.compiled.expressions.totals import without_totals
from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.tracing import Write
from gpunn.expressions import Node, Stage, stages_of
from gpunn.expressions.tracing import once

__all__ = ["instructions_of"]


class Loops(NamedTuple):
    """The loops that compute the `roots`, and the ids of nodes that need an array."""

    roots: list[Node]
    stages: list[Stage]
    steps: list[list[Step]]
    stored: set[int]


def loops_of(nodes: Sequence[Node]) -> Loops:
    """Return the loops that compute nodes."""
    roots = roots_of(with_broadcasts(nodes))
    stages, stored = stages_of(roots)
    return Loops(roots, stages, [steps_of(stage, stored) for stage in stages], stored)


def instructions_of(
    writes: Sequence[Write],
    dtype: np.dtype,
    threads: int,
    early: bool = False,
    given: Mapping[Node, np.ndarray] = MappingProxyType({}),
) -> list[Instruction]:
    """Return instructions that write traced results to their arrays.

    `given` maps nodes to arrays to use instead of the nodes' own arrays or names. Raises an
    `Untraceable` if the kernel can't broadcast a shape.
    """
    writes, totals = without_totals(writes, dtype, given)
    nodes = tuple(write.node for write in writes)
    roots, stages, steps, stored = once(nodes, lambda: loops_of(nodes))
    writes = [Write(array, root) for (array, _), root in zip(writes, roots, strict=True)]
    memory = Memory(writes, steps, stored, dtype, given)
    of_rows = {stage.rows for stage in stages if stage.columns > 1}
    instructions: list[Instruction] = []
    for stage, own in zip(stages, steps, strict=True):
        # Vectors are divided at cache lines, unless other loops divide the same rows.
        multiple = 1 if stage.rows in of_rows else BLOCK_BYTES // dtype.itemsize
        instructions += Loop(stage, memory, multiple, threads, early).instructions(own)
    if memory.copies:
        instructions += instructions_of(memory.copies, dtype, threads, early)
    return instructions + totals
