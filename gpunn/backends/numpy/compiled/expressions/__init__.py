"""Turn traced definitions of custom classes into instructions of the kernel `expression`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from gpunn.backends.numpy.compiled.expressions.broadcasting import with_broadcasts
from gpunn.backends.numpy.compiled.expressions.loop import Loop
from gpunn.backends.numpy.compiled.expressions.memory import Memory, allocated, roots_of
from gpunn.backends.numpy.compiled.expressions.steps import Step, exact_nodes, steps_of
from gpunn.backends.numpy.compiled.expressions.totals import without_totals
from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.tracing import Write
from gpunn.expressions import ARRAY, Node, Stage, in_order, stages_of
from gpunn.expressions.tracing import once

__all__ = ["instructions_of"]


class Loops(NamedTuple):
    roots: list[Node]
    stages: list[Stage]
    steps: list[list[Step]]
    stored: set[int]
    sources: list[Node]


def loops_of(nodes: Sequence[Node]) -> Loops:
    roots = roots_of(with_broadcasts(nodes))
    stages, stored = stages_of(roots)
    sources = [each for each in in_order(roots) if each.op == ARRAY]
    exact = exact_nodes(in_order(roots))
    steps = [steps_of(each, stored, exact) for each in stages]
    return Loops(roots, stages, steps, stored, sources)


class Lowered:
    """Instructions that write results; arrays can be replaced by others of the same shapes."""

    def __init__(
        self,
        writes: Sequence[Write],
        loops: Loops,
        arrays: Sequence[np.ndarray],
        dtype: np.dtype,
        threads: int,
        early: bool,
    ) -> None:
        given = dict(zip(loops.sources, arrays[len(writes) :], strict=True))
        memory = Memory(writes, loops.steps, loops.stored, dtype, given)
        of_rows = {stage.rows for stage in loops.stages if stage.columns > 1}
        # Vectors are divided at cache lines, unless other loops divide the same rows.
        line = BLOCK_BYTES // dtype.itemsize
        self._loops = [
            Loop(stage, own, memory, 1 if stage.rows in of_rows else line, threads, early)
            for stage, own in zip(loops.stages, loops.steps, strict=True)
        ]
        self._memory, self._arrays = memory, arrays
        self._options = dtype, threads, early

    def instructions(self, arrays: Sequence[np.ndarray]) -> list[Instruction]:
        replaced = {id(one): array for one, array in zip(self._arrays, arrays, strict=True)}
        for array, node in self._memory.temporary:
            replaced[id(array)] = allocated(node, self._memory.dtype)
        result = [one for loop in self._loops for one in loop.instructions(replaced)]
        if self._memory.copies:
            copies = [Write(replaced[id(array)], node) for array, node in self._memory.copies]
            given = {node: replaced[id(node.data)] for _, node in copies}
            result += instructions_of(copies, *self._options, given)
        return result


def instructions_of(
    writes: Sequence[Write],
    dtype: np.dtype,
    threads: int,
    early: bool = False,
    given: Mapping[Node, np.ndarray] = MappingProxyType({}),
) -> list[Instruction]:
    """Return instructions that write traced results to their arrays.

    `given` maps nodes to arrays; all other nodes already refer to arrays. Raises an `Untraceable`
    if the kernel can't broadcast a shape.
    """
    writes, totals = without_totals(writes, dtype, given)
    nodes = tuple(write.node for write in writes)
    loops = once(nodes, lambda: loops_of(nodes))
    writes = [Write(array, root) for (array, _), root in zip(writes, loops.roots, strict=True)]
    arrays = [write.array for write in writes]
    arrays += [given.get(node, node.data) for node in loops.sources]
    places: dict[int, int] = {}  # equal for equal arrays
    same = tuple(places.setdefault(id(each), k) for k, each in enumerate(arrays))
    lowered = once(
        (nodes, same, dtype, threads, early),
        lambda: Lowered(writes, loops, arrays, dtype, threads, early),
    )
    return lowered.instructions(arrays) + totals
