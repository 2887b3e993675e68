"""One loop over rows as an instruction, which states where each step reads and writes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpunn.backends.numpy.compiled import interface
from gpunn.backends.numpy.compiled.conflicts import address
from gpunn.backends.numpy.compiled.expressions.chains import COPIES, operations_of, readers_of
from gpunn.backends.numpy.compiled.expressions.memory import Memory
from gpunn.backends.numpy.compiled.expressions.places import Input, Places
from gpunn.backends.numpy.compiled.expressions.repeats import (
    has_one_each,
    is_repeated,
    table_of,
)
from gpunn.backends.numpy.compiled.expressions.steps import SUM, Step, kind_of_input
from gpunn.backends.numpy.compiled.interface import (
    BLOCK_BYTES,
    CHAINED,
    CHUNK_BYTES,
    LAST,
    NOWHERE,
    ONE_EACH,
    OPERATION_BYTES,
    OPERATIONS,
    REGISTERS,
    REPEATED,
    STEP_BYTES,
    WORD_BYTES,
)
from gpunn.backends.numpy.compiled.program import Instruction, sum_rows
from gpunn.expressions import ARRAY, NUMBER, Node, Stage, Untraceable, base_of, used
from gpunn.expressions.graph import CONTRACTED, JOINED, is_scalar
from gpunn.expressions.integers import BY_INTEGERS
from gpunn.expressions.stages import domain_of, rows_and_columns
from gpunn.typing import Shape

TILE = 1024
"""Numbers in a tile: few enough for the cache, and enough that starting a step costs little."""

FAR = 1 << 20
"""Vectors of at least this many bytes, such as parameters, don't stay in a core's cache. So tiles
are smaller: the processor reads the next tile from memory while it computes."""

COPY_LAST, COPY_REPEATED, COPY_ONE_EACH = (
    OPERATIONS.index(("copy", kind)) for kind in (LAST, REPEATED, ONE_EACH)
)


class Loop:
    """A loop over rows. Threads divide the rows at multiples of `multiple`."""

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
        lanes = CHUNK_BYTES // itemsize
        unit = lanes // math.gcd(lanes, columns)  # so many rows are whole chunks
        numbers = TILE // 2 if columns == 1 and rows * itemsize >= FAR else TILE
        self._numbers = self._chains(steps)
        if any(step.function == CONTRACTED for step in steps):  # it computes a block of rows
            numbers = max(numbers, BLOCK_BYTES // itemsize * columns)
        if self._is_one_chain:  # it reads and writes all arrays chunk by chunk
            numbers = max(numbers, (rows + unit) * columns)
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
        self._operations = [operation(0)]  # at least one, so that they have an address
        self._tables: list[tuple[int, np.ndarray]] = []  # by the numbers of operations
        # What the last operation of this chain has computed, and what other registers keep.
        self._last: Node | None = None
        self._kept: Node | None = None
        self._read_until = 0  # the last step that reads what they keep
        self._add(steps)
        self._all_code = np.array(self._before + self._code, np.int64)
        self._all_operations = self._with_tables()
        self._layout = self._places.layout(threads)
        self._divided = [number for number in self._by_rows if number not in self._whole]

    def _add(self, steps: Sequence[Step]) -> None:
        chains, readers = self._numbers, readers_of(steps)
        registers: dict[int, int] = {}  # the columns of nodes in registers
        first, sums = len(self._operations), list[list[int]]()  # of the chain
        for k, step in enumerate(steps):
            chain, read = chains[k], readers.get(id(step.node), [])
            operands = self._operate(step) if chain else self._operands(step)
            read_here = {id(used(each)) for each in step.args} & registers.keys()
            unread = [key for key in read_here if readers[key][-1] == k]
            freed = [(registers.pop(key), self._current.pop(key)) for key in unread]
            # Columns of rows aren't joined in place: other columns would be overwritten first.
            later = freed if step.function == JOINED else []
            for size, place in freed if not later else []:
                self._free.setdefault(size, []).append(place)
            is_stored = self._memory.is_stored(step.node)
            # Between the operations of one chain, registers or memory for a chunk are enough.
            is_inner = chain > 0 and not is_stored and {chains[each] for each in read} == {chain}
            is_next = is_inner and read == [*range(k + 1, k + 1 + len(read))]
            is_next = is_next and all(steps[each].function == SUM for each in read[:-1])
            self._last = last_of(step) if chain else None
            if step.function == SUM:
                place = self._operations[-1][2]
                sums.append(record(step.number, 1, self._result(step, 1), place))
            elif is_inner and not is_next and self._is_kept(k, steps, read):
                self._operations[-1][1] = REGISTERS
            elif not is_next:
                columns = 0 if is_inner else columns_of(step.node.shape)
                if not step.once and not is_stored:
                    registers[id(step.node)] = columns
                result = self._result(step, columns)
                if chain:
                    self._operations[-1][1] = result
                else:
                    self._run(step, result, operands)
            for size, place in later:
                self._free.setdefault(size, []).append(place)
            if chain != chains[k + 1]:
                self._last, stop = None, len(self._operations)
                if chain:
                    code = record(interface.CHAIN, self._columns(step), 0, 0, first, stop)
                    self._code_of(step).append(code)
                self._code += sums
                first, sums = stop, []

    def _with_tables(self) -> np.ndarray:
        """Return the records of all operations, then the tables that some of them read."""
        operations = np.array(self._operations, np.int64)
        parts, at = [operations], dict[int, int]()
        for number, table in self._tables:
            if id(table) not in at:
                at[id(table)] = sum(map(len, parts))
                parts.append(table)
            operations[number, 3] = (at[id(table)] - number) * OPERATION_BYTES
        return np.concatenate(parts)

    def _repeat(self, step: Step) -> None:
        """Add an operation that copies each row's number to all columns."""
        (argument,), columns = step.args, columns_of(step.node.shape)
        table = table_of(self._tile_rows, columns, self._itemsize)
        self._tables.append((len(self._operations), table))
        place = self._input(step.node, argument, interface.MATRIX, 1)
        index = COPY_ONE_EACH if has_one_each(columns, self._itemsize) else COPY_REPEATED
        words = self._itemsize // WORD_BYTES
        self._operations.append(operation(index, place, 0, words))

    def _is_repeated(self, step: Step) -> bool:
        is_copy = step.function == "copy" and not step.once
        return is_copy and is_repeated(step.args[0], step.node.shape)

    def _operate(self, step: Step) -> list[int]:
        if self._is_repeated(step):
            self._repeat(step)
            return []
        for index, args in operations_of(step, self._last, self._kept):
            is_copy = index == COPY_LAST and self._operations[-1][1] == NOWHERE
            if not is_copy:
                places = [self._operand(step.node, each) for each in args]
                self._operations.append(operation(index, *places))
        if step.function == SUM:
            self._operations[-1][2] = self._places.number()
        return []

    def _is_kept(self, k: int, steps: Sequence[Step], read: Sequence[int]) -> bool:
        """Try to keep the result of step k in registers until step read[-1]."""
        node = steps[k].node
        every = [operations_of(steps[each], last_of(steps[each - 1]), node) for each in read]
        from_memory = [used(each) for one in every for _, args in one for each in args]
        if self._read_until > k or any(each is node for each in from_memory):
            return False
        self._kept, self._read_until = node, read[-1]
        return True

    def _code_of(self, step: Step) -> list[list[int]]:
        return self._before if step.once else self._code

    @staticmethod
    def _columns(step: Step) -> int:
        shape = base_of(step.args[0]).shape if step.function == SUM else domain_of(step.node)
        return 0 if step.once else columns_of(shape)

    def _chains(self, steps: Sequence[Step]) -> list[int]:
        """Return the chain number of each step, then a 0. Steps outside chains have number 0."""
        result, copied, before = [0], set[tuple[int, int, int]](), None
        for step in steps:
            own = {
                (id(base_of(each)), kind, columns_of(domain_of(step.node, each)))
                for each in step.args
                if (kind := self._kind_of_copy(step.node, each)) is not None
                and not self._is_repeated(step)
            }
            new = {each for each in own - copied if each[1] != interface.COLUMN_VECTOR}
            copied |= own
            if own if step.function in COPIES else step.function not in CHAINED:
                result.append(0)
            elif result[-1] and (step.once, self._columns(step)) == before and not new:
                result.append(result[-1])
            else:
                result.append(max(result) + 1)
            before = step.once, self._columns(step)
        numbers = {number for number, step in zip(result[1:], steps, strict=True) if not step.once}
        self._is_one_chain = len(numbers) == 1 and numbers != {0} and not copied
        self._is_one_chain &= not any(map(self._is_repeated, steps))  # a table has a tile's numbers
        return [*result[1:], 0]

    def _operands(self, step: Step) -> list[int]:
        if step.function in COPIES:
            return self._copy_of(step.node, step.args[0]) or []
        if step.function == JOINED:
            return [self._part(step.node, each) for each in step.args]
        return [self._operand(step.node, each) for each in step.args]

    def _contraction(self, step: Step) -> tuple[int, int]:
        """Append a contraction's axes to `_operations`; return (index of axes, place of memory)."""
        first, rest = len(self._operations), OPERATION_BYTES // 8
        widths = [0 if is_scalar(each) else each.shape[-1] for each in step.args]
        words = [*widths, *(number for axis in step.node.data for number in axis)]
        words += [0] * (-len(words) % rest)
        self._operations += [words[k : k + rest] for k in range(0, len(words), rest)]
        size = (sum(widths) + step.node.shape[1]) * BLOCK_BYTES
        return first, self._places.register(size)

    def _part(self, node: Node, argument: Node) -> int:
        if not self._is_slice(argument):
            return self._operand(node, argument)
        width = base_of(argument).args[0].shape[1]
        return self._input(node, argument, interface.MATRIX, width)

    @staticmethod
    def _is_slice(argument: Node) -> bool:
        """Return whether an argument of PUT selects columns of an array that is not of integers."""
        return base_of(argument).op == "columns" and used(argument).kind != "int"

    def _run(self, step: Step, result: int, operands: Sequence[int]) -> None:
        columns, code = self._columns(step), self._code_of(step)
        if step.function == CONTRACTED:
            operands = [*operands, *self._contraction(step)]
        if step.function != JOINED:
            code.append(record(step.number, columns, result, *operands))
            return
        for each, start, place in zip(step.args, step.node.data, operands, strict=True):
            base, width = base_of(each), columns_of(each.shape)
            source = base.args[0].shape[1] if self._is_slice(each) else width, first_of(base)
            given = (number * self._itemsize for number in (*source, start, columns))
            code.append(record(interface.PUT, width, result, place, *given))

    def instructions(
        self, arrays: Sequence[np.ndarray], addresses: Sequence[int]
    ) -> list[Instruction]:
        # The arrays have the numbers of the loop's `Memory`.
        code, layout = self._all_code, self._layout
        memory = layout.memory(addresses)
        args: list[int | np.ndarray] = [
            *(code, address(memory) + layout.begin_of_inputs, memory, layout.thread_bytes),
            *(layout.table_bytes, len(code), len(self._before), layout.inputs, layout.numbers),
            *(self._stage.rows, self._tile, self._multiple, self._all_operations),
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

    def _kind_of_copy(self, node: Node, argument: Node) -> int | None:
        """If COPY must expand the argument to a matrix, return the argument's kind, else None."""
        kind, source = kind_of_input(argument.shape, domain_of(node, argument)), used(argument)
        is_plain = base_of(argument) is source and not self._integer(node, source)
        is_used = kind == interface.SCALAR or (kind == interface.MATRIX and is_plain)
        return None if is_used else kind

    def _copy_of(self, node: Node, argument: Node) -> list[int] | None:
        """Return the operands of the COPY that expands `argument`, or None if no copy is needed."""
        kind = self._kind_of_copy(node, argument)
        if kind is None:
            return None
        domain, base, source = domain_of(node, argument), base_of(argument), used(argument)
        is_slice, integer = base is not source, self._integer(node, source)
        is_integer = integer != 0
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

    def _result(self, step: Step, columns: int) -> int:
        """Return the place of a step's result."""
        node = step.node
        if step.once:
            place = self._places.number()
        elif not self._memory.is_stored(node):
            free, size = self._free.get(columns), self._tile_rows * columns * self._itemsize
            new = self._places.register if columns else lambda size: self._places.number()
            place = free.pop() if free else new(size)
        elif node.op == "column_sum" or step.function == SUM:
            return self._sum(node)
        else:
            number = self._memory.number(self._memory.of(node))
            self._writes[number] = None
            self._divide(number)
            place = self._places.input(
                Input(True, number, 0, columns_of(node.shape) * self._itemsize, is_result=True)
            )
        self._current[id(node)] = place
        return place

    def _sum(self, node: Node) -> int:
        """Return the place of a sum over rows; each thread sums some rows, in separate memory."""
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


def last_of(step: Step) -> Node:
    """Return the node that a step of a chain leaves in registers.

    For SUM, this node is the argument that is summed. Otherwise, this node is the step's result.
    """
    return base_of(step.args[0]) if step.function == SUM else step.node


def record(*numbers: int) -> list[int]:
    return [*numbers, *[0] * (STEP_BYTES // 8 - len(numbers))]


def operation(index: int, *places: int) -> list[int]:
    """Return the numbers that encode an operation whose result only the next operation reads."""
    return [index, NOWHERE, *places, *[0] * (OPERATION_BYTES // 8 - 2 - len(places))]


def columns_of(shape: Shape) -> int:
    return rows_and_columns(shape)[1]


def first_of(base: Node) -> int:
    return int(base.data[0]) if base.op == "columns" else 0
