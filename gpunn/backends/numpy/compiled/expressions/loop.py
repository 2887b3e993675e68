"""The instruction of one loop: where its steps read and write."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpunn.backends.numpy.compiled import interface
from gpunn.backends.numpy.compiled.expressions.memory import Memory
from gpunn.backends.numpy.compiled.expressions.steps import Step
from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES, SLOT_SIZE, STEP_SIZE
from gpunn.backends.numpy.compiled.program import Instruction, address
from gpunn.backends.numpy.compiled.sums import sum_rows
from gpunn.backends.numpy.memory import zeros
from gpunn.expressions import REDUCTIONS, Node, Stage, Untraceable, base_of
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
        self._slots: list[tuple[int, int, int, int]] = []
        self._shared: dict[tuple[int, ...], int] = {}  # slots of arrays that are only read
        self._current: dict[int, int] = {}  # slots of nodes that this loop has computed
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
            code.append([step.function, self._result(step), *operands, 0, 0][:STEP_SIZE])
        return [self._instruction(code, sum(step.once for step in steps)), *self._sums]

    def _new_slot(self, kind: int, place: int = 0, stride: int = 0, is_integer: int = 0) -> int:
        self._slots.append((kind, place, stride, is_integer))
        return len(self._slots) - 1

    def _operand(self, node: Node, argument: Node) -> int:
        """Return the slot of a step's argument."""
        base = base_of(argument)
        if id(base) in self._current:
            return self._current[id(base)]
        shape = node.args[0].shape if node.op in REDUCTIONS else node.shape
        kind, start, stride = kind_of(argument.shape, shape), 0, 0
        if base.op == "columns":
            (start, _), (whole,) = base.data, base.args
            array = self._memory.of(base_of(whole))
            stride = whole.shape[1] * array.itemsize
            one = kind == interface.SCALAR
            if not (one or kind == interface.MATRIX) or array.dtype != self._memory.dtype:
                raise Untraceable("columns of integers, or columns that are broadcast")
            kind = interface.SCALAR if one else interface.STRIDED
        else:
            array = self._memory.of(base)
        self._note(self._reads, array)
        if kind in (interface.MATRIX, interface.ROW_VECTOR, interface.STRIDED):
            self._divide(array)
        place, is_integer = address(array) + start * array.itemsize, int(array.dtype.kind == "i")
        key = place, kind, stride
        if key not in self._shared:
            self._shared[key] = self._new_slot(kind, place, stride, is_integer)
        return self._shared[key]

    def _result(self, step: Step) -> int:
        """Return the slot that a step writes to."""
        node = step.node
        if step.once:
            slot = self._new_slot(interface.ONE_NUMBER)
        elif not self._memory.is_stored(node):
            slot = self._free.pop() if self._free else self._new_slot(interface.REGISTER)
        elif node.op in REDUCTIONS:
            return self._new_slot(interface.RESULT, address(self._reduced(node)))
        else:
            out = self._memory.of(node)
            self._note(self._writes, out)
            self._divide(out)
            slot = self._new_slot(interface.MATRIX, address(out))
        self._current[id(node)] = slot
        return slot

    def _reduced(self, node: Node) -> np.ndarray:
        """Return the array of a reduction: its result, or a row for each thread."""
        out = self._memory.of(node)
        if node.op == "column_sum" and self._threads > 1:
            parts = np.empty((self._threads, out.size), out.dtype)
            self._sums.append(sum_rows(parts, out))
            out = parts
        elif node.op != "column_sum":
            self._divide(out)
        self._writes.append(out)
        return out

    def _divide(self, array: np.ndarray) -> None:
        """Note that threads divide an array by rows."""
        if self._multiple == 1 and array.shape[:1] == (self._stage.rows,):
            self._note(self._by_rows, array)

    def _note(self, arrays: list[np.ndarray], array: np.ndarray) -> None:
        if not any(array is each for each in arrays):
            arrays.append(array)

    def _instruction(self, steps: list[list[int]], once: int) -> Instruction:
        rows, columns, dtype = self._stage.rows, self._stage.columns, self._memory.dtype
        lanes = BLOCK_BYTES // dtype.itemsize
        unit = lanes // math.gcd(lanes, columns)  # so many rows are whole blocks
        tile = TILE // columns // unit * unit or (unit if unit * columns <= 4 * TILE else 1)
        code = np.array(steps, np.int64)
        slots = np.array(self._slots, np.int64).reshape(-1, SLOT_SIZE)
        register = -(-min(tile, rows) * columns // lanes) * BLOCK_BYTES
        table = -(-16 * len(slots) // BLOCK_BYTES) * BLOCK_BYTES
        size = table + 4 * BLOCK_BYTES + len(slots) * register
        scratch = zeros((self._threads, size), "uint8")
        args: list[int | np.ndarray] = [
            code,
            slots,
            len(code),
            once,
            len(slots),
            rows,
            columns,
            tile,
            self._multiple,
        ]
        # The first array read isn't a gradient, so no product calls this as its update.
        reads, writes = [code, slots, *self._reads], [*self._writes, scratch]
        args += [scratch, size, table, register]
        return Instruction("expression", args, reads, writes, self._by_rows, early=self._early)


def kind_of(shape: Shape, whole: Shape) -> int:
    """Return the kind of slot that broadcasts an array to a loop's shape."""
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
