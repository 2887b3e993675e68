"""Programs: tables of instructions that threads run without returning to Python."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, groupby
from typing import Any, NamedTuple

import numpy as np

from gpunn.backends.numpy.compiled import interface
from gpunn.backends.numpy.compiled.conflicts import Extent, Uses, address, extent
from gpunn.backends.numpy.compiled.interface import FIRST_ARG, ROW_SIZE
from gpunn.backends.numpy.compiled.library import loaded_library
from gpunn.backends.numpy.compiled.team import Table, team
from gpunn.backends.numpy.subnormals import FLUSHED
from gpunn.typing import Array


class Cell(NamedTuple):
    row: np.ndarray
    column: int
    argument: int
    offset: int
    """Bytes from the beginning of the argument's memory to the cell's address."""


CACHED = 1 << 20
"""Maximum bytes that the instructions of a group read and write for one piece."""

DTYPES = {np.dtype(name).char: name for name in interface.DTYPES}


def encoded(argument: float | np.ndarray | None) -> int:
    if isinstance(argument, np.ndarray):
        return address(argument)
    if isinstance(argument, int):
        return argument
    if isinstance(argument, float | np.floating):
        return int.from_bytes(struct.pack("=d", argument), sys.byteorder, signed=True)
    return int(argument or 0)


def pack(args: Sequence[float | np.ndarray | None], row: np.ndarray) -> np.ndarray:
    row[: len(args)] = [each if type(each) is int else encoded(each) for each in args]
    return row


@dataclass(frozen=True, eq=False)
class Instruction:
    """A kernel with its arguments, in the order in which the kernel unpacks them."""

    kernel: str
    args: Sequence[float | np.ndarray | None]
    reads: Sequence[np.ndarray] = ()
    writes: Sequence[np.ndarray] = ()
    """`reads` and `writes` list all arrays of the kernel, so that the program keeps them."""
    by_rows: Sequence[np.ndarray] = ()
    """Arrays of which each thread uses only its rows, the same rows in every instruction. So
    threads need not wait between two such instructions."""
    early: bool = False
    """Whether to run the instruction as soon as its inputs are ready."""
    fuse: Callable[[Instruction], Instruction] | None = None
    """Returns this instruction combined with the update that reads its gradient. The update must be
    `early` and have an optimizer's arguments, and `reads` must begin with the gradients."""
    then: Callable[[Instruction], Instruction | None] | None = None
    """Returns this instruction combined with the next one, or None if they cannot be combined."""
    unread: tuple[int, np.ndarray] | None = None
    """An argument's number and its array, if the kernel need not write this array. Given 0 instead
    of the array's address, the kernel does not write it."""
    in_pieces: bool = False
    """Whether each thread divides its rows into pieces, and runs the kernel on each piece."""
    non_final: Sequence[float | np.ndarray | None] = ()
    """Arguments for all repetitions of a program except the last one. Only the last repetition has
    to write results that are read after the program."""

    @property
    def dtype(self) -> str:
        used = (array.dtype.char for array in (*self.reads, *self.writes))
        return next((DTYPES[char] for char in used if char in DTYPES), "float32")

    @cached_property
    def read_extents(self) -> list[Extent]:
        return self._extents(self.reads)

    @cached_property
    def written_extents(self) -> list[Extent]:
        return self._extents(self.writes)

    def _extents(self, arrays: Sequence[np.ndarray]) -> list[Extent]:
        divided = set(map(id, self.by_rows))
        return [extent(each, id(each) in divided) for each in arrays]


class Program:
    """A sequence of instructions, and of Python calls for operations without a kernel."""

    def __init__(
        self,
        operations: Sequence[Instruction | Callable[[], None]],
        threads: int,
        limited: Callable[[], AbstractContextManager[Any]] = nullcontext,
        pieces: int = 1,
    ) -> None:
        self._kept: list[Any] = []  # since the tables contain only addresses
        self._threads, self._limited = threads, limited
        team(threads)  # starts the threads before the first run
        self._steps: list[Table | Callable[[], None]] = []
        self._non_final: Table | None = None
        self._input_cells: list[Cell] | None = None
        self._has_run = False
        for _, group in groupby(operations, type):
            order: list[Instruction] = []
            for operation in group:
                if isinstance(operation, Instruction):
                    order.append(operation)
                else:
                    self._steps.append(operation)
            if not order:
                continue
            is_whole = len(order) == len(operations)
            uses = Uses(order if any(each.early for each in order) else ())
            order = combined(schedule(uses) if uses.instructions else order)
            if is_whole:
                # Without Python calls, no code reads a gradient before the program ends.
                order = without_unread(fuse_updates(order, uses))
            groups = grouped(order, threads * pieces)
            order = [order[number] for group in groups for number in group]
            rows = table_of(order, threads, pieces, [*map(len, groups)])
            if is_whole and any(instruction.non_final for instruction in order):
                self._non_final = Table(non_final_table(order, rows))
            self._steps.append(Table(rows))
            self._kept += order

    def __call__(self, times: int) -> None:
        # Looked up in each run, since a forked process has none of its parent's threads.
        run = team(self._threads).run
        if len(self._steps) == 1 and isinstance(self._steps[0], Table):
            if self._non_final is not None and times > 1:
                run(self._non_final, times - 1)
                times = 1
            if times > 0:
                run(self._steps[0], times)
            return
        # Python calls may run the BLAS on all cores. The team's threads set their flags themselves.
        with self._limited(), FLUSHED:
            for _ in range(times):
                for step in self._steps:
                    if isinstance(step, Table):
                        run(step, 1)
                    else:
                        step()

    def parts(self, times: int) -> list[tuple[int, ...]] | None:
        # None means that the program uses several threads or calls Python.
        if self._threads > 1 or len(self._steps) != 1 or not isinstance(self._steps[0], Table):
            return None
        earlier = times - 1 if self._non_final is not None else 0
        tables = [(self._non_final, earlier), (self._steps[0], times - max(0, earlier))]
        return [(t.address, len(t.rows), count) for t, count in tables if t and count > 0]

    def cells(self, arguments: Sequence[Any]) -> list[Cell] | None:
        """Return the cells in the program's tables that depend on `arguments`.

        Arrays are identified by their memory, numbers by their identity. The result is None if the
        program calls Python, or if an instruction gets an argument's address from a table
        instead of the instruction's `args`.
        """
        if len(self._steps) != 1 or not isinstance(self._steps[0], Table):
            return None
        tables = [table for table in (self._steps[0], self._non_final) if table is not None]
        memories = {k: extent(e) for k, e in enumerate(arguments) if isinstance(e, np.ndarray)}
        numbers = {id(each): k for k, each in enumerate(arguments) if k not in memories}
        used = [(*one.read_extents, *one.written_extents) for one in self._kept]
        near = {each for each in {*chain(*used)} if any(map(each.meets, memories.values()))}
        cells: list[Cell] = []
        for number, instruction in enumerate(self._kept):
            met = near.intersection(used[number])
            if not met and numbers.keys().isdisjoint(map(id, instruction.args)):
                continue
            found = set[int]()
            args = instruction.args, instruction.non_final or instruction.args
            for table, own in zip(tables, args, strict=False):
                for column, index, offset in places_of(memories, numbers, own):
                    found.add(index)
                    cells.append(Cell(table.rows[number], column, index, offset))
            hidden = [memory for index, memory in memories.items() if index not in found]
            if any(memory.meets(each) for each in met for memory in hidden):
                return None
        return cells

    def set_input(self, buffer: np.ndarray, argument: np.ndarray) -> None:
        # The first call copies the argument: finding the cells only pays for further calls.
        if self._input_cells is None and self._has_run:
            self._input_cells = self.cells([buffer]) or []
        self._has_run = True
        cells = self._input_cells or []
        if not (cells and argument.flags.c_contiguous and argument.dtype == buffer.dtype):
            buffer[...] = argument
            argument = buffer
        put(cells, [argument])


def places_of(
    memories: Mapping[int, Extent],
    numbers: Mapping[int, int],
    args: Sequence[float | np.ndarray | None],
) -> Iterator[tuple[int, int, int]]:
    """Yield (column, argument, offset) of a `Cell` for each of `args` that matches an argument.

    An array matches if the array begins in one of `memories`. Any other value matches if the
    value's id is in `numbers`.
    """
    for column, each in enumerate(args, FIRST_ARG):
        if isinstance(each, np.ndarray):
            begin = address(each)
            for index, memory in memories.items():
                if memory.begin <= begin < memory.end:
                    yield column, index, begin - memory.begin
        elif id(each) in numbers:
            yield column, numbers[id(each)], 0


def put(cells: Sequence[Cell], arguments: Sequence[Any]) -> None:
    numbers = [encoded(each) for each in arguments]
    for row, column, index, offset in cells:
        row[column] = numbers[index] + offset


def schedule(uses: Uses[Instruction]) -> list[Instruction]:
    """Reorder instructions so that each `early` instruction runs as early as possible."""
    order = list[int]()
    for number, instruction in enumerate(uses.instructions):
        position = len(order)
        if instruction.early:
            conflicts = uses.conflicts_of(number)
            while position and order[position - 1] not in conflicts:
                position -= 1
        order.insert(position, number)
    return [uses.instructions[number] for number in order]


def combined(order: Sequence[Instruction]) -> list[Instruction]:
    result: list[Instruction] = []
    for instruction in order:
        both = result[-1].then(instruction) if result and result[-1].then else None
        if both is None:
            result.append(instruction)
        else:
            result[-1] = both
    return result


def fuse_updates(order: Sequence[Instruction], uses: Uses[Instruction]) -> list[Instruction]:
    """Return `order` with updates joined to the instructions that compute the gradients.

    An update is joined only if it comes next and no other instruction reads the gradient.
    """
    result = list[Instruction]()
    for instruction in order:
        before = result[-1] if result else None
        if before is not None and before.fuse is not None and instruction.early:
            gradient = before.written_extents
            readers = [uses.instructions[number] for number in uses.readers_of(gradient)]
            if instruction.read_extents[:1] == gradient and readers == [instruction]:
                result[-1] = before.fuse(instruction)
                continue
        result.append(instruction)
    return result


def without_unread(order: Sequence[Instruction]) -> list[Instruction]:
    """Return `order`, but only the last repetition writes results that no instruction reads."""
    result = list(order)
    unread = [(k, one, *one.unread) for k, one in enumerate(order) if one.unread is not None]
    uses = Uses(order if unread else ())
    for position, one, number, array in unread:
        if not uses.readers_of([extent(array, any(array is each for each in one.by_rows))]):
            args = [0 if i == number else each for i, each in enumerate(one.args)]
            result[position] = replace(one, non_final=args)
    return result


def grouped(order: Sequence[Instruction], parts: int) -> list[list[int]]:
    """Divide positions in `order` into groups, so that each group's memory stays in the cache.

    All instructions of a group run on one part of the rows, then on the next part.
    """
    left, groups = [*range(len(order))], list[list[int]]()
    if not any(each.in_pieces for each in order):
        return [[number] for number in left]
    uses = Uses(order)
    conflicts = [uses.conflicts_of(number) for number in left]
    while left:
        group, later, memory = list[int](), list[int](), dict[Extent, int]()
        for number in left:
            one = order[number]
            used = [*one.read_extents, *one.written_extents]
            more = {each: (each.end - each.begin) // (parts if each.rows else 1) for each in used}
            if not group or (
                one.in_pieces
                and order[group[0]].in_pieces
                and conflicts[number].isdisjoint(later)
                and sum((memory | more).values()) <= CACHED
                and all(
                    divided_alike(order[each], one, parts)
                    for each in conflicts[number].intersection(group)
                )
            ):
                group.append(number)
                memory |= more
            else:
                later.append(number)
        groups.append(group)
        left = later
    return groups


def divided_alike(one: Instruction, other: Instruction, parts: int) -> bool:
    pairs = (
        (one.written_extents, [*other.read_extents, *other.written_extents]),
        (one.read_extents, other.written_extents),
    )
    return all(
        a.is_divided_like(b, parts) or not a.meets(b)
        for first, second in pairs
        for a in first
        for b in second
    )


def table_of(
    order: Sequence[Instruction], threads: int, pieces: int = 1, groups: Sequence[int] = ()
) -> np.ndarray:
    """Return the table of a program, of shape (instructions, ROW_SIZE).

    Barriers are set before groups that must wait for other threads, and in the last row.
    """
    table = np.zeros((len(order), ROW_SIZE), np.int64)
    groups = groups or [1] * len(order)
    sizes = [size for size in groups for _ in range(size)]
    starts = [sum(groups[:number]) for number, size in enumerate(groups) for _ in range(size)]
    for index in Uses(order).waiting(threads, starts) if threads > 1 else ():
        table[index - 1, 1] = 1
    for index, instruction in enumerate(order):
        table[index, 0] = loaded_library().address(instruction.kernel, instruction.dtype)
        table[index, 2] = pieces if instruction.in_pieces else 1
        table[index, 3] = sizes[index]
        pack(instruction.args, table[index, FIRST_ARG:])
    table[-1, 1] = 1  # the next repetition begins with the first instruction
    return table


def non_final_table(order: Sequence[Instruction], table: np.ndarray) -> np.ndarray:
    result = table.copy()
    for row, instruction in zip(result, order, strict=True):
        if instruction.non_final:
            pack(instruction.non_final, row[FIRST_ARG:])
    return result


def sum_rows(x: Array, out: Array) -> Instruction:
    return Instruction("sum_rows", [x, out, x.shape[0], out.size], [x], [out])
