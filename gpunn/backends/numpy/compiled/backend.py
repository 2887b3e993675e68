"""NumPy's backend with steps that are recorded and run as compiled programs."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from gpunn.backends.numpy.backend import NumpyBackend
from gpunn.backends.numpy.compiled.announcement import ANNOUNCEMENT
from gpunn.typing import Array

if TYPE_CHECKING:
    from gpunn.backends.numpy.compiled.program import Program

__all__ = ["CompiledBackend"]

logger = logging.getLogger("gpunn")

OPERATIONS = (
    *("fill", "increment", "select", "add", "gather_rows", "sum_weights"),
    *("count_finite", "count_pass", "count_update"),
    *("matmul", "activate", "activation_gradient", "dense", "dense_gradient", "dropout"),
    *("rescale", "standardize", "normalize", "batch_norm", "batch_norm_gradient"),
    *("layer_norm", "layer_norm_gradient", "loss", "metric", "clip", "penalize", "update"),
    *("scale_loss", "unscale", "update_if_finite", "adjust_loss_scale"),
)
"""Everything that a step asks of a backend."""


WORTHWHILE = 23.0
"""Microseconds of an operation, on average, from which on several threads share the work."""


class Recorder(threading.local):
    """Where operations go while they are recorded, on one thread; None while they are done."""

    taken: list[Any] | None = None


class CompiledBackend(NumpyBackend):
    """Computes on the CPU with NumPy and, in training, with programs compiled by numba.

    Parameters
    ----------
    threads : int or None
        How many threads compute; None is what the variable GPUNN_THREADS holds, or
        OMP_NUM_THREADS, or one for each core that this process may use.
    """

    def __init__(self, threads: int | None = None) -> None:
        super().__init__(threads)
        self._recorder = Recorder()

    def describe(self) -> dict[str, str]:
        described = super().describe()
        if numba_works():
            described["library"] += f", numba {importlib.metadata.version('numba')}"
        return described

    def recorded(
        self, operations: Callable[[], None], complete: bool = False
    ) -> Callable[[int], None]:
        if not complete:
            return super().recorded(operations, complete)
        if not numba_works():
            return self._bound(self._taken(operations))
        return self._program(operations)

    def recorded_function(
        self, function: Callable[[Array], Array], x: Array, complete: bool = False
    ) -> Callable[[Array], Array]:
        plain = super().recorded_function(function, x, complete)
        if not (complete and numba_works()) or not x.size:
            return plain
        results: list[Array] = []
        own = np.array(x, order="C")
        program = self._program(lambda: results.append(function(own)))
        if np.shares_memory(results[0], own):
            return plain

        def run(argument: Array) -> Array:
            program.give(own, argument)
            program(1)
            return results[0]

        return run

    def _program(self, operations: Callable[[], Any]) -> Program:
        from gpunn.backends.numpy.blas import find_blas
        from gpunn.backends.numpy.compiled.encoder import Encoder
        from gpunn.backends.numpy.compiled.product_plans import ProductPlans
        from gpunn.backends.numpy.compiled.program import Program

        taken = self._taken(operations)
        # The team is small where waiting for one another would take longer than the work.
        threads = self.threads if microseconds(taken) > WORTHWHILE * len(taken) else 1
        plain: Any = super()
        products = ProductPlans(threads, find_blas(), largest_panels(taken))
        encoder = Encoder(plain, threads, products)
        encoded: list[Any] = []
        for name, arguments, named in taken:
            encode = getattr(encoder, name, None)
            instructions = encode(*arguments, **named) if encode else None
            if instructions is None:
                encoded.append(functools.partial(getattr(plain, name), *arguments, **named))
            else:
                encoded += instructions
        # The threads share the work, so each of their products is computed by one.
        used = products.blas if products.uses_blas else None
        alone = nullcontext if used is None else functools.partial(used.limited, 1)
        with ANNOUNCEMENT.around():
            return Program(encoded, threads, alone)

    def _taken(self, operations: Callable[[], Any]) -> list[Any]:
        """Return the operations with their arguments, without doing any."""
        taken: list[Any] = []
        self._recorder.taken = taken
        try:
            operations()
        finally:
            self._recorder.taken = None
        return taken

    @property
    def recording(self) -> bool:
        """Whether this thread is recording, so that operations are noted rather than done."""
        return self._recorder.taken is not None


def microseconds(taken: Sequence[tuple[str, tuple[Any, ...], Mapping[str, Any]]]) -> float:
    """Return about how long the operations take one thread: their products and their memory."""
    total = 0.0
    for name, arguments, named in taken:
        arrays = [one for one in (*arguments, *named.values()) if isinstance(one, np.ndarray)]
        if name in ("gather_rows", "select", "count_update"):
            arrays = arrays[-1:]  # of the source only some rows are looked at
        total += sum(array.nbytes for array in arrays) / 2e4
        if name.startswith(("dense", "matmul")):
            total += 2 * arrays[0].size * arrays[1].shape[-1] / 1e5
    return total


def largest_panels(taken: Sequence[tuple[str, tuple[Any, ...], Mapping[str, Any]]]) -> int:
    """Return the bytes that the panels of any operand of the products can take."""
    from gpunn.backends.numpy.compiled.panels import PANEL

    operands = [
        one
        for name, given, named in taken
        if name.startswith(("dense", "matmul"))
        for one in (*given, *named.values())
        if isinstance(one, np.ndarray) and one.ndim == 2
    ]
    return max((one.nbytes + max(one.shape) * PANEL for one in operands), default=0)


def recordable(name: str) -> Callable[..., None]:
    """Return the operation, which notes its arguments instead while a step is recorded."""
    operation = getattr(NumpyBackend, name)

    @functools.wraps(operation)
    def method(self: CompiledBackend, *arguments: Any, **named: Any) -> None:
        if self._recorder.taken is None:
            operation(self, *arguments, **named)
        else:
            self._recorder.taken.append((name, arguments, named))

    return method


for _name in OPERATIONS:
    setattr(CompiledBackend, _name, recordable(_name))


@functools.cache
def numba_works() -> bool:
    """Return whether numba is there and can be imported; say so once if it can't."""
    if importlib.util.find_spec("numba") is None:
        return False
    try:
        import numba
    except ImportError as error:
        logger.warning("gpunn: numba can't be used, so training takes longer: %s", error)
        return False
    return not numba.config.DISABLE_JIT
