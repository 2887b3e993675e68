"""Turn traced definitions of custom classes into instructions of the kernel `expression`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from gpunn.backends.numpy.compiled.conflicts import address
from gpunn.backends.numpy.compiled.expressions.broadcasting import with_broadcasts
from gpunn.backends.numpy.compiled.expressions.chains import in_chains
from gpunn.backends.numpy.compiled.expressions.counts import additions, without_counts
from gpunn.backends.numpy.compiled.expressions.loop import Loop
from gpunn.backends.numpy.compiled.expressions.memory import Memory, roots_of
from gpunn.backends.numpy.compiled.expressions.repeats import with_repeats
from gpunn.backends.numpy.compiled.expressions.steps import steps_of_groups, with_sums
from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.tracing import Write
from gpunn.expressions import ARRAY, Node, in_order, stages_of


class Lowered:
    """Instructions that compute nodes and write the results into arrays.

    `arrays` lists all arrays that are read or written. `instructions` also accepts other arrays of
    the same shapes. `given` maps nodes to arrays that are read instead of the nodes' own arrays.
    If `apart` is true, computing other results does not change how the first result is rounded.
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray],
        writes: Sequence[Write],
        dtype: np.dtype,
        threads: int,
        early: bool = False,
        given: Mapping[Node, np.ndarray] = MappingProxyType({}),
        apart: bool = False,
    ) -> None:
        writes, counts = (writes, []) if early or apart else without_counts(writes, dtype)
        roots = roots_of(with_broadcasts([write.node for write in writes]))
        writes = [Write(array, root) for (array, _), root in zip(writes, roots, strict=True)]
        stages, stored = stages_of(roots, [array for array, _ in writes])
        groups = [in_order(each) for each in ([[root] for root in roots] if apart else [roots])]
        steps = [steps_of_groups(each, groups, stored) for each in stages]
        if threads == 1:  # else each thread would sum its own rows, and the order would change
            stages, steps = with_sums(stages, steps, stored, {id(root) for root in roots})
        steps = [in_chains(with_repeats(each), stored) for each in steps]
        memory = self._memory = Memory(arrays, writes, steps, stored, dtype, given)
        of_rows = {stage.rows for stage in stages if stage.columns > 1}
        # Vectors are divided at cache lines, unless other loops divide the same rows.
        line = BLOCK_BYTES // dtype.itemsize
        self._loops = [
            Loop(stage, own, memory, 1 if stage.rows in of_rows else line, threads, early)
            for stage, own in zip(stages, steps, strict=True)
        ]
        counted = {
            id(node): Write(np.empty(node.shape, dtype), node)
            for count in counts
            for node in (count.positions, count.weights)
        }
        self._counts = [
            [
                *(memory.renewed(counted[id(each)].array) for each in count[:2]),
                memory.renewed(count.sums.data),
            ]
            for count in counts
        ]
        before = [*counted.values()]
        read = [given.get(n, n.data) for n in in_order([w.node for w in before]) if n.op == ARRAY]
        used = [each.array for each in before] + list({id(each): each for each in read}.values())
        self._read_before = [memory.number(each) for each in used]
        self._before = [Lowered(used, before, dtype, threads, given=given)] if counts else []
        copied = [array for copy in memory.copies for array in (copy.array, copy.node.data)]
        self._copied = [memory.number(each) for each in copied]
        self._copies = [Lowered(copied, memory.copies, dtype, threads, early)] if copied else []

    def instructions(self, arrays: Sequence[np.ndarray]) -> list[Instruction]:
        every = self._memory.replaced(arrays)
        addresses = [address(each) for each in every]
        result = list[Instruction]()
        for before in self._before:
            result += before.instructions([every[number] for number in self._read_before])
        for count in self._counts:
            result += additions(*(every[number] for number in count))
        result += [one for loop in self._loops for one in loop.instructions(every, addresses)]
        for copies in self._copies:
            result += copies.instructions([every[number] for number in self._copied])
        return result
