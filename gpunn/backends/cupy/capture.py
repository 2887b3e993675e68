"""Capturing a sequence of launches as a CUDA graph, and launching the graph instead.

A graph launches all kernels at once, where the host would need some microseconds for each. It keeps
the kernels' arguments as they were: addresses of arrays, and numbers. So all of these must stay the
same, and what changes must be in arrays (NVIDIA, CUDA C++ Programming Guide, "CUDA Graphs").
"""

from __future__ import annotations

import functools
import gc
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import Any

import cupy

from gpunn.backends.collective import Collective
from gpunn.backends.cupy.branches import Branch, JoinedBranch
from gpunn.backends.cupy.scratch import Buffers, Scratch
from gpunn.errors import DistributedError

__all__ = [
    "Definition",
    "GraphExecutor",
    "between_captures",
    "captured",
    "one_by_one",
    "say_once",
    "synchronize",
]

logger = logging.getLogger("gpunn")

UNROLLED = 8
"""How many times the operations are in the unrolled graph. A launch then costs each an eighth, and
more would gain little; a node takes about 10 KB (cccl pull request 3768)."""

UNROLL_AFTER = 64
"""How many times operations have been asked for before the unrolled graph is captured. Capturing it
costs the host as much as launching the operations one by one as often as the graph holds them."""


class Definition:
    """A call that does an operation by its definition, which may be code of the user's own."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function

    def __call__(self) -> None:
        """Do it."""
        self._function()


class GraphExecutor:
    """A sequence of launches: at first one by one, then captured, and replayed from then on.

    The first time compiles kernels and lets scratch memory grow, neither of which may happen in a
    capture. If a capture fails, the stretches between operations that are done by their definitions
    are captured instead, since a definition may be the user's own and wait for the device, say.
    What can't be captured is launched one by one forever; the log says so once, with the reason.

    Where other processes take part in a call (`Collective`), they capture the same or none does:
    after each attempt they tell each other how it went. Of the stretches such a call is no part.

    Where they are asked for often, and several times at once, a second graph is unrolled: it holds
    them several times in a row. It works in the same memory, for all that changes from one time to
    the next is on the device.

    Each call asks the device for the same, on the same arrays, every time. From `scratch` they get
    buffers of their own, which nothing else can write to between two launches.
    """

    def __init__(self, calls: Sequence[Callable[[], object]], scratch: Scratch) -> None:
        self._calls, self._scratch = calls, scratch
        self._buffers: Buffers = {}
        self._memory = PrivateMemory()
        self._graph: Any = None
        self._unrolled: Any = None
        self._warm = self._refused = self._tried_unrolled = False
        self._stretches: list[Callable[[int], None]] = []
        self._asked = 0
        self._collectives = collectives_among(calls)

    def _operations(self) -> None:
        for call in self._calls:
            call()

    def __call__(self, times: int) -> None:
        """Do the operations so many times."""
        with self._scratch.using(self._buffers):
            self._repeat(times)

    def _repeat(self, times: int) -> None:
        self._asked += times
        worthwhile = times >= UNROLLED and self._asked >= UNROLL_AFTER
        if worthwhile and self._graph is not None and not self._tried_unrolled:
            self._tried_unrolled = True
            self._record_unrolled()
        if self._unrolled is not None:
            for _ in range(times // UNROLLED):
                self._unrolled.launch()
            times %= UNROLLED
        for _ in range(times):
            self._once()

    def _once(self) -> None:
        if self._graph is not None:
            self._graph.launch()
            return
        if self._warm and not self._refused:
            self._record()
        if self._graph is not None:
            self._graph.launch()
        elif self._stretches:
            for stretch in self._stretches:
                stretch(1)
        else:
            self._operations()
            self._warm = True

    def _record(self) -> None:
        """Capture the operations, on all ranks or on none."""
        graph, refusal = None, ""
        try:
            graph = self._captured(1)
        except Exception as error:  # whatever a class of the user's own may raise
            self._refused = True
            cupy.cuda.get_current_stream().synchronize()  # raises if the device has failed
            refusal = reason(error)
        refusal = self._agreed(refusal, "a graph of an update")
        if not refusal:
            self._graph = graph
            return
        self._refused = True
        self._memory = PrivateMemory()
        say_once(refusal)
        self._stretches = self._divided()

    def _agreed(self, refusal: str, what: str) -> str:
        """Return why one of the ranks has no such graph, or nothing if all have."""
        if not self._collectives:
            return refusal
        found = self._collectives[0].gather(refusal, what)
        return next((f"rank {rank}: {why}" for rank, why in enumerate(found) if why), "")

    def _divided(self) -> list[Callable[[int], None]]:
        """Return the calls in stretches that can be captured, and what stands between them."""
        groups = [(kind, list(group)) for kind, group in groupby(self._calls, uncertain)]
        if len(groups) == 1:
            return []
        return [
            one_by_one(calls) if kind else GraphExecutor(calls, self._scratch)
            for kind, calls in groups
        ]

    def _record_unrolled(self) -> None:
        graph, refusal = None, ""
        if self._memory.used:
            refusal = "its memory would be needed as often as the operations are in the graph"
        else:
            try:
                graph = self._captured(UNROLLED)
            except Exception as error:  # such as a lack of memory; the graph of one is there
                refusal = reason(error)
        refusal = self._agreed(refusal, "a graph of several updates")
        if refusal:
            logger.debug("gpunn: no graph of %d steps: %s", UNROLLED, refusal)
        else:
            self._unrolled = graph

    def _captured(self, times: int) -> Any:
        """Return a graph of the operations so many times, whose memory is its own."""
        with cupy.cuda.using_allocator(self._memory):
            graph = Graph(captured(self._operations, times))
        for call in self._collectives:
            call.graphs.add(graph)
        return graph


class Graph:
    """A CUDA graph, which can be destroyed before what its nodes need."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    def launch(self) -> None:
        """Do what is in it."""
        if self._graph is None:
            raise DistributedError(
                "communicator: it was closed, and with it the steps that used it; make a new one, "
                "and a new trainer"
            )
        self._graph.launch()

    def destroy(self) -> None:
        """Let go of it, though others may still have this object."""
        self._graph = None


def uncertain(call: Callable[[], object]) -> bool:
    """Return whether a call is not captured once a capture of the whole has failed."""
    return isinstance(call, Definition | Collective | Branch | JoinedBranch)


def collectives_among(calls: Sequence[Callable[[], object]]) -> list[Collective]:
    """Return the calls in which other processes take part."""
    found: list[Collective] = []
    for call in calls:
        if isinstance(call, Branch):
            found += collectives_among(call.calls)
        elif isinstance(call, Collective):
            found.append(call)
    return found


def one_by_one(calls: Sequence[Callable[[], object]]) -> Callable[[int], None]:
    """Return what makes these calls a number of times."""

    def repeat(times: int) -> None:
        for _ in range(times):
            for call in calls:
                call()

    return repeat


def captured(operations: Callable[[], None], times: int) -> Any:
    """Return a CUDA graph of the operations so many times. Nothing has run on the device then."""
    # A stream that the default one does not wait for; CuPy's mode of capturing is "relaxed", which
    # lets a private pool ask CUDA for memory.
    stream = cupy.cuda.Stream(non_blocking=True)
    with undisturbed(), stream:
        stream.begin_capture()
        try:
            for _ in range(times):
                operations()
        except BaseException:
            with suppress(Exception):  # the stream must stop capturing, whatever it says
                stream.end_capture()
            raise
        return stream.end_capture()


CAPTURING = threading.RLock()
"""Held while a thread captures, and while one waits for a whole device: CUDA takes that for waiting
for the stream that is captured, and ends both in an error."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Collect no garbage meanwhile: it may hold handles of cuBLAS, say.

    To destroy such a handle waits for the device, and that ends a capture in an error. One thread
    captures at a time, so that none switches collection on while another one captures.
    """
    with CAPTURING:
        enabled = gc.isenabled()
        try:  # from here on, for Ctrl-C may come as soon as collection is off
            gc.disable()
            yield
        finally:
            if enabled:
                gc.enable()


def between_captures(wait: Callable[..., Any], *arguments: Any) -> None:
    """Call what waits for a whole device, once no other thread captures."""
    with CAPTURING:
        wait(*arguments)


def synchronize() -> None:
    """Wait for the current device."""
    between_captures(cupy.cuda.runtime.deviceSynchronize)


class PrivateMemory:
    """An allocator whose memory is never given to anybody else as long as it lives.

    A graph writes to the memory of its temporary arrays at each launch, though they are long gone.
    """

    def __init__(self) -> None:
        self._pool = cupy.cuda.MemoryPool()
        self._kept: list[Any] = []

    @property
    def used(self) -> bool:
        """Whether anybody got memory."""
        return bool(self._kept)

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
    """Say that a step, or the batches of an evaluation, go on without a graph of the whole."""
    logger.warning(
        "gpunn: the step, or evaluation, can't be recorded as a CUDA graph, so some or all of its "
        "operations are launched one by one, with the same results: %s",
        why,
    )
