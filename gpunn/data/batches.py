"""Copy host arrays to the device: either all rows once, or in chunks (streaming).

The arrays on the device are allocated once and then overwritten, so a recorded training step always
finds its rows at the same addresses, or at a few alternating addresses.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gpunn.backends import Backend
from gpunn.backends.staging import Stager
from gpunn.data.memory_maps import rows_of
from gpunn.typing import Array

Rows = tuple[Array, Array, Array | None, Array | None]
"""Rows on the device: inputs, targets, weights, and weights of the metrics."""

STREAM_BYTES = 1 << 26
"""Bytes of a streamed chunk: computing with it takes longer than transferring the next one."""

DEVICE_FRACTION = 0.5
"""Data that would take more than this fraction of the device's free memory is streamed."""


@dataclass(frozen=True)
class DeviceRows:
    """Rows on the device, of which `order[:rows]` are used; `batches` has the batch sizes."""

    X: Array
    y: Array
    weights: Array | None
    order: Array
    rows: int
    metric_weights: Array | None = None
    batches: tuple[int, ...] | None = None


class Dataset:
    """Checked host arrays, copied to the device once, or streamed to the device in each epoch."""

    def __init__(
        self,
        backend: Backend,
        X: np.ndarray,
        y: np.ndarray,
        weights: np.ndarray | None,
        dtypes: tuple[str, str],
        stream: bool | None = None,
        metric_weights: np.ndarray | None = None,
    ) -> None:
        self.backend = backend
        self.X, self.y, self.weights, self.metric_weights = X, y, weights, metric_weights
        self.rows = int(X.shape[0])
        self.input_dtype, self.dtype = dtypes
        self.target_dtype = "int64" if y.ndim == 1 else self.dtype
        self.stream = self._too_large() if stream is None else stream
        self._resident: Rows | None = None
        self._order = Stager(backend)
        self._stager: Stager | None = None

    @property
    def row_bytes(self) -> int:
        inputs = int(np.prod(self.X.shape[1:])) * np.dtype(self.input_dtype).itemsize
        targets = int(np.prod(self.y.shape[1:])) * np.dtype(self.target_dtype).itemsize
        weights = sum(each is not None for each in (self.weights, self.metric_weights))
        return inputs + targets + weights * np.dtype(self.dtype).itemsize

    def _too_large(self) -> bool:
        if isinstance(self.X, np.memmap):
            return True
        free = self.backend.free_memory()
        return free is not None and self.rows * self.row_bytes > DEVICE_FRACTION * free

    def resident(self) -> Rows:
        if self._resident is None:
            weights, metric_weights = (
                None if each is None else self.backend.from_host(each, self.dtype)
                for each in (self.weights, self.metric_weights)
            )
            self._resident = (
                self.backend.from_host(self.X, self.input_dtype),
                self.backend.from_host(self.y, self.target_dtype),
                weights,
                metric_weights,
            )
        return self._resident

    def reserve(self, name: str, rows: int) -> Array:
        return self._order.reserve(name, rows, "int64")

    def chunks(
        self, order: np.ndarray | None, batch_size: int, name: str = "order"
    ) -> Iterator[DeviceRows]:
        """Yield the rows in the given order, as chunks of whole batches.

        A chunk may overwrite earlier chunks with the same `name`. A streamed chunk may overwrite
        any earlier streamed chunk.
        """
        if self.stream:
            yield from self._streamed(order, batch_size)
            return
        X, y, weights, metric_weights = self.resident()
        indices = np.arange(self.rows) if order is None else order
        capacity = max(self.rows, len(indices))
        on_device = self._order.put(name, indices, capacity, "int64")
        yield DeviceRows(X, y, weights, on_device, len(indices), metric_weights)

    def _streamed(self, order: np.ndarray | None, batch_size: int) -> Iterator[DeviceRows]:
        rows = self.rows if order is None else len(order)
        if not rows:
            return
        batches = max(1, STREAM_BYTES // max(1, self.row_bytes * batch_size))
        capacity = min(batches * batch_size, rows)
        if self._stager is None:
            self._stager = self.backend.stager()
        stager = self._stager
        for start in range(0, rows, capacity):
            stop = min(start + capacity, rows)
            chosen = slice(start, stop) if order is None else order[start:stop]
            stager.begin()
            X = stager.put("X", rows_of(self.X, chosen), capacity, self.input_dtype)
            y = stager.put("y", rows_of(self.y, chosen), capacity, self.target_dtype)
            weights, metric_weights = (
                None if each is None else stager.put(name, each[chosen], capacity, self.dtype)
                for name, each in (
                    ("weights", self.weights),
                    ("metric_weights", self.metric_weights),
                )
            )
            indices = stager.put("order", np.arange(stop - start), capacity, "int64")
            stager.ready()
            yield DeviceRows(X, y, weights, indices, stop - start, metric_weights)

    def unload(self) -> None:
        self._resident = self._stager = None
        self._order = Stager(self.backend)
