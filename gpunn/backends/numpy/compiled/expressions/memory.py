"""Choose the array that each stored node is computed in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.expressions.steps import Step
from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES
from gpunn.backends.tracing import Write
from gpunn.expressions import ARRAY, NUMBER, SLICES, Node, base_of, is_by_rows, is_source, used


def roots_of(nodes: Sequence[Node]) -> list[Node]:
    """Return nodes with the same elements; copies replace sources, views and repeated nodes."""
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
    """The arrays of nodes: sources, arrays that the operation writes, and temporary arrays.

    A result must not overwrite an array that a later step reads. Such a result is computed in a
    temporary array, and `copies` copies it to the result's own array at the end.
    """

    def __init__(
        self,
        writes: Sequence[Write],
        steps: Sequence[Sequence[Step]],
        stored: set[int],
        dtype: np.dtype,
        given: Mapping[Node, np.ndarray],
    ) -> None:
        self.dtype, self._given = dtype, given
        self.copies: list[Write] = []
        self.temporary: list[tuple[np.ndarray, Node]] = []
        self._arrays: dict[int, np.ndarray] = {}
        self._kept: list[Any] = [steps]  # nodes, so that no other node gets the same id
        unsafe = set(self._too_early(writes, steps))
        for array, node in writes:
            if id(node) in unsafe:
                temporary = self._temporary(node)
                self.copies.append(Write(array, Node(ARRAY, (), node.shape, "float", temporary)))
            else:
                self._arrays[id(node)] = array
        for step in (each for loop in steps for each in loop):
            if id(step.node) in stored and id(step.node) not in self._arrays:
                self._temporary(step.node)

    def _temporary(self, node: Node) -> np.ndarray:
        array = self._arrays[id(node)] = allocated(node, self.dtype)
        self.temporary.append((array, node))
        return array

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

    def _too_early(self, writes: Sequence[Write], steps: Sequence[Sequence[Step]]) -> Iterator[int]:
        computed = {
            id(step.node): (loop, position)
            for loop, own in enumerate(steps)
            for position, step in enumerate(own)
        }
        replaced = {id(array): node for array, node in writes}
        for loop, own in enumerate(steps):
            for position, step in enumerate(own):
                for argument in step.args:
                    source = used(argument)
                    node = replaced.get(id(self.of(source))) if source.op == ARRAY else None
                    if node is None:
                        continue
                    # A step may read the rows that it writes, but no other rows.
                    by_rows = is_by_rows(step.node, argument)
                    when = (loop, position) if by_rows else (loop, len(own))
                    if computed[id(node)] < when:
                        yield id(node)


def allocated(node: Node, dtype: np.dtype) -> np.ndarray:
    """Return an array for a node, with memory for `node.data` (or 0) numbers on both sides."""
    size, margin = math.prod(node.shape), node.data or 0
    return np.empty(size + 2 * margin, dtype)[margin : margin + size].reshape(node.shape)


def constant(node: Node, dtype: np.dtype) -> np.ndarray:
    """Return the elements of a source that isn't an array; a number fills a whole block."""
    if node.op == NUMBER:
        return np.full(BLOCK_BYTES // dtype.itemsize, node.data, dtype)
    if node.op == "interval":
        columns = np.zeros(node.shape, dtype)
        columns[slice(*node.data)] = 1
        return columns
    return np.arange(*node.data).astype(dtype)
