"""Transfer data from page-locked memory to the device while kernels run on another stream."""

import weakref
from contextlib import suppress
from typing import Any

import cupy
import numpy as np

from gpunn.backends.staging import Memory, Stager
from gpunn.typing import Array


class StagingBuffer:
    def __init__(self) -> None:
        self.arrays: dict[str, tuple[Array, np.ndarray]] = {}
        # `read` is recorded after the last kernel that reads the arrays, and `copied` after the
        # last copy from pinned memory.
        self.read = cupy.cuda.Event(disable_timing=True)
        self.copied = cupy.cuda.Event(disable_timing=True)


class PinnedStager(Stager):
    """Double buffering: kernels use one chunk while the next one is transferred.

    Only transfers from page-locked ("pinned") memory run in parallel with kernels (NVIDIA, CUDA C++
    Programming Guide, "Overlap of Data Transfer and Kernel Execution"). Before the host overwrites
    or frees pinned memory, it waits for all transfers: CuPy's pools ignore the transfer stream.
    """

    def __init__(self, backend: Memory) -> None:
        super().__init__(backend)
        backend.device.use()
        self._buffers = StagingBuffer(), StagingBuffer()
        self._current = 0
        self._stream = cupy.cuda.Stream(non_blocking=True)
        # An error or Ctrl-C may interrupt the use of a chunk anywhere. At the end of the process,
        # waiting is unnecessary.
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
            # The transfer waits for the zeros, and for earlier uses of this memory.
            self._stream.wait_event(cupy.cuda.get_current_stream().record())
            buffer.arrays[name] = array, pinned_array(array.shape, array.dtype)
        array, pinned = buffer.arrays[name]
        staged = pinned[:rows]
        np.copyto(staged, values, casting="unsafe")
        try:
            array[:rows].set(staged, stream=self._stream)
        finally:  # even after Ctrl-C, since the buffer may be used again
            self._stream.record(buffer.copied)
        return array

    def ready(self) -> None:
        cupy.cuda.get_current_stream().wait_event(self._buffers[self._current].copied)


def wait(stream: Any) -> None:
    with suppress(cupy.cuda.runtime.CUDARuntimeError):
        stream.synchronize()


def pinned_array(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = int(np.prod(shape))
    memory = cupy.cuda.alloc_pinned_memory(max(1, size * dtype.itemsize))
    return np.frombuffer(memory, dtype, size).reshape(shape)
