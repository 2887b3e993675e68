"""The CPU as a device, and its operations as calls of NumPy.

Elementwise work goes through cache-sized chunks and scratch memory that is allocated once; matrix
products go to NumPy's BLAS. What `Binder` has no calls for, and every activation, loss, metric or
optimizer that isn't built in, runs as it is defined.
"""

from __future__ import annotations

import functools
import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import array_api_compat.numpy as xp
import numpy as np

from gpunn.backends.base import Backend
from gpunn.backends.numpy.bind import Binder
from gpunn.backends.numpy.memory import zeros
from gpunn.backends.numpy.normalization import Calls
from gpunn.backends.numpy.partition import Partition
from gpunn.backends.numpy.scratch import Scratch
from gpunn.backends.numpy.subnormals import FLUSHED
from gpunn.backends.recording import Operation, Tape, apply_forms, definition
from gpunn.backends.thread_count import threads_asked_for, usable_cores
from gpunn.backends.turns import TURNS
from gpunn.typing import Array, HostArray, Shape

__all__ = ["NumpyBackend"]

COPIED = 1 << 16
"""Bytes of a prediction's inputs up to which they are copied to where recorded calls expect them.
Where there are more, it takes less to bind the calls to them."""


REMEMBERED, MOST_REMEMBERED = 1 << 19, 32
"""Bytes of an operation's arrays up to which its calls are kept, in case it is asked for again, and
how many operations are kept. With larger arrays it takes little to bind them again."""


class Own(threading.local):
    """What a thread has for operations that are done at once.

    Attributes
    ----------
    binder : Binder
    calls : dict
        Arguments and calls of operations, by their definitions and the arguments' addresses.
    """

    def __init__(self, partition: Partition) -> None:
        self.binder = Binder(partition, Scratch())
        self.calls: dict[tuple[object, ...], tuple[tuple[object, ...], Calls]] = {}


class NumpyBackend(Backend):
    """Computes on the CPU with NumPy.

    Parameters
    ----------
    threads : int or None
        How many threads compute; None is what the variable GPUNN_THREADS holds, or
        OMP_NUM_THREADS, or one for each core that this process may use.
    """

    def __init__(self, threads: int | None = None) -> None:
        super().__init__(xp, None, "numpy")
        self.options = {} if threads is None else {"threads": threads}
        asked = threads_asked_for(threads)
        self.threads = asked or usable_cores()
        self._limits_blas = asked is not None
        self._partition = Partition(self.threads)
        self._own = Own(self._partition)

    def describe(self) -> dict[str, str]:
        return {
            "backend": self.name,
            "device": f"cpu ({platform.machine()})",
            "library": f"numpy {np.__version__}",
            "threads": str(self.threads),
        }

    def zeros(self, shape: Shape, dtype: str) -> Array:
        return zeros(shape, dtype)

    def from_host(self, array: HostArray, dtype: str | None = None) -> Array:
        return np.asarray(array, dtype=dtype, order="C")

    def dtype_name(self, array: Array) -> str:
        return name_of(array.dtype)

    def copy_from_host(self, array: HostArray, out: Array) -> None:
        out[...] = array

    def overlap(self, first: Array, second: Array) -> bool:
        return np.may_share_memory(first, second)

    def to_host(self, array: Array) -> np.ndarray:
        return np.array(array, copy=True)

    def copy_to_host(self, array: Array, out: np.ndarray) -> None:
        out[...] = array

    def perform(self, one: Operation) -> None:
        own = self._own
        key = one.definition, *map(id, one.args)
        if key in own.calls and not one.kwargs:
            _, calls = own.calls[key]
        else:
            calls = self.bound([one], own.binder)
            if not one.kwargs and all(map(is_fixed, one.args)) and nbytes(one.args) <= REMEMBERED:
                if len(own.calls) >= MOST_REMEMBERED:
                    own.calls.clear()
                own.calls[key] = one.args, calls
        for call in calls:
            call()

    def lower(self, tape: Tape) -> Callable[[int], None]:
        # Scratch memory of its own, since nothing else may use it while the calls run.
        calls = self.bound(tape, Binder(self._partition, Scratch()))

        def repeat(times: int) -> None:
            for _ in range(times):
                for call in calls:
                    call()

        return self._limited(repeat)

    def bound(self, tape: Tape, binder: Binder) -> Calls:
        """Return the calls that do the operations of a tape, in order."""
        return apply_forms(tape, self, binder, lambda one: [definition(self, one)])

    def recorded_function(
        self, function: Callable[[Array], Array], x: Array
    ) -> Callable[[Array], Array]:
        if x.nbytes <= COPIED:
            return super().recorded_function(function, x)

        def call(argument: Array) -> Array:
            results: list[Array] = []
            self.recorded(lambda: results.append(function(argument)))(1)
            return results[0]

        return call

    def _limited(self, function: Callable[[int], None]) -> Callable[[int], None]:
        """Return the same, kept to the threads asked for, and free of subnormal numbers."""
        from gpunn.backends.numpy.blas import find_blas

        blas = find_blas() if self._limits_blas else None
        if blas is None:

            def flushed(times: int) -> None:
                with FLUSHED:
                    function(times)

            return flushed

        def within_limits(times: int) -> None:
            with blas.limited(self.threads), FLUSHED:
                function(times)

        return within_limits

    def computing(self) -> AbstractContextManager[None]:
        return flushed_turn()


def is_fixed(argument: object) -> bool:
    """Return whether calls can be bound to an argument for good: an array, or what can't change.

    Not to an optimizer, whose settings may change, nor to a tuple of arrays, which may be large.
    """
    parameters = getattr(argument, "__dataclass_params__", None)
    if parameters is not None:
        return bool(parameters.frozen)
    return argument is None or isinstance(argument, np.ndarray | int | float)


def nbytes(arguments: tuple[object, ...]) -> int:
    """Return the bytes of the arrays among some arguments."""
    return sum(each.nbytes for each in arguments if isinstance(each, np.ndarray))


@contextmanager
def flushed_turn() -> Iterator[None]:
    """Take this thread's turn, with subnormal numbers as zero."""
    with TURNS, FLUSHED:
        yield


@functools.cache
def name_of(dtype: np.dtype) -> str:
    """Return a type's name, which takes NumPy as long to put together as a small operation."""
    return dtype.name
