"""Run operations on a second stream, which becomes a parallel branch of a captured graph."""

from collections.abc import Callable, Sequence
from typing import Any

import cupy

from gpunn.backends.collective import Lane
from gpunn.backends.cupy.scratch import Scratch


class Branch:
    """Calls functions on a second stream, the lane, after earlier work on the current stream.

    The lane has separate scratch memory, because its calls run concurrently with other calls.
    """

    def __init__(self, lane: Lane, calls: Sequence[Callable[[], object]], scratch: Scratch) -> None:
        self.calls = list(calls)
        self._lane, self._scratch = lane, scratch
        self._event = cupy.cuda.Event(disable_timing=True)

    def __call__(self) -> None:
        stream = stream_of(self._lane)
        wait_for_current(stream, self._event)
        # The lane has separate scratch memory, because its calls run concurrently with others.
        with self._scratch.of_lane(self._lane), stream:
            for call in self.calls:
                call()


class JoinedBranch:
    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._event = cupy.cuda.Event(disable_timing=True)

    def __call__(self) -> None:
        let_current_wait(stream_of(self._lane), self._event)


def in_sequence(calls: Sequence[Callable[[], object]]) -> list[Callable[[], object]]:
    sequence: list[Callable[[], object]] = []
    for call in calls:
        if isinstance(call, Branch):
            sequence += in_sequence(call.calls)
        elif not isinstance(call, JoinedBranch):
            sequence.append(call)
    return sequence


def wait_for_current(stream: Any, event: Any) -> None:
    event.record(cupy.cuda.get_current_stream())
    stream.wait_event(event)


def let_current_wait(stream: Any, event: Any) -> None:
    event.record(stream)
    cupy.cuda.get_current_stream().wait_event(event)


def stream_of(lane: Lane) -> Any:
    if lane.stream is None:
        lane.stream = cupy.cuda.Stream(non_blocking=True)
    return lane.stream
