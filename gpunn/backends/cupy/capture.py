"""Capture a sequence of kernel launches as a CUDA graph, which replaces the launches.

A graph stores the kernels' arguments (addresses and numbers), so values that change must be in
arrays (NVIDIA, CUDA C++ Programming Guide, "CUDA Graphs").
"""

from __future__ import annotations

import functools
import logging
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import Any

import cupy

from gpunn.backends.collection import COLLECTION
from gpunn.backends.collective import Collective
from gpunn.backends.cupy.branches import in_sequence
from gpunn.backends.cupy.scratch import Buffers, Scratch
from gpunn.errors import DistributedError

logger = logging.getLogger("gpunn")

UNROLLED = 8
"""Number of training steps in the unrolled graph. More steps would save little time, and each of a
graph's nodes takes about 10 KB (cccl pull request 3768)."""

UNROLL_AFTER = 64
"""Number of requested repetitions after which the unrolled graph is captured. A capture takes the
host about as long as launching `UNROLLED` repetitions one by one."""


class Definition:
    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function

    def __call__(self) -> None:
        self._function()


class GraphExecutor:
    """A sequence of calls, first launched one by one, then as a captured graph.

    Each call must submit the same work on the same arrays every time.

    The user's code in a `Definition` can make a capture fail. After a failure, each `Definition` or
    `Collective` is launched separately, and only the calls between these are captured. If a graph
    contains a `Collective`, either all processes capture the graph, or no process does.
    """

    def __init__(self, calls: Sequence[Callable[[], object]], scratch: Scratch) -> None:
        self._calls, self._scratch = calls, scratch
        self._buffers: Buffers = {}
        self._memory = PrivateMemory()
        self._graph: Any = None
        self._unrolled: Any = None
        self._warm = self._refused = self._tried_unrolled = False
        self._stretches: list[Callable[[int], None]] = []
        self._requested = 0
        self._collectives = [each for each in in_sequence(calls) if isinstance(each, Collective)]

    def _operations(self) -> None:
        self._memory.begin_repetition()
        for call in self._calls:
            call()

    def __call__(self, times: int) -> None:
        with self._scratch.using(self._buffers):
            self._repeat(times)

    def _repeat(self, times: int) -> None:
        self._requested += times
        worthwhile = times >= UNROLLED and self._requested >= UNROLL_AFTER
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
        if self._warm and not self._refused:  # a capture can't compile kernels or allocate
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
        graph, refusal = None, ""
        try:
            graph = self._captured(1)
        except Exception as error:  # a custom class may raise anything
            self._refused = True
            cupy.cuda.get_current_stream().synchronize()  # raises if the device has failed
            refusal = class_and_first_line(error)
        refusal = self._first_refusal(refusal, "a graph of an update")
        if not refusal:
            self._graph = graph
            return
        self._refused = True
        self._memory = PrivateMemory()
        say_once(refusal)
        self._stretches = self._split_into_stretches()

    def _first_refusal(self, refusal: str, what: str) -> str:
        if not self._collectives:
            return refusal
        refusals = self._collectives[0].gather(refusal, what)
        return next((f"rank {rank}: {why}" for rank, why in enumerate(refusals) if why), "")

    def _split_into_stretches(self) -> list[Callable[[int], None]]:
        groups = [
            (kind, list(group)) for kind, group in groupby(in_sequence(self._calls), uncertain)
        ]
        if len(groups) == 1:
            return []
        return [
            one_by_one(calls) if kind else GraphExecutor(calls, self._scratch)
            for kind, calls in groups
        ]

    def _record_unrolled(self) -> None:
        graph, refusal = None, ""
        try:
            graph = self._captured(UNROLLED)
        except Exception as error:  # such as too little memory; the small graph still works
            refusal = class_and_first_line(error)
        refusal = self._first_refusal(refusal, "a graph of several updates")
        if refusal:
            logger.debug("gpunn: can't record %d steps as one CUDA graph: %s", UNROLLED, refusal)
        else:
            self._unrolled = graph

    def _captured(self, times: int) -> Any:
        with cupy.cuda.using_allocator(self._memory):
            graph = Graph(captured(self._operations, times))
        for call in self._collectives:
            call.graphs.add(graph)
        return graph


class Graph:
    def __init__(self, graph: Any) -> None:
        self._graph = graph

    def launch(self) -> None:
        if self._graph is None:
            raise DistributedError(
                "communicator: it is closed, so this trainer cannot continue; create a new "
                "communicator and a new trainer"
            )
        self._graph.launch()

    def destroy(self) -> None:
        self._graph = None


def uncertain(call: Callable[[], object]) -> bool:
    return isinstance(call, Definition | Collective)


def one_by_one(calls: Sequence[Callable[[], object]]) -> Callable[[int], None]:
    def repeat(times: int) -> None:
        for _ in range(times):
            for call in calls:
                call()

    return repeat


def captured(operations: Callable[[], None], times: int) -> Any:
    # The default stream does not wait for a non-blocking stream. CuPy captures in "relaxed" mode,
    # in which a private pool may allocate memory.
    stream = cupy.cuda.Stream(non_blocking=True)
    with undisturbed(), stream:
        stream.begin_capture()
        try:
            for _ in range(times):
                operations()
        except BaseException:
            with suppress(Exception):  # the stream must stop capturing in any case
                stream.end_capture()
            raise
        return stream.end_capture()


CAPTURING = threading.RLock()
"""A lock for capturing a stream and for waiting for a whole device. If one thread waits for a
device while another thread captures a stream of this device, both fail."""


@contextmanager
def undisturbed() -> Iterator[None]:
    # Garbage collection may destroy cuBLAS handles. Destroying one waits for the device, which
    # makes a capture fail.
    with CAPTURING, COLLECTION.pause():
        yield


def between_captures(wait: Callable[..., Any], *arguments: Any) -> None:
    # A wait for the whole device would make another thread's capture fail.
    with CAPTURING:
        wait(*arguments)


def synchronize() -> None:
    between_captures(cupy.cuda.runtime.deviceSynchronize)


class Owner:
    """Keeps a block of private memory in use as long as an array uses the block."""


# Each launch of a graph writes to the graph's temporary arrays, even after Python has deleted
# them. Repetitions of a step in a graph run one by one, so they can share memory.
class PrivateMemory:
    """Allocates memory for the graphs of only one executor."""

    def __init__(self) -> None:
        self._pool = cupy.cuda.MemoryPool()
        self._kept: dict[Any, tuple[int, weakref.ref[Owner]]] = {}
        self._free: defaultdict[int, list[Any]] = defaultdict(list)

    def begin_repetition(self) -> None:
        self._free.clear()
        for block, (size, owner) in self._kept.items():
            if owner() is None:
                self._free[size].append(block)

    def __call__(self, size: int) -> Any:
        free, owner = self._free[size], Owner()
        block = free.pop(0) if free else self._pool.malloc(size)
        self._kept[block] = size, weakref.ref(owner)
        memory = cupy.cuda.UnownedMemory(block.ptr, size, owner, block.device_id)
        return cupy.cuda.MemoryPointer(memory, 0)


def class_and_first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0]}"


@functools.cache
def say_once(why: str) -> None:
    logger.warning(
        "gpunn: a training step or evaluation can't be recorded as a CUDA graph. Some or all "
        "operations are launched one by one; this is slower, but gives the same results. Reason: "
        "%s",
        why,
    )
