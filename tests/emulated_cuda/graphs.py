"""Streams, events, stream capture and graphs: when submitted work runs.

Work runs immediately, in the order of submission. If its stream is capturing, it becomes a node of
a graph with its current argument values, and runs at each launch of the graph.
"""

import ctypes
import gc
import itertools
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from .counters import count
from .cupy_private import cuda_error
from .errors import InvalidAccessError, KernelFault
from .memory import Memory, Region
from .order import Access, Clock, GraphOrder, merge

INVALID_VALUE = 1
INVALID_HANDLE = 400
CAPTURE_UNSUPPORTED = 900
CAPTURE_INVALIDATED = 901
CAPTURE_MERGE = 902
CAPTURE_UNMATCHED = 903
CAPTURE_UNJOINED = 904
CAPTURE_ISOLATION = 905
CAPTURE_IMPLICIT = 906
CAPTURED_EVENT = 907

LEGACY_STREAMS = (0, 1)
BUILT_IN_STREAMS = (0, 1, 2)  # 2: the per-thread default stream
NON_BLOCKING = 1
RELAXED = 2
EVENT_WITHOUT_TIMING = 2


@dataclass(frozen=True)
class Operand:
    """Device memory that a piece of work accesses."""

    address: int
    size: int
    what: str
    written: bool | None = None  # None: unknown before the work runs
    bare: bool = False  # a pointer, which may reach to the end of its region


@dataclass(frozen=True)
class Work:
    """Something a stream can do: a kernel, a product, a copy, a fill.

    ``family`` names its counters: ``"kernels"`` -> kernels, captured, replayed. Graphs with this
    work must not outlive ``owner``, the address of an NCCL communicator.
    """

    name: str
    device: int | None  # None where operands may lie on any device (copies)
    operands: tuple[Operand, ...]
    run: Callable[[], None]
    family: str | None = None
    owner: int = 0


FAMILIES = {
    "kernels": ("kernels", "captured", "replayed"),
    "matmuls": ("matmuls", "captured_matmuls", "replayed_matmuls"),
    "collectives": ("collectives", "captured_collectives", "replayed_collectives"),
}


@dataclass(frozen=True)
class Node:
    """Work in a graph; its clock names the work of each stream that comes before."""

    work: Work
    regions: list[Region]
    stream: int
    clock: Clock


@dataclass(eq=False)
class Capture:
    """The work submitted between begin and end of a capture."""

    origin: int
    mode: int
    nodes: list[Node] = field(default_factory=list)
    clocks: dict[int, Clock] = field(default_factory=lambda: defaultdict(dict))
    submitted: Counter[int] = field(default_factory=Counter)  # stream -> nodes
    unjoined: set[int] = field(default_factory=set)
    invalid: bool = False


@dataclass(eq=False)
class Stream:
    handle: int  # a later stream may have the same
    serial: int  # none has the same
    device: int
    flags: int = 0
    clock: Clock = field(default_factory=dict)  # what comes before its next work
    capture: Capture | None = None
    settled: bool = False  # the host has just waited for it, in a blocking copy


@dataclass(eq=False)
class Event:
    flags: int
    recorded_at: float | None = None
    capture: Capture | None = None
    stream: int = 0
    position: int = 0
    clock: Clock = field(default_factory=dict)  # what comes before it


class Scheduler:
    def __init__(self, memory: Memory, current_device: Callable[[], int]):
        self.memory = memory
        self.current_device = current_device
        self.order = memory.order
        self._handles = itertools.count(0x10000)
        self._serials = itertools.count()
        self._streams: dict[int, Stream] = {}
        self._destroyed: list[int] = []  # handles of streams, for those that come
        # Whether errors of work are told later; the status of the first; whether the host knows it.
        self._late, self._failure, self._told = False, 0, False
        self._left_behind: dict[int, Clock] = {}  # device -> work of destroyed streams
        self._built_in: dict[tuple[int, int], Stream] = {}
        self._events: dict[int, Event] = {}
        self._graphs: dict[int, list[Node]] = {}
        self._checked: set[int] = set()  # graphs whose branches have been checked
        self._thread = threading.local()  # ranks may be threads
        self._streams_order: GraphOrder | None = None  # checks accesses of streams, if it is given

    # ---- work --------------------------------------------------------------------------------

    def submit(self, handle: int, work: Work) -> None:
        """Check the work's operands, then run it or make it a node of the capture."""
        self.memory.raise_found()
        self.raise_if_told()
        stream = self.stream(handle)
        if work.device is not None and stream.device != work.device:
            raise cuda_error(INVALID_HANDLE)  # a stream of another device
        stream.settled = False
        eager, captured, _ = FAMILIES.get(work.family or "", (None, None, None))
        capture = self._capture_of(stream)
        if capture is None:
            if eager:
                count(eager, work.name)
            self._begin_work(stream)
            self._run(stream, work, None)
            return
        regions = self._regions(work)
        if not capture.nodes and gc.isenabled():  # it may come at any time
            gc.collect()
        if captured:
            count(captured, work.name)
        capture.submitted[handle] += 1
        clock = capture.clocks[handle]
        clock[handle] = capture.submitted[handle]
        capture.nodes.append(Node(work, regions, handle, dict(clock)))
        if handle != capture.origin:
            capture.unjoined.add(handle)

    def _regions(self, work: Work) -> list[Region]:
        return [
            self.memory.check(o.address, o.size, work.device, f"{work.name}, {o.what}")
            for o in work.operands
        ]

    def _run(self, stream: Stream, work: Work, regions: list[Region] | None) -> None:
        """Run work of this stream, unless the device has failed; the regions may be known."""
        if self._failure:
            return
        try:
            regions = regions or self._regions(work)
            for operand, region in zip(work.operands, regions, strict=True):
                self._order(stream, work, operand, region)
            if self._streams_order is None:
                work.run()
                return
            clock = dict(stream.clock)
            self.order.add_host(clock)
            with watched(Node(work, regions, stream.serial, clock), self._streams_order):
                work.run()
        except (InvalidAccessError, KernelFault) as error:
            if not self._late:
                raise
            self._failure = error.status

    def _order(self, stream: Stream, work: Work, operand: Operand, region: Region) -> None:
        """Check that earlier uses of an operand are known to have finished."""
        span = operand.address, operand.address + operand.size
        exchange = work.family == "collectives"
        if exchange or region.exchanged:
            what = f"{work.name}, {operand.what}"
            self.memory.share(region, span, exchange, stream.clock, what)
        self.memory.use(region, stream.clock, stream.serial, work.name, operand.what)
        if exchange:
            region.exchanged[span] = stream.serial, stream.clock[stream.serial]

    def _begin_work(self, stream: Stream) -> None:
        """Number the next work of this stream."""
        if not stream.flags & NON_BLOCKING:  # the legacy stream and such wait for each other
            for other in (*self._streams.values(), *self._built_in.values()):
                if (
                    other.device == stream.device
                    and not other.flags & NON_BLOCKING
                    and 0 in (stream.handle, other.handle)
                ):
                    merge(stream.clock, other.clock)
        self.order.submit(stream.serial, stream.clock)

    # ---- the host waits ----------------------------------------------------------------------

    def host_waits(self, clock: Clock) -> None:
        """Make the host wait for this work, and learn whether it succeeded."""
        if self._failure:
            self._told = True
        self.raise_if_told()
        self.order.host_waited(clock)

    def raise_if_told(self) -> None:
        if self._told:
            raise cuda_error(self._failure)

    @contextmanager
    def watched_streams(self) -> Iterator[None]:
        self._streams_order = GraphOrder()
        try:
            yield
        finally:
            self._streams_order = None

    @contextmanager
    def late_errors(self) -> Iterator[None]:
        self._late = True
        try:
            yield
        finally:
            self._late, self._failure, self._told = False, 0, False

    def host_waits_for_device(self, device: int) -> None:
        """Wait for all streams of a device, including destroyed ones."""
        for stream in (*self._streams.values(), *self._built_in.values()):
            if stream.device == device:
                self.host_waits(stream.clock)
        self.host_waits(self._left_behind.pop(device, {}))

    def capturing(self, handle: int) -> bool:
        return self.stream(handle).capture is not None

    def any_capture(self) -> bool:
        return any(s.capture for s in tuple(self._streams.values()))

    def _capture_of(self, stream: Stream) -> Capture | None:
        if stream.handle in LEGACY_STREAMS:
            self.check_legacy(stream.device)
        if stream.capture is not None and stream.capture.invalid:
            raise cuda_error(CAPTURE_INVALIDATED)
        return stream.capture

    def check_legacy(self, device: int) -> None:
        for other in tuple(self._streams.values()):  # other threads may create streams
            if other.capture and other.device == device and not other.flags & NON_BLOCKING:
                other.capture.invalid = True
                raise cuda_error(CAPTURE_IMPLICIT)

    def refuse_in_capture(self, handle: int) -> None:
        """If the stream is capturing, raise an error and break the capture."""
        capture = self.stream(handle).capture
        if capture is not None:
            capture.invalid = True
            raise cuda_error(CAPTURE_UNSUPPORTED)

    def refuse_in_any_capture(self, *, unless_relaxed: bool = False) -> None:
        """Do the same for calls about a whole device."""
        for stream in tuple(self._streams.values()):
            capture = stream.capture
            if capture is not None and not (unless_relaxed and capture.mode == RELAXED):
                capture.invalid = True
                raise cuda_error(CAPTURE_UNSUPPORTED)

    # ---- streams -----------------------------------------------------------------------------

    def stream(self, handle: int) -> Stream:
        """The stream of this handle; each device has its own legacy and per-thread streams."""
        if handle in BUILT_IN_STREAMS:
            key = self.current_device(), 0 if handle in LEGACY_STREAMS else handle
            if key not in self._built_in:
                self._built_in[key] = Stream(key[1], next(self._serials), key[0])
            return self._built_in[key]
        try:
            return self._streams[handle]
        except KeyError:
            raise cuda_error(INVALID_HANDLE) from None

    def create_stream(self, flags: int = 0, priority: int = 0) -> int:
        handle = self._destroyed.pop() if self._destroyed else next(self._handles)
        serial, device = next(self._serials), self.current_device()
        self._streams[handle] = Stream(handle, serial, device, flags)
        return handle

    def destroy_stream(self, handle: int) -> None:
        """Destroy a stream, which is legal at any time: its remaining work still runs."""
        stream = self._streams.pop(handle, None)
        if stream is None:
            raise cuda_error(INVALID_HANDLE)
        merge(self._left_behind.setdefault(stream.device, {}), stream.clock)
        self._destroyed.append(handle)

    def synchronize_stream(self, handle: int) -> None:
        self.refuse_in_capture(handle)
        stream = self.stream(handle)
        if handle in LEGACY_STREAMS:
            self.check_legacy(stream.device)
        if stream.settled:
            stream.settled = False
        else:
            count("syncs", "stream")
        self.host_waits(stream.clock)
        self.memory.raise_found()

    def query_stream(self, handle: int) -> int:
        self.refuse_in_capture(handle)
        self.host_waits(self.stream(handle).clock)
        return 0  # cudaSuccess: all submitted work has run

    def settle(self, handle: int) -> None:
        """A blocking copy made the host wait for this stream."""
        count("syncs", "copy")
        stream = self.stream(handle)
        stream.settled = True
        self.host_waits(stream.clock)

    # ---- events ------------------------------------------------------------------------------

    def event(self, handle: int) -> Event:
        try:
            return self._events[handle]
        except KeyError:
            raise cuda_error(INVALID_HANDLE) from None

    def create_event(self, flags: int = 0) -> int:
        handle = next(self._handles)
        self._events[handle] = Event(flags)
        return handle

    def destroy_event(self, handle: int) -> None:
        if self._events.pop(handle, None) is None:
            raise cuda_error(INVALID_HANDLE)

    def record_event(self, handle: int, stream_handle: int) -> None:
        event, stream = self.event(handle), self.stream(stream_handle)
        event.capture = self._capture_of(stream)
        event.stream = stream_handle
        event.clock = dict(stream.clock)
        event.recorded_at = time.perf_counter()
        if event.capture is not None:
            event.position = event.capture.submitted[stream_handle]
            event.clock = dict(event.capture.clocks[stream_handle])

    def wait_event(self, stream_handle: int, handle: int) -> None:
        event, stream = self.event(handle), self.stream(stream_handle)
        capture = event.capture
        if capture is None:
            if stream.capture is not None and event.recorded_at is not None:
                stream.capture.invalid = True
                raise cuda_error(CAPTURE_ISOLATION)
            merge(stream.clock, event.clock)
            return
        if stream.capture is not None and stream.capture is not capture:
            capture.invalid = stream.capture.invalid = True
            raise cuda_error(CAPTURE_MERGE)
        if stream.capture is None:  # a fork: the stream takes part from here on
            if stream.handle in LEGACY_STREAMS:
                raise cuda_error(CAPTURE_IMPLICIT)
            stream.capture = capture
            capture.unjoined.add(stream_handle)
        merge(capture.clocks[stream_handle], event.clock)
        if event.stream != stream_handle and event.position == capture.submitted[event.stream]:
            capture.unjoined.discard(event.stream)

    def synchronize_event(self, handle: int) -> None:
        self._refuse_captured(handle)
        count("syncs", "event")
        self.host_waits(self.event(handle).clock)
        self.memory.raise_found()

    def query_event(self, handle: int) -> int:
        self._refuse_captured(handle)
        self.host_waits(self.event(handle).clock)
        return 0

    def elapsed_milliseconds(self, start: int, end: int) -> float:
        first, last = self.event(start), self.event(end)
        times = (first.recorded_at, last.recorded_at)
        if (
            (first.flags | last.flags) & EVENT_WITHOUT_TIMING
            or times[0] is None
            or times[1] is None
        ):
            raise cuda_error(INVALID_HANDLE)
        return (times[1] - times[0]) * 1e3

    def _refuse_captured(self, handle: int) -> None:
        if self.event(handle).capture is not None:
            raise cuda_error(CAPTURED_EVENT)

    # ---- capture and graphs ------------------------------------------------------------------

    def begin_capture(self, handle: int, mode: int = RELAXED) -> None:
        if handle in LEGACY_STREAMS:
            raise cuda_error(CAPTURE_UNSUPPORTED)
        stream = self.stream(handle)
        if stream.capture is not None:
            raise cuda_error(INVALID_VALUE)
        stream.capture = Capture(handle, RELAXED if mode < 0 else mode)

    def end_capture(self, handle: int) -> int:
        capture = self.stream(handle).capture
        if capture is None:
            raise cuda_error(INVALID_VALUE)
        if capture.origin != handle:
            raise cuda_error(CAPTURE_UNMATCHED)
        for stream in self._streams.values():
            if stream.capture is capture:
                stream.capture = None
        if capture.invalid:
            raise cuda_error(CAPTURE_INVALIDATED)
        if capture.unjoined:
            raise cuda_error(CAPTURE_UNJOINED)
        graph = next(self._handles)
        self._graphs[graph] = capture.nodes
        return graph

    def is_capturing(self, handle: int) -> int:
        if handle in LEGACY_STREAMS:
            self.check_legacy(self.current_device())
        return int(self.capturing(handle))

    def instantiate(self, graph: int) -> int:
        executable = next(self._handles)
        self._graphs[executable] = list(self._graphs[graph])
        return executable

    def destroy_graph(self, graph: int) -> None:
        if self._graphs.pop(graph, None) is None:
            raise cuda_error(INVALID_VALUE)

    def launch_graph(self, graph: int, stream_handle: int) -> None:
        """Run every node, after a check that its memory has not been freed."""
        self.memory.raise_found()
        self.refuse_in_capture(stream_handle)  # child graphs are not emulated
        nodes = self._graphs[graph]
        for node in nodes:
            work = node.work
            for operand, region in zip(work.operands, node.regions, strict=True):
                if not region.live:
                    raise InvalidAccessError(
                        f"graph: {work.name}, {operand.what}: the memory at "
                        f"{operand.address:#x} was given back after the capture (keep it "
                        "referenced as long as the graph)"
                    )
        count("graph_launches")
        stream = self.stream(stream_handle)
        self._begin_work(stream)
        self._thread.collectives = sum(node.work.family == "collectives" for node in nodes)
        order = None
        if graph not in self._checked and len({node.stream for node in nodes}) > 1:
            order = GraphOrder()
        self._checked.add(graph)
        try:
            for node in nodes:
                _, _, replayed = FAMILIES.get(node.work.family or "", (None, None, None))
                if replayed:
                    count(replayed, node.work.name)
                if order is None:
                    self._run(stream, node.work, node.regions)
                else:
                    with watched(node, order):
                        self._run(stream, node.work, node.regions)
        finally:
            self._thread.collectives = 0

    @property
    def collectives_of_launch(self) -> int:
        """The number of collective calls in the running graph; 0 outside graphs."""
        found: int = getattr(self._thread, "collectives", 0)
        return found

    def in_graphs(self, owner: int) -> bool:
        graphs = list(self._graphs.values())  # other threads may change the dictionary
        return any(node.work.owner == owner for nodes in graphs for node in nodes)


@contextmanager
def watched(node: Node, order: GraphOrder) -> Iterator[None]:
    """Check a node's accesses against the other branches of its graph.

    What a kernel writes through its arrays and pointers shows by the bytes that change. A pointer
    that is not const counts as written at its first element in any case, and one that is const as
    read up to the end of its region.
    """
    spans = []
    for operand, region in zip(node.work.operands, node.regions, strict=True):
        end = region.address + region.size if operand.bare else operand.address + operand.size
        before = b"" if operand.written is not None else bytes_at(operand.address, end)
        spans.append((operand, end, before))
    yield
    accesses = []
    for operand, end, before in spans:
        what = f"{node.work.name}, {operand.what}"
        start, written = operand.address, operand.written
        if written is None:
            for first, last in changes(before, bytes_at(start, end)):
                accesses.append(Access(start + first, start + last, True, what))
            end, written = start + operand.size, operand.bare
        accesses.append(Access(start, end, written, what))
    order.add(node.stream, node.clock, accesses)


def bytes_at(start: int, end: int) -> bytes:
    return ctypes.string_at(start, end - start)


PARTS = 64


def changes(before: bytes, after: bytes) -> list[tuple[int, int]]:
    """The parts of memory that have changed, at most `PARTS`, without gaps of less than 8 bytes."""
    places = np.flatnonzero(np.frombuffer(before, "u1") != np.frombuffer(after, "u1"))
    if not len(places):
        return []
    gap, gaps = 8, np.diff(places)
    while np.count_nonzero(gaps > gap) >= PARTS:
        gap *= 2
    cuts = np.flatnonzero(gaps > gap)
    starts, stops = places[[0, *(cuts + 1)]], places[[*cuts, -1]] + 1
    return list(zip(starts.tolist(), stops.tolist(), strict=True))
