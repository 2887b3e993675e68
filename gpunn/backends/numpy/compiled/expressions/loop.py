"""The instruction of one loop: where its steps read and write."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from gpunn.backends.numpy.compiled import interface
from gpunn.backends.numpy.compiled.conflicts import address
from gpunn.backends.numpy.compiled.expressions.memory import Memory
from gpunn.backends.numpy.compiled.expressions.places import Input, Places
from gpunn.backends.numpy.compiled.expressions.steps import Step
from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES, PLACE_BYTES
from gpunn.backends.numpy.compiled.program import Instruction, sum_rows
from gpunn.expressions import NUMBER, REDUCTIONS, SLICES, Node, Stage, Untraceable, base_of
from gpunn.typing import Shape

TILE = 1024
"""Numbers in a tile: few enough for the cache, but starting a step takes relatively little time."""

FAR = 1 << 20
"""Vectors with at least this many bytes, such as parameters, don't stay in a core's cache. Tiles of
such vectors are smaller, so that the processor can read the next step's tile during a step."""


class Loop:
    """One loop over the rows of arrays, for any arrays of the same shapes.

    The threads divide the rows in multiples of `multiple`.
    """

    def __init__(
        self,
        stage: Stage,
        steps: Sequence[Step],
        memory: Memory,
        multiple: int,
        threads: int,
        early: bool,
    ) -> None:
        self._stage, self._memory, self._multiple = stage, memory, multiple
        self._threads, self._early = threads, early
        rows, columns, itemsize = stage.rows, stage.columns, memory.dtype.itemsize
        lanes = BLOCK_BYTES // itemsize
        unit = lanes // math.gcd(lanes, columns)  # so many rows are whole blocks
        numbers = TILE // 2 if columns == 1 and rows * itemsize >= FAR else TILE
        least = unit if unit * columns <= 4 * TILE else 1
        self._tile = numbers // columns // unit * unit or least
        self._places = Places(-(-min(self._tile, rows) * columns // lanes) * BLOCK_BYTES)
        self._shared: dict[Input, int] = {}  # places of arrays that are only read
        self._current: dict[int, int] = {}  # places of nodes that this loop has computed
        self._free: list[int] = []
        self._arrays: list[np.ndarray] = []
        self._numbers: dict[int, int] = {}  # of arrays, by their ids
        self._reads: dict[int, None] = {}  # numbers of arrays, in order
        self._writes: dict[int, None] = {}
        self._by_rows: dict[int, None] = {}
        self._sums: list[tuple[int, int]] = []  # numbers of the threads' parts, and of their sum
        self._code = self._code_of(steps)
        self._code[:, 1:] *= PLACE_BYTES
        self._once = sum(step.once for step in steps)

    def _code_of(self, steps: Sequence[Step]) -> np.ndarray:
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
            empty = [0] * (interface.OPERANDS - len(operands))
            code.append([step.number, self._result(step), *operands, *empty])
        return np.array(code, np.int64)

    def instructions(self, replaced: Mapping[int, np.ndarray]) -> list[Instruction]:
        # `replaced` maps ids of arrays to the arrays that replace them.
        arrays = [replaced.get(id(each), each) for each in self._arrays]
        for parts, _ in self._sums:
            arrays[parts] = np.empty_like(arrays[parts])
        places = self._places.arguments(self._threads, [address(each) for each in arrays])
        memory, inputs, size, fixed = places
        args: list[int | np.ndarray] = [
            *(self._code, inputs, memory, memory.shape[1], size, len(self._code), self._once),
            *(len(inputs), fixed),
            *(self._stage.rows, self._stage.columns, self._tile, self._multiple),
        ]
        # The first array read isn't a gradient, so no product calls this as its update.
        reads = [self._code, *(arrays[each] for each in self._reads)]
        writes = [arrays[each] for each in self._writes]
        by_rows = [arrays[each] for each in self._by_rows]
        instruction = Instruction("expression", args, reads, writes, by_rows, early=self._early)
        return [instruction, *(sum_rows(arrays[parts], arrays[out]) for parts, out in self._sums)]

    def _number(self, array: np.ndarray) -> int:
        number = self._numbers.setdefault(id(array), len(self._arrays))
        if number == len(self._arrays):
            self._arrays.append(array)
        return number

    def _operand(self, node: Node, argument: Node) -> int:
        base = base_of(argument)
        if id(base) in self._current:
            return self._current[id(base)]
        if base.op == NUMBER:
            number = self._number(self._memory.of(base))
            self._reads[number] = None
            self._current[id(base)] = self._places.at(number)
            return self._current[id(base)]
        shape = node.args[0].shape if node.op in REDUCTIONS else node.shape
        kind, first, columns = kind_of_input(argument.shape, shape), 0, self._stage.columns
        if base.op in SLICES:
            (whole,) = base.args
            first = base.data[0] if base.op == "columns" else -base.data
            array, columns = self._memory.of(base_of(whole)), whole.shape[1]
            if kind not in (interface.SCALAR, interface.MATRIX) or array.dtype.kind == "i":
                raise Untraceable("columns of integers and broadcast columns are not supported")
        else:
            array = self._memory.of(base)
        is_integer = array.dtype.kind == "i"
        if kind == interface.MATRIX and (is_integer or base.op in SLICES):
            kind = interface.STRIDED
        number = self._number(array)
        self._reads[number] = None
        steps = {interface.ROW_VECTOR: 1, interface.MATRIX: columns, interface.STRIDED: columns}
        if kind in steps:
            self._divide(array)
        start, row_bytes = first * array.itemsize, steps.get(kind, 0) * array.itemsize
        given = Input(kind, number, start, row_bytes, is_integer)
        if given not in self._shared:
            self._shared[given] = self._places.input(given)
        return self._shared[given]

    def _result(self, step: Step) -> int:
        node = step.node
        if step.once:
            place = self._places.number()
        elif not self._memory.is_stored(node):
            place = self._free.pop() if self._free else self._places.register()
        elif node.op in REDUCTIONS:
            return self._reduced(node)
        else:
            out = self._memory.of(node)
            number = self._number(out)
            self._writes[number] = None
            self._divide(out)
            row_bytes = self._stage.columns * out.itemsize
            place = self._places.input(Input(interface.MATRIX, number, 0, row_bytes))
        self._current[id(node)] = place
        return place

    def _reduced(self, node: Node) -> int:
        """Return the place of a reduction's result; column sums have a row for each thread."""
        out, thread_bytes = self._memory.of(node), 0
        if node.op == "column_sum" and self._threads > 1:
            parts = np.empty((self._threads, out.size), out.dtype)
            self._sums.append((self._number(parts), self._number(out)))
            out, thread_bytes = parts, parts.strides[0]
        elif node.op != "column_sum":
            self._divide(out)
        self._writes[self._number(out)] = None
        return self._places.at(self._number(out), thread_bytes)

    def _divide(self, array: np.ndarray) -> None:
        if self._multiple == 1 and array.shape[:1] == (self._stage.rows,):
            self._by_rows[self._number(array)] = None


def kind_of_input(shape: Shape, whole: Shape) -> int:
    if math.prod(shape) == 1:
        return interface.SCALAR
    padded = (1,) * (len(whole) - len(shape)) + shape
    if padded == whole:
        return interface.MATRIX
    if padded[0] == 1 and padded[1:] == whole[1:]:
        return interface.COLUMN_VECTOR
    if padded[0] == whole[0] and math.prod(padded[1:]) == 1:
        return interface.ROW_VECTOR
    raise Untraceable(f"broadcasting {shape} to {whole} is not supported")
