"""NumPy's backend with steps that are recorded and run as compiled programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gpunn.backends.numpy.backend import NumpyBackend
from gpunn.backends.numpy.compiled.library import library, loaded_library
from gpunn.backends.recording import Tape, apply_forms, expand_composites, record
from gpunn.forks import IMPORTING
from gpunn.typing import Array

if TYPE_CHECKING:
    from gpunn.backends.numpy.compiled.program import Program

__all__ = ["CompiledBackend"]

WORTHWHILE = 6.0
"""Microseconds of an operation, on average, from which on several threads share the work."""


class CompiledBackend(NumpyBackend):
    """Computes on the CPU with NumPy and, in training, with programs of compiled kernels."""

    def describe(self) -> dict[str, str]:
        described = super().describe()
        if used := library():
            described["library"] += f", kernels for {used.target.name}"
        return described

    def lower(self, tape: Tape) -> Callable[[int], None]:
        return self._program(tape) if library() else super().lower(tape)

    def recorded_function(
        self, function: Callable[[Array], Array], x: Array
    ) -> Callable[[Array], Array]:
        if not library():
            return super().recorded_function(function, x)
        results: list[Array] = []
        own = np.array(x, order="C")
        tape = record(lambda: results.append(function(own)), self)
        if np.shares_memory(results[0], own):
            return super().recorded_function(function, x)
        program = self._program(tape)

        def run(argument: Array) -> Array:
            program.give(own, argument)
            program(1)
            return results[0]

        return run

    def _team_size(self, tape: Tape) -> int:
        """Return one where waiting for one another would take longer than the work."""
        return self.threads if microseconds(tape) > WORTHWHILE * len(tape) else 1

    def _program(self, tape: Tape) -> Program:
        with IMPORTING:
            from gpunn.backends.numpy.compiled.encoder import Encoder
            from gpunn.backends.numpy.compiled.product_plans import ProductPlans
            from gpunn.backends.numpy.compiled.program import Program

        tape = expand_composites(tape, self, Encoder)
        threads = self._team_size(tape)
        vectors = loaded_library().vectors
        products = ProductPlans(threads, largest_panels(tape, vectors.panel), vectors)
        encoder = Encoder(threads, products)
        steps = apply_forms(tape, self, encoder, lambda one: self.bound([one]))
        return Program(steps, threads, self.limited)


def microseconds(tape: Tape) -> float:
    """Return about how long the operations take one thread: their products and their memory."""
    total = 0.0
    for name, args, kwargs, _ in tape:
        arrays = list(arrays_in((*args, *kwargs.values())))
        if name in ("gather_rows", "take", "count_update"):
            arrays = arrays[-1:]  # of the source only some rows are looked at
        total += sum(array.nbytes for array in arrays) / 2e4
        if name.startswith(("dense", "matmul", "group")):
            total += 2 * arrays[0].size * arrays[1].shape[-1] / 1e5
    return total


def arrays_in(args: tuple[Any, ...]) -> Iterator[np.ndarray]:
    """Yield the arrays among some arguments, and in tuples among them."""
    for one in args:
        if isinstance(one, np.ndarray):
            yield one
        elif isinstance(one, tuple):
            yield from arrays_in(one)


def largest_panels(tape: Tape, panel: int) -> int:
    """Return the bytes that the panels of any operand of the products can take.

    A panel's rows have `panel` bytes.
    """
    operands = [
        one
        for name, args, kwargs, _ in tape
        if name.startswith(("dense", "matmul"))
        for one in arrays_in((*args, *kwargs.values()))
        if one.ndim == 2
    ]
    return max((one.nbytes + max(one.shape) * panel for one in operands), default=0)
