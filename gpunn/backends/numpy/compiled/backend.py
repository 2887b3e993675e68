"""The NumPy backend with compiled programs for recorded operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gpunn.backends.numpy.backend import NumpyBackend
from gpunn.backends.numpy.compiled.conflicts import known_extents
from gpunn.backends.numpy.compiled.interface import PERMUTATION_SEEDS
from gpunn.backends.numpy.compiled.library import library, loaded_library
from gpunn.backends.numpy.memory import address
from gpunn.backends.recording import (
    Operation,
    Repeated,
    Trace,
    arguments_of,
    expand_composites,
    lower_operations,
    method_of,
    record,
)
from gpunn.expressions.tracing import shared_traces
from gpunn.forks import IMPORTING
from gpunn.randomness import seeds
from gpunn.typing import Array, HostArray

if TYPE_CHECKING:
    from gpunn.backends.numpy.compiled.program import Instruction, Program


WORTHWHILE = 6.0
"""Mean microseconds per operation of a trace above which threads share the work."""

PIECE = 1 << 17
"""Bytes of images to process together, so that they stay in the cache for the next operation."""


class CompiledBackend(NumpyBackend):
    def describe(self) -> dict[str, str]:
        described = super().describe()
        if used := library():
            described["library"] += f", kernels for {used.target.name}"
        return described

    def lower(self, trace: Trace) -> Callable[[int], None]:
        return self._program(trace) if library() else super().lower(trace)

    @property
    def joins_recordings(self) -> bool:
        return library() is not None

    def row_orders(self, seed: int, epochs: range, rows: int) -> HostArray:
        numbers = seeds(seed, "shuffle", epochs[-1])
        if not library() or not 0 <= min(numbers) <= max(numbers) < 1 << 32:
            return super().row_orders(seed, epochs, rows)
        memory = np.empty((len(epochs), PERMUTATION_SEEDS + rows), np.int64)
        memory[:, :4] = *numbers, 0
        memory[:, len(numbers) - 1] = epochs
        begin, permutation = address(memory), loaded_library().permutation
        for number in range(len(epochs)):
            permutation(begin + number * memory.strides[0], rows)
        return memory[:, PERMUTATION_SEEDS:]

    def sequence(
        self, parts: Sequence[tuple[Callable[[int], None], int]], times: int = 1
    ) -> Repeated | None:
        if not library():
            return None
        with IMPORTING:
            from gpunn.backends.numpy.compiled.program import Program
            from gpunn.backends.numpy.compiled.sequence import ProgramSequence

        programs = [(each, count) for each, count in parts if isinstance(each, Program)]
        return ProgramSequence.of(programs, times) if len(programs) == len(parts) else None

    def recorded_function(
        self, function: Callable[[Array], Array], x: Array
    ) -> Callable[[Array], Array]:
        if not library():
            return super().recorded_function(function, x)
        results: list[Array] = []
        x_buffer = np.array(x, order="C")
        trace = record(lambda: results.append(function(x_buffer)), self)
        if np.shares_memory(results[0], x_buffer):
            return super().recorded_function(function, x)
        program = self._program(trace)

        def run(argument: Array) -> Array:
            program.set_input(x_buffer, argument)
            program(1)
            return results[0]

        return run

    def _team_size(self, trace: Trace) -> int:
        is_worthwhile = self.threads > 1 and microseconds(trace) > WORTHWHILE * len(trace)
        return self.threads if is_worthwhile else 1

    @shared_traces()
    @known_extents()
    def _program(self, trace: Trace) -> Program:
        with IMPORTING:
            from gpunn.backends.numpy.compiled.lowerings import CompiledLowerings, unread
            from gpunn.backends.numpy.compiled.product_plans import ProductPlans
            from gpunn.backends.numpy.compiled.program import Program

        trace = expand_composites(trace, self, lambda one: hasattr(CompiledLowerings, one.name))
        threads = self._team_size(trace)
        images, pieces = images_and_pieces(trace, threads)
        vectors = loaded_library().vectors
        products = ProductPlans(threads, largest_panels(trace, vectors.panel), vectors)
        lowerings = CompiledLowerings(threads, products, pieces, images, unread(trace, self))

        def otherwise(one: Operation) -> list[Instruction | Callable[[], None]]:
            traced = lowerings.traced(method_of(self, one), arguments_of(self, one))
            return [*(self.bound([one]) if traced is None else traced)]

        steps = lower_operations(trace, self, lowerings, otherwise)
        return Program(steps, threads, self.limited, pieces)


def microseconds(trace: Trace) -> float:
    total = 0.0
    for name, args, kwargs, _ in trace:
        arrays = list(arrays_in((*args, *kwargs.values())))
        if name in ("gather_rows", "take", "count_update"):
            arrays = arrays[-1:]  # only some rows of the source are read
        total += sum(array.nbytes for array in arrays) / 2e4
        if name.startswith(("dense", "matmul", "group")):
            total += 2 * arrays[0].size * arrays[1].shape[-1] / 1e5
        if name.startswith("conv"):
            (weights,) = (each for each in arrays if each.ndim == 2)
            results = [each.size for each in arrays if each.shape[3:] == weights.shape[1:]]
            total += 2 * weights.shape[0] * min(results) / 1e5
    return total


def images_and_pieces(trace: Trace, threads: int) -> tuple[int, int]:
    images = [
        each
        for name, args, kwargs, _ in trace
        if name.startswith(("conv", "max_pool", "average_pool"))
        for each in arrays_in((*args, *kwargs.values()))
        if each.ndim == 4
    ]
    if not images or len(images[0]) < threads:
        return 0, 1
    largest, rows = max(each.nbytes for each in images), len(images[0])
    return rows, min(rows // threads, max(1, largest // (threads * PIECE)))


def arrays_in(args: tuple[Any, ...]) -> Iterator[np.ndarray]:
    for one in args:
        if isinstance(one, np.ndarray):
            yield one
        elif isinstance(one, tuple):
            yield from arrays_in(one)


def largest_panels(trace: Trace, panel: int) -> int:
    """Return how many bytes are enough for the panels of one operand of a product.

    The number is large enough for every operand of the products in `trace`.
    """
    operands = [
        one
        for name, args, kwargs, _ in trace
        if name.startswith(("dense", "matmul"))
        for one in arrays_in((*args, *kwargs.values()))
        if one.ndim == 2
    ]
    return max((one.nbytes + max(one.shape) * panel for one in operands), default=0)
