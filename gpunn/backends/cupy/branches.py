"""Operations on a second stream, while the first goes on; in a capture, a branch of the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cupy

from gpunn.backends.collective import Lane

__all__ = ["Branch", "JoinedBranch"]


class Branch:
    """Makes calls on the lane's stream, after all that was asked of the current one."""

    def __init__(self, lane: Lane, calls: Sequence[Callable[[], object]]) -> None:
        self.calls = list(calls)
        self._lane = lane
        self._event = cupy.cuda.Event(disable_timing=True)

    def __call__(self) -> None:
        """Ask for them."""
        stream = stream_of(self._lane)
        second_waits(stream, self._event)
        with stream:
            for call in self.calls:
                call()


class JoinedBranch:
    """Lets the current stream wait for the lane's."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._event = cupy.cuda.Event(disable_timing=True)

    def __call__(self) -> None:
        """Ask for it."""
        current_waits(stream_of(self._lane), self._event)


def second_waits(stream: Any, event: Any) -> None:
    """Let a stream wait for what the current one has been asked for."""
    event.record(cupy.cuda.get_current_stream())
    stream.wait_event(event)


def current_waits(stream: Any, event: Any) -> None:
    """Let the current stream wait for what another one has been asked for."""
    event.record(stream)
    cupy.cuda.get_current_stream().wait_event(event)


def stream_of(lane: Lane) -> Any:
    """Return the lane's stream."""
    if lane.stream is None:
        lane.stream = cupy.cuda.Stream(non_blocking=True)
    return lane.stream
