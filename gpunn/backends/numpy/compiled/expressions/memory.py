"""Choose an array for the result of each stored node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.expressions.steps import Step
from gpunn.backends.numpy.compiled.interface import CHUNK_BYTES
from gpunn.backends.numpy.memory import zeros
from gpunn.backends.tracing import Write
from gpunn.expressions import ARRAY, NUMBER, SLICES, Node, base_of, is_by_rows, is_source, used
from gpunn.expressions.graph import JOINED
from gpunn.typing import Shape


def roots_of(nodes: Sequence[Node]) -> list[Node]:
    """Return the base of each node, or a copy of the node.

    A node is copied if the node's base is a source, a slice, or the base of an earlier node.
    """
    result: list[Node] = []
    taken = set[int]()
    for node in nodes:
        base = base_of(node)
        if is_source(base) or base.op in SLICES or id(base) in taken:
            base = Node("copy", (node,), node.shape, "float")
        taken.add(id(base))
        result.append(base)
    return result


class Memory:
    """Maps nodes to arrays: sources, arrays that the operation writes, and temporary arrays.

    A result must not overwrite an array that a later step still reads. Such a result is first
    stored elsewhere. If other loops, or steps for other rows, read the array or the result,
    `copies` copy the result to the array at the end. Otherwise, the last step of the result's loop
    copies the result.
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray],
        writes: Sequence[Write],
        steps: Sequence[list[Step]],
        stored: set[int],
        dtype: np.dtype,
        given: Mapping[Node, np.ndarray],
    ) -> None:
        self.dtype, self._given = dtype, given
        self.arrays: list[np.ndarray] = []
        self._numbers: dict[int, int] = {}  # of arrays, by their ids
        for each in arrays:
            self.number(each)
        self.copies: list[Write] = []
        self._temporary: dict[int, Shape] = {}
        self._arrays: dict[int, np.ndarray] = {}
        self._kept: list[Any] = [steps]  # nodes, so that no other node gets the same id
        loops = {id(step.node): own for own in steps for step in own}
        early, apart = self._too_early(writes, steps)
        for array, node in writes:
            if id(node) in early & apart:
                temporary = self._allocate(node)
                self.copies.append(Write(array, Node(ARRAY, (), node.shape, "float", temporary)))
            elif id(node) in early:
                last = Step(Node("copy", (node,), node.shape, "float"), "copy", (node,), False)
                loops[id(node)].append(last)
                stored.remove(id(node))
                self._arrays[id(last.node)] = array
            else:
                self._arrays[id(node)] = array
        for step in (each for loop in steps for each in loop):
            if id(step.node) in stored and id(step.node) not in self._arrays:
                self._allocate(step.node)

    def number(self, array: np.ndarray) -> int:
        number = self._numbers.setdefault(id(array), len(self.arrays))
        if number == len(self.arrays):
            self.arrays.append(array)
        return number

    def temporary(self, shape: Shape) -> int:
        return self.renewed(np.empty(shape, self.dtype))

    def renewed(self, array: np.ndarray) -> int:
        number = self.number(array)
        self._temporary[number] = array.shape
        return number

    def _allocate(self, node: Node) -> np.ndarray:
        number = self.temporary(node.shape)
        array = self._arrays[id(node)] = self.arrays[number]
        return array

    def replaced(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        result = [*arrays, *self.arrays[len(arrays) :]]
        for number, shape in self._temporary.items():
            result[number] = zeros(shape, self.dtype.name)
        return result

    def is_stored(self, node: Node) -> bool:
        return id(node) in self._arrays

    def of(self, node: Node) -> np.ndarray:
        if node.op == ARRAY:
            array: np.ndarray = self._given.get(node, node.data)
            return array
        if id(node) not in self._arrays:
            self._kept.append(node)
            self._arrays[id(node)] = constant(node, self.dtype)
        return self._arrays[id(node)]

    def _too_early(
        self, writes: Sequence[Write], steps: Sequence[Sequence[Step]]
    ) -> tuple[set[int], set[int]]:
        computed = {
            id(step.node): (loop, position)
            for loop, own in enumerate(steps)
            for position, step in enumerate(own)
        }
        replaced = {id(array): node for array, node in writes}
        early, apart = set[int](), set[int]()
        for loop, own in enumerate(steps):
            for position, step in enumerate(own):
                for argument in step.args:
                    source = used(argument)
                    if computed.get(id(source), (loop,))[0] != loop:
                        apart.add(id(source))
                    node = replaced.get(id(self.of(source))) if source.op == ARRAY else None
                    if node is None:
                        continue
                    # A step may read the rows that it writes, but no other rows. A sum of all rows
                    # changes with each tile.
                    by_rows = is_by_rows(step.node, argument) and node.op != "column_sum"
                    # A concatenation writes its first columns before it reads other columns.
                    read = position + (step.function == JOINED)
                    when = (loop, read) if by_rows else (loop, len(own))
                    if computed[id(node)] < when:
                        early.add(id(node))
                    if not by_rows or computed[id(node)][0] != loop:
                        apart.add(id(node))
        return early, apart


def constant(node: Node, dtype: np.dtype) -> np.ndarray:
    """Return an array of a constant node's elements.

    For a single number, the array repeats the number and has `CHUNK_BYTES` bytes.
    """
    if node.op == NUMBER:
        return np.full(CHUNK_BYTES // dtype.itemsize, node.data, dtype)
    if node.op == "interval":
        columns = np.zeros(node.shape, dtype)
        columns[slice(*node.data)] = 1
        return columns
    if node.op == "constants":
        return np.array(node.data, dtype).reshape(node.shape)
    return np.arange(*node.data).astype(dtype)
