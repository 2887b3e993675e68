"""Transfers from page-locked memory on a stream of their own, while kernels are at work."""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any

import cupy
import numpy as np

from gpunn.backends.staging import Memory, Stager
from gpunn.typing import Array

__all__ = ["PinnedStager"]


class StagingBuffer:
    """Memory for one chunk: arrays on the device, and page-locked ones on the host."""

    def __init__(self) -> None:
        self.arrays: dict[str, tuple[Array, np.ndarray]] = {}
        # After the last kernel that reads the arrays, and after the last copy of pinned memory.
        self.read = cupy.cuda.Event(disable_timing=True)
        self.copied = cupy.cuda.Event(disable_timing=True)


class PinnedStager(Stager):
    """Double buffering, two chunks in turn: one is transferred while the other is computed with.

    Only from page-locked ("pinned") memory does a transfer run beside kernels (NVIDIA, CUDA C++
    Programming Guide, "Overlap of Data Transfer and Kernel Execution"). So values are converted
    into pinned memory first. Events keep the order: a transfer waits for the kernels that read what
    was in its buffer, kernels wait for the transfer, and the host waits before it writes to
    pinned memory that is still being read, and before memory is given back: CuPy's pools know
    nothing of this stream, and would give it to others at once.
    """

    def __init__(self, backend: Memory) -> None:
        super().__init__(backend)
        backend.device.use()
        self._buffers = StagingBuffer(), StagingBuffer()
        self._current = 0
        self._stream = cupy.cuda.Stream(non_blocking=True)
        # An error or Ctrl-C may end the use of a chunk anywhere. At the end of the process, nothing
        # is given to others any more.
        weakref.finalize(self, wait, self._stream).atexit = False

    def begin(self) -> None:
        self.backend.device.use()
        cupy.cuda.get_current_stream().record(self._buffers[self._current].read)
        self._current = 1 - self._current
        buffer = self._buffers[self._current]
        self._stream.wait_event(buffer.read)
        buffer.copied.synchronize()

    def put(self, name: str, values: np.ndarray, capacity: int, dtype: str) -> Array:
        buffer, rows = self._buffers[self._current], len(values)
        if name not in buffer.arrays or buffer.arrays[name][0].shape[0] < capacity:
            array = self.backend.zeros((capacity, *values.shape[1:]), dtype)
            # The zeros, and whatever last used this memory, come before the transfer.
            self._stream.wait_event(cupy.cuda.get_current_stream().record())
            buffer.arrays[name] = array, pinned_array(array.shape, array.dtype)
        array, pinned = buffer.arrays[name]
        staged = pinned[:rows]
        np.copyto(staged, values, casting="unsafe")
        try:
            array[:rows].set(staged, stream=self._stream)
        finally:  # also where Ctrl-C comes: the buffer may be used again
            self._stream.record(buffer.copied)
        return array

    def ready(self) -> None:
        cupy.cuda.get_current_stream().wait_event(self._buffers[self._current].copied)


def wait(stream: Any) -> None:
    """Wait for a stream; one of a device that has failed has nothing more to do."""
    with suppress(cupy.cuda.runtime.CUDARuntimeError):
        stream.synchronize()


def pinned_array(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return a host array in page-locked memory, of any content."""
    size = int(np.prod(shape))
    memory = cupy.cuda.alloc_pinned_memory(max(1, size * dtype.itemsize))
    return np.frombuffer(memory, dtype, size).reshape(shape)
