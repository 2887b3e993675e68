"""Recording a sequence of operations as a CUDA graph, and launching it instead of them.

A graph launches all kernels at once, where the host would need some microseconds for each. It keeps
the kernels' arguments as they were: addresses of arrays, and numbers. So all of these must stay the
same, and what changes must be in arrays (NVIDIA, CUDA C++ Programming Guide, "CUDA Graphs").
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import cupy

from gpunn.backends.cupy.scratch import Buffers, Scratch

__all__ = ["Recording", "say_once"]

logger = logging.getLogger("gpunn")


class Recording:
    """Operations that run plainly once, are recorded the second time, and replayed from then on.

    The first time compiles kernels and lets scratch memory grow, neither of which may happen while
    recording. What can't be recorded runs plainly forever; the log says so once, with the reason.

    Parameters
    ----------
    operations : callable
        Asks the device for the same, on the same arrays, each time.
    scratch : Scratch
        What they take their scratch memory from. They get buffers of their own, which nothing else
        can write to between two launches.
    """

    def __init__(self, operations: Callable[[], None], scratch: Scratch) -> None:
        self._operations, self._scratch = operations, scratch
        self._buffers: Buffers = {}
        self._memory = PrivateMemory()
        self._graph: Any = None
        self._warm = self._refused = False

    def __call__(self, times: int) -> None:
        """Do the operations so many times."""
        for _ in range(times):
            self._once()

    def _once(self) -> None:
        if self._graph is not None:
            self._graph.launch()
            return
        with self._scratch.using(self._buffers):
            if self._warm and not self._refused:
                try:
                    self._graph = self._captured()
                except Exception as error:  # whatever a class of the user's own may raise
                    self._refused = True
                    self._memory = PrivateMemory()
                    say_once(reason(error))
            if self._graph is None:
                self._operations()
                self._warm = True
                return
        self._graph.launch()

    def _captured(self) -> Any:
        """Return the graph. Nothing has run on the device then."""
        # A stream that the default one does not wait for; CuPy's mode of capturing is "relaxed",
        # which lets the private pool ask CUDA for memory.
        stream = cupy.cuda.Stream(non_blocking=True)
        with cupy.cuda.using_allocator(self._memory), stream:
            stream.begin_capture()
            try:
                self._operations()
            except BaseException:
                with suppress(Exception):  # the stream must stop capturing, whatever it says
                    stream.end_capture()
                raise
            return stream.end_capture()


class PrivateMemory:
    """An allocator whose memory is never given to anybody else as long as it lives.

    A graph writes to the memory of its temporary arrays at each launch, though they are long gone.
    """

    def __init__(self) -> None:
        self._pool = cupy.cuda.MemoryPool()
        self._kept: list[Any] = []

    def __call__(self, size: int) -> Any:
        """Return memory of so many bytes."""
        memory = self._pool.malloc(size)
        self._kept.append(memory)
        return memory


def reason(error: Exception) -> str:
    """Return an error's class and first line."""
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0]}"


@functools.cache
def say_once(why: str) -> None:
    """Say that training goes on without a graph."""
    logger.warning(
        "gpunn: the training step can't be recorded as a CUDA graph, so its operations are "
        "launched one by one, with the same results: %s",
        why,
    )
