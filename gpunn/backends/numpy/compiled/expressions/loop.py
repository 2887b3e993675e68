"""The instruction of one loop: where its steps read and write."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpunn.backends.numpy.compiled import interface
from gpunn.backends.numpy.compiled.expressions.memory import Memory
from gpunn.backends.numpy.compiled.expressions.places import Input, Places
from gpunn.backends.numpy.compiled.expressions.steps import Step
from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES, PLACE_BYTES
from gpunn.backends.numpy.compiled.program import Instruction, address
from gpunn.backends.numpy.compiled.sums import sum_rows
from gpunn.expressions import NUMBER, REDUCTIONS, SLICES, Node, Stage, Untraceable, base_of
from gpunn.typing import Shape

__all__ = ["Loop"]

TILE = 1024
"""Numbers in a tile: few enough for the cache, and enough that a step's dispatch costs little."""


class Loop:
    """A stage as an instruction of the kernel `expression`.

    The threads divide the rows in multiples of `multiple`.
    """

    def __init__(
        self, stage: Stage, memory: Memory, multiple: int, threads: int, early: bool
    ) -> None:
        self._stage, self._memory, self._multiple = stage, memory, multiple
        self._threads, self._early = threads, early
        rows, columns, itemsize = stage.rows, stage.columns, memory.dtype.itemsize
        lanes = BLOCK_BYTES // itemsize
        unit = lanes // math.gcd(lanes, columns)  # so many rows are whole blocks
        self._tile = TILE // columns // unit * unit or (unit if unit * columns <= 4 * TILE else 1)
        self._places = Places(-(-min(self._tile, rows) * columns // lanes) * BLOCK_BYTES)
        self._shared: dict[Input, int] = {}  # places of arrays that are only read
        self._current: dict[int, int] = {}  # places of nodes that this loop has computed
        self._free: list[int] = []
        self._reads: list[np.ndarray] = []
        self._writes: list[np.ndarray] = []
        self._by_rows: list[np.ndarray] = []
        self._sums: list[Instruction] = []

    def instructions(self, steps: Sequence[Step]) -> list[Instruction]:
        """Return the loop's instruction, and the sums of the threads' parts of column sums."""
        last_use = {id(base_of(each)): k for k, step in enumerate(steps) for each in step.args}
        registers: set[int] = set()
        code: list[list[int]] = []
        for k, step in enumerate(steps):
            operands = [self._operand(step.node, each) for each in step.args]
            for key in {id(base_of(each)) for each in step.args} & registers:
                if last_use[key] == k:
                    registers.remove(key)
                    self._free.append(self._current.pop(key))
            if not step.once and not self._memory.is_stored(step.node):
                registers.add(id(step.node))
            code.append([step.number, self._result(step), *operands, 0, 0][:5])
        return [self._instruction(code, sum(step.once for step in steps)), *self._sums]

    def _operand(self, node: Node, argument: Node) -> int:
        """Return the place of a step's argument."""
        base = base_of(argument)
        if id(base) in self._current:
            return self._current[id(base)]
        if base.op == NUMBER:
            array = self._memory.of(base)
            self._note(self._reads, array)
            self._current[id(base)] = self._places.at(address(array))
            return self._current[id(base)]
        shape = node.args[0].shape if node.op in REDUCTIONS else node.shape
        kind, first, columns = kind_of(argument.shape, shape), 0, self._stage.columns
        if base.op in SLICES:
            (whole,) = base.args
            first = base.data[0] if base.op == "columns" else -base.data
            array, columns = self._memory.of(base_of(whole)), whole.shape[1]
            if kind not in (interface.SCALAR, interface.MATRIX) or array.dtype.kind == "i":
                raise Untraceable("columns of integers, or columns that are broadcast")
        else:
            array = self._memory.of(base)
        is_integer = array.dtype.kind == "i"
        if kind == interface.MATRIX and (is_integer or base.op in SLICES):
            kind = interface.STRIDED
        self._note(self._reads, array)
        steps = {interface.ROW_VECTOR: 1, interface.MATRIX: columns, interface.STRIDED: columns}
        if kind in steps:
            self._divide(array)
        start, row_bytes = address(array) + first * array.itemsize, steps.get(kind, 0)
        given = Input(kind, start, row_bytes * array.itemsize, is_integer)
        if given not in self._shared:
            self._shared[given] = self._places.input(given)
        return self._shared[given]

    def _result(self, step: Step) -> int:
        """Return the place that a step writes to."""
        node = step.node
        if step.once:
            place = self._places.number()
        elif not self._memory.is_stored(node):
            place = self._free.pop() if self._free else self._places.register()
        elif node.op in REDUCTIONS:
            return self._reduced(node)
        else:
            out = self._memory.of(node)
            self._note(self._writes, out)
            self._divide(out)
            row_bytes = self._stage.columns * out.itemsize
            place = self._places.input(Input(interface.MATRIX, address(out), row_bytes))
        self._current[id(node)] = place
        return place

    def _reduced(self, node: Node) -> int:
        """Return the place of a reduction's result, which has a row for each thread if needed."""
        out, thread_bytes = self._memory.of(node), 0
        if node.op == "column_sum" and self._threads > 1:
            parts = np.empty((self._threads, out.size), out.dtype)
            self._sums.append(sum_rows(parts, out))
            out, thread_bytes = parts, parts.strides[0]
        elif node.op != "column_sum":
            self._divide(out)
        self._writes.append(out)
        return self._places.at(address(out), thread_bytes)

    def _divide(self, array: np.ndarray) -> None:
        """Note that threads divide an array by rows."""
        if self._multiple == 1 and array.shape[:1] == (self._stage.rows,):
            self._note(self._by_rows, array)

    def _note(self, arrays: list[np.ndarray], array: np.ndarray) -> None:
        if not any(array is each for each in arrays):
            arrays.append(array)

    def _instruction(self, steps: list[list[int]], once: int) -> Instruction:
        code = np.array(steps, np.int64)
        code[:, 1:] *= PLACE_BYTES
        memory, inputs, size, fixed = self._places.arguments(self._threads)
        args: list[int | np.ndarray] = [
            *(code, inputs, memory, memory.shape[1], size, len(code), once, len(inputs), fixed),
            *(self._stage.rows, self._stage.columns, self._tile, self._multiple),
        ]
        # The first array read isn't a gradient, so no product calls this as its update.
        reads, writes = [code, inputs, *self._reads], [*self._writes, memory]
        return Instruction("expression", args, reads, writes, self._by_rows, early=self._early)


def kind_of(shape: Shape, whole: Shape) -> int:
    """Return the kind of input that broadcasts an array to a loop's shape."""
    if math.prod(shape) == 1:
        return interface.SCALAR
    padded = (1,) * (len(whole) - len(shape)) + shape
    if padded == whole:
        return interface.MATRIX
    if padded[0] == 1 and padded[1:] == whole[1:]:
        return interface.COLUMN_VECTOR
    if padded[0] == whole[0] and math.prod(padded[1:]) == 1:
        return interface.ROW_VECTOR
    raise Untraceable(f"broadcasting of {shape} to {whole}")
