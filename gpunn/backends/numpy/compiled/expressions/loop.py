"""One loop over rows, as an instruction: it states where each step reads and writes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpunn.backends.numpy.compiled import interface
from gpunn.backends.numpy.compiled.conflicts import address
from gpunn.backends.numpy.compiled.expressions.memory import Memory
from gpunn.backends.numpy.compiled.expressions.places import Input, Places
from gpunn.backends.numpy.compiled.expressions.steps import Step, kind_of_input
from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES, STEP_BYTES
from gpunn.backends.numpy.compiled.program import Instruction, sum_rows
from gpunn.expressions import ARRAY, NUMBER, Node, Stage, Untraceable, base_of, used
from gpunn.expressions.graph import JOINED
from gpunn.expressions.integers import BY_INTEGERS
from gpunn.expressions.stages import domain_of, rows_and_columns
from gpunn.typing import Shape

TILE = 1024
"""Numbers in a tile: few enough for the cache, and enough that starting a step costs little."""

FAR = 1 << 20
"""Vectors of at least this many bytes, such as parameters, don't stay in a core's cache. Their
tiles are smaller, so that the processor reads the next tile from memory while it computes."""

COPIES = ("copy", *BY_INTEGERS)
"""Functions that copy numbers. A copy of integers also computes their quotients or remainders."""


class Loop:
    """A loop over rows, for any arrays of the same shapes. `multiple` divides a thread's rows."""

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
        self._itemsize = memory.dtype.itemsize
        rows, columns, itemsize = stage.rows, stage.columns, self._itemsize
        lanes = BLOCK_BYTES // itemsize
        unit = lanes // math.gcd(lanes, columns)  # this number of rows fills whole blocks
        numbers = TILE // 2 if columns == 1 and rows * itemsize >= FAR else TILE
        least = unit if unit * columns <= 4 * TILE else 1
        own_rows = max(1, -(-rows // threads))
        tiles = -(-own_rows // (numbers // columns // unit * unit or least))
        self._tile = -(-own_rows // (tiles * least)) * least  # all tiles are about equal
        self._tile_rows = min(self._tile, rows)
        self._places = Places()
        self._shared: dict[Input, int] = {}  # places of arrays that are only read
        self._copies: dict[tuple[int, int, int], int] = {}  # places of copied arguments
        self._current: dict[int, int] = {}  # places of nodes that this loop has computed
        self._free: dict[int, list[int]] = {}  # registers that are not used any more, by columns
        self._reads: dict[int, None] = {}  # numbers of arrays, in order
        self._writes: dict[int, None] = {}
        self._by_rows: dict[int, None] = {}
        self._whole: set[int] = set()  # arrays of which each thread reads all elements
        self._sums: list[tuple[int, int]] = []  # numbers of the threads' parts, and of their sum
        self._before: list[list[int]] = []  # the code that runs once
        self._code: list[list[int]] = []
        self._computed: list[Node | None] = []  # the node of each record in `_code`
        self._add(steps)
        self._all_code = np.array(self._before + self._code, np.int64)
        self._layout = self._places.layout(threads)
        self._divided = [number for number in self._by_rows if number not in self._whole]

    def _add(self, steps: Sequence[Step]) -> None:
        last_use = {id(used(each)): k for k, step in enumerate(steps) for each in step.args}
        registers: dict[int, int] = {}  # the columns of nodes in registers
        for k, step in enumerate(steps):
            is_copy = step.function in COPIES
            copied = self._copy_of(step.node, step.args[0]) if is_copy else None
            operands = copied or [
                self._operand(step.node, each) for each in step.args[: 1 if is_copy else None]
            ]
            for key in {id(used(each)) for each in step.args} & registers.keys():
                if last_use[key] == k:
                    self._free.setdefault(registers.pop(key), []).append(self._current.pop(key))
            if not step.once and not self._memory.is_stored(step.node):
                registers[id(step.node)] = columns_of(step.node.shape)
            columns = 0 if step.once else columns_of(domain_of(step.node))
            code, result = self._before if step.once else self._code, self._result(step)
            if step.function == JOINED:
                width = columns * self._itemsize
                for each, start, place in zip(step.args, step.node.data, operands, strict=True):
                    given = place, width, start * self._itemsize
                    code.append(record(interface.PUT, columns_of(each.shape), result, *given))
            else:
                function = interface.COPY if copied else step.number
                code.append(record(function, columns, result, *operands))
            if not step.once:
                self._computed += [None] * (len(code) - 1 - len(self._computed)) + [step.node]
                self._attach(step)

    def _attach(self, step: Step) -> None:
        """Attach the steps before a step, unless a copy of an argument is between them."""
        first = len(self._code) - 1 - len(step.attached)
        if step.attached and self._computed[first:-1] == [each.node for each in step.attached]:
            *others, own = self._code[first:]
            own[-1] = sum(1 << interface.MEANS.index(each.function) for each in step.attached)
            self._code[first:] = [own, *([interface.ATTACHED, *each[1:]] for each in others)]

    def instructions(
        self, arrays: Sequence[np.ndarray], addresses: Sequence[int]
    ) -> list[Instruction]:
        # The arrays have the numbers of the loop's `Memory`.
        code, layout = self._all_code, self._layout
        memory = layout.memory(addresses)
        args: list[int | np.ndarray] = [
            *(code, address(memory) + layout.begin_of_inputs, memory, layout.thread_bytes),
            *(layout.table_bytes, len(code), len(self._before), layout.inputs, layout.numbers),
            *(self._stage.rows, self._tile, self._multiple),
        ]
        # The first array read isn't a gradient, so no product calls this as its update.
        reads = [code, *[arrays[each] for each in self._reads]]
        writes = [arrays[each] for each in self._writes]
        by_rows = [arrays[each] for each in self._divided]
        instruction = Instruction("expression", args, reads, writes, by_rows, early=self._early)
        return [instruction, *[sum_rows(arrays[parts], arrays[out]) for parts, out in self._sums]]

    def _operand(self, node: Node, argument: Node) -> int:
        domain = domain_of(node, argument)
        columns, copied = columns_of(domain), self._copy_of(node, argument)
        if copied is None:
            return self._input(node, argument, kind_of_input(argument.shape, domain), columns)
        key = id(base_of(argument)), copied[1], columns
        if key not in self._copies:
            self._copies[key] = self._places.register(self._tile_rows * columns * self._itemsize)
            # Without bytes from row to row, all tiles share the rows.
            code = self._code if copied[1] else self._before
            code.append(record(interface.COPY, columns, self._copies[key], *copied))
        return self._copies[key]

    def _copy_of(self, node: Node, argument: Node) -> list[int] | None:
        """Return the operands of the function COPY, or None if the argument needs no copy."""
        domain, base = domain_of(node, argument), base_of(argument)
        kind = kind_of_input(argument.shape, domain)
        source = used(argument)
        is_slice = base is not source
        integer = self._integer(node, source)
        is_integer = integer != 0
        if kind == interface.SCALAR or (kind == interface.MATRIX and not is_slice | is_integer):
            return None
        if is_slice and (is_integer or kind == interface.COLUMN_VECTOR):
            raise Untraceable("slices of integer columns or of one broadcast row are not supported")
        itemsize, columns = 8 if is_integer else self._itemsize, 1
        if is_slice:
            columns = base.args[0].shape[1]
        elif kind == interface.MATRIX:
            columns = columns_of(domain)
        return [
            self._input(node, argument, kind, columns),
            0 if kind == interface.COLUMN_VECTOR else columns * itemsize,
            0 if kind == interface.ROW_VECTOR else itemsize,
            first_of(base) * itemsize,
            integer,
        ]

    def _integer(self, node: Node, source: Node) -> int:
        if source.op != ARRAY or self._memory.of(source).dtype.kind != "i":
            return 0
        if node.op not in BY_INTEGERS:
            return 1
        divisor = int(node.args[1].data)
        return divisor if node.op == "remainder" else -divisor

    def _input(self, node: Node, argument: Node, kind: int, columns: int) -> int:
        source = used(argument)
        if id(source) in self._current:
            return self._current[id(source)]
        array = self._memory.of(source)
        number = self._memory.number(array)
        self._reads[number] = None
        if source.op == NUMBER:
            self._current[id(source)] = self._places.at(number)
            return self._current[id(source)]
        if kind == interface.COLUMN_VECTOR:
            self._whole.add(number)
            return self._places.at(number)
        if kind == interface.SCALAR:
            self._whole.add(number)
            start = first_of(base_of(argument)) * array.itemsize
            given = Input(False, number, start, 0, self._integer(node, source))
        else:
            self._divide(number)
            given = Input(True, number, 0, columns * array.itemsize)
        if given not in self._shared:
            self._shared[given] = self._places.input(given)
        return self._shared[given]

    def _result(self, step: Step) -> int:
        node = step.node
        if step.once:
            place = self._places.number()
        elif not self._memory.is_stored(node):
            columns = columns_of(node.shape)
            free = self._free.get(columns)
            size = self._tile_rows * columns * self._itemsize
            place = free.pop() if free else self._places.register(size)
        elif node.op == "column_sum":
            return self._column_sum(node)
        else:
            number = self._memory.number(self._memory.of(node))
            self._writes[number] = None
            self._divide(number)
            place = self._places.input(
                Input(True, number, 0, columns_of(node.shape) * self._itemsize)
            )
        self._current[id(node)] = place
        return place

    def _column_sum(self, node: Node) -> int:
        """Return the place of a sum over rows; each thread sums its rows into its own memory."""
        out, thread_bytes = self._memory.of(node), 0
        number = self._memory.number(out)
        if self._threads > 1:
            parts = self._memory.temporary((self._threads, out.size))
            self._sums.append((parts, number))
            number, thread_bytes = parts, out.nbytes
        self._writes[number] = None
        return self._places.at(number, thread_bytes)

    def _divide(self, number: int) -> None:
        rows = self._memory.arrays[number].shape[:1]
        if self._multiple == 1 and rows == (self._stage.rows,):
            self._by_rows[number] = None


def record(*numbers: int) -> list[int]:
    return [*numbers, *[0] * (STEP_BYTES // 8 - len(numbers))]


def columns_of(shape: Shape) -> int:
    return rows_and_columns(shape)[1]


def first_of(base: Node) -> int:
    return int(base.data[0]) if base.op == "columns" else 0
