"""A stream for the work of one network, so that networks of several threads train in parallel."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import cupy


class SeparateStream:
    """A context in which a thread computes on a separate stream.

    The stream is blocking: it and the default stream, which creates networks and loads rows, wait
    for each other. CuPy's pool reuses the memory of an array only on the stream that was current
    when the array was created. So each network keeps its stream, even if threads train it in turn.
    `errors` returns a context that translates errors of the device.
    """

    def __init__(self, device: Any, errors: Callable[[], AbstractContextManager[None]]) -> None:
        self._device, self._errors = device, errors
        self._stream = cupy.cuda.Stream()

    def __enter__(self) -> None:
        """Make the stream the thread's current stream."""
        with suppress(cupy.cuda.runtime.CUDARuntimeError):  # a failed device; later calls raise it
            self._device.use()
            current = cupy.cuda.get_current_stream()
            if current.ptr:  # such as that of a network whose callback trains this one
                current.synchronize()
        self._stream.__enter__()

    def __exit__(self, kind: Any, *error: Any) -> None:
        """Wait until the work has finished, since a different thread may use its arrays next."""
        try:
            with suppress(Exception) if kind else self._errors():
                self._stream.synchronize()
        finally:
            with suppress(cupy.cuda.runtime.CUDARuntimeError):
                self._device.use()  # a callback may have changed the thread's device
            self._stream.__exit__(kind, *error)
