"""A step as a program: instructions in a table, which threads run without returning to Python."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from gpunn.backends.numpy.compiled import interface
from gpunn.backends.numpy.compiled.interface import ROW_SIZE
from gpunn.backends.numpy.compiled.library import loaded_library
from gpunn.backends.numpy.compiled.team import Table, team
from gpunn.backends.numpy.subnormals import FLUSHED

__all__ = ["Instruction", "Program", "address", "pack"]

DTYPES = {np.dtype(name).char: name for name in interface.DTYPES}


def address(array: np.ndarray) -> int:
    """Return where an array's memory begins."""
    # What `array.ctypes.data` says, in a third of the time.
    return int(array.__array_interface__["data"][0])


def encoded(argument: float | np.ndarray | None) -> int:
    """Return a kernel's argument as 64 bits.

    An integer as it is, a float as the bits of a float64, an array as its address, None as 0.
    """
    if isinstance(argument, int):
        return argument
    if isinstance(argument, np.ndarray):
        return address(argument)
    if isinstance(argument, float | np.floating):
        return int.from_bytes(struct.pack("=d", argument), sys.byteorder, signed=True)
    return int(argument or 0)


def pack(args: Sequence[float | np.ndarray | None], row: np.ndarray) -> np.ndarray:
    """Return a row of MAX_ARGS zeros, filled with a kernel's arguments as it takes them."""
    row[: len(args)] = [*map(encoded, args)]
    return row


@dataclass(frozen=True, eq=False)
class Instruction:
    """A kernel with its arguments, in the order that the kernel's docstring gives."""

    kernel: str
    args: Sequence[float | np.ndarray | None]
    reads: Sequence[np.ndarray] = ()
    writes: Sequence[np.ndarray] = ()
    """The memory that it reads and writes, which must last as long as the program."""
    by_rows: Sequence[np.ndarray] = ()
    """Those of them that the threads divide by rows, the same rows of each (`partition`): between
    two instructions that do so, no thread has to wait for another."""
    early: bool = False
    """Whether to run it as soon as what it reads is there, rather than where it was asked for."""
    fuse: Callable[[Instruction], Instruction] | None = None
    """Takes the update whose gradients this instruction writes, and returns both as one. An update
    is `early`, reads the gradients before anything else, and has the arguments of `optimizers`."""
    non_final: Sequence[float | np.ndarray | None] = ()
    """Arguments in all repetitions of a program but the last, if they differ: what nobody will see
    need not be written."""

    @property
    def dtype(self) -> str:
        """Name of the type that it computes with."""
        used = (array.dtype.char for array in (*self.reads, *self.writes))
        return next((DTYPES[char] for char in used if char in DTYPES), "float32")

    @cached_property
    def read_extents(self) -> list[Extent]:
        """Where what it reads lies in memory."""
        return [extent(each, self.by_rows) for each in self.reads]

    @cached_property
    def written_extents(self) -> list[Extent]:
        """Where what it writes lies in memory."""
        return [extent(each, self.by_rows) for each in self.writes]

    def waits_for(self, other: Instruction) -> bool:
        """Return whether this must come after the other: one changes what the other uses."""
        return (
            conflict(self.read_extents, other.written_extents)
            or conflict(self.written_extents, other.written_extents)
            or conflict(self.written_extents, other.read_extents)
        )


class Extent(NamedTuple):
    """Where a contiguous array lies in memory, and its rows if the threads divide them, else 0."""

    begin: int
    end: int
    rows: int

    def meets(self, other: Extent) -> bool:
        """Return whether the two have memory in common."""
        return self.begin < other.end and other.begin < self.end


def extent(array: np.ndarray, by_rows: Sequence[np.ndarray]) -> Extent:
    """Return where a contiguous array lies, and its rows if it is one of those."""
    begin = address(array)
    divided = any(array is each for each in by_rows)
    return Extent(begin, begin + array.nbytes, array.shape[0] if divided else 0)


def conflict(some: list[Extent], others: list[Extent]) -> bool:
    """Return whether threads may meet: memory in common that is not divided by the same rows."""
    return any(a.meets(b) and not (a == b and a.rows) for a in some for b in others)


class Program:
    """Operations in order: instructions, and plain calls where there is no kernel for one.

    In a context that `limited` returns, the BLAS takes no more threads than were asked for.
    """

    def __init__(
        self,
        operations: Sequence[Instruction | Callable[[], None]],
        threads: int,
        limited: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._kept: list[Any] = []  # since the tables know memory by address only
        self._threads, self._limited = threads, limited
        team(threads)  # started now, not in its first run
        self._steps: list[Table | Callable[[], None]] = []
        self._non_final: Table | None = None
        self._input_cells: list[tuple[np.ndarray, np.ndarray]] | None = None
        self._movable = False
        for _, group in groupby(operations, type):
            order: list[Instruction] = []
            for operation in group:
                if isinstance(operation, Instruction):
                    order.append(operation)
                else:
                    self._steps.append(operation)
            if not order:
                continue
            order = schedule(order)
            is_whole = len(order) == len(operations)
            if is_whole:
                # With nothing between but instructions, nobody looks at a gradient before the end.
                order = fuse_updates(order)
            rows = table_of(order)
            if is_whole and any(instruction.non_final for instruction in order):
                self._non_final = Table(non_final_table(order, rows))
            self._steps.append(Table(rows))
            self._kept += order

    def __call__(self, times: int) -> None:
        """Do the operations `times` times."""
        # Asked for each time: a forked process has none of its parent's threads.
        run = team(self._threads).run
        if len(self._steps) == 1 and isinstance(self._steps[0], Table):
            if self._non_final is not None and times > 1:
                run(self._non_final, times - 1)
                times = 1
            if times > 0:
                run(self._steps[0], times)
            return
        # Calls may have products of their buffer, for all cores. The team sets its buffer flags.
        with self._limited(), FLUSHED:
            for _ in range(times):
                for step in self._steps:
                    if isinstance(step, Table):
                        run(step, 1)
                    else:
                        step()

    def set_input(self, buffer: np.ndarray, argument: np.ndarray) -> None:
        """Let the program read `argument` in position of `buffer`, which it was made with.

        Its address goes where that of `buffer` was, or else its elements into `buffer`.
        """
        if self._input_cells is None:
            self._input_cells = [
                (step.rows, step.rows == buffer.ctypes.data)
                for step in self._steps
                if isinstance(step, Table)
            ]
            only_tables = len(self._input_cells) == len(self._steps)
            self._movable = only_tables and all(map(partial(has_address, buffer), self._kept))
        compatible = argument.flags.c_contiguous and argument.dtype == buffer.dtype
        if compatible and self._movable:
            for rows, position in self._input_cells:
                rows[position] = argument.ctypes.data
        else:
            buffer[...] = argument
            for rows, position in self._input_cells:
                rows[position] = buffer.ctypes.data


def has_address(array: np.ndarray, instruction: Instruction) -> bool:
    """Return whether an instruction that reads an array has its address as an argument.

    It may have that of a part of it instead, or the address in a table of its buffer.
    """
    buffer = extent(array, ())
    reads = any(buffer.meets(each) for each in instruction.read_extents)
    return not reads or any(encoded(each) == buffer.begin for each in instruction.args)


def schedule(instructions: Sequence[Instruction]) -> list[Instruction]:
    """Return the instructions in order, `early` ones directly after the last that they wait for.

    So the update of a layer's weights finds their gradient in the cache.
    """
    order: list[Instruction] = []
    for instruction in instructions:
        position = len(order)
        if instruction.early:
            while position and not instruction.waits_for(order[position - 1]):
                position -= 1
        order.insert(position, instruction)
    return order


def fuse_updates(order: Sequence[Instruction]) -> list[Instruction]:
    """Return the instructions, with a gradient and the update that follows it made one.

    Only where nothing else reads the gradient.
    """
    result: list[Instruction] = []
    for instruction in order:
        before = result[-1] if result else None
        if before is not None and before.fuse is not None and instruction.early:
            gradient = before.written_extents
            readers = [
                one for one in order if any(a.meets(b) for a in one.read_extents for b in gradient)
            ]
            if (
                instruction.read_extents[:1] == gradient
                and readers[0] is readers[-1] is instruction
            ):
                result[-1] = before.fuse(instruction)
                continue
        result.append(instruction)
    return result


def table_of(order: Sequence[Instruction]) -> np.ndarray:
    """Return the table (instructions, ROW_SIZE) of a program, with the barriers that it needs.

    A row has the kernel's address, 1 if a barrier follows it, and the arguments. A barrier follows
    where a later instruction must wait for this one or one before it.
    """
    table = np.zeros((len(order), ROW_SIZE), np.int64)
    since_barrier: list[Instruction] = []
    for index, instruction in enumerate(order):
        if any(instruction.waits_for(other) for other in since_barrier):
            table[index - 1, 1] = 1
            since_barrier = []
        since_barrier.append(instruction)
        table[index, 0] = loaded_library().address(instruction.kernel, instruction.dtype)
        pack(instruction.args, table[index, 2:])
    table[-1, 1] = 1  # the next time begins with the first of them
    return table


def non_final_table(order: Sequence[Instruction], table: np.ndarray) -> np.ndarray:
    """Return the table of all repetitions of a program but the last, from that of the last."""
    result = table.copy()
    for row, instruction in zip(result, order, strict=True):
        if instruction.non_final:
            pack(instruction.non_final, row[2:])
    return result
