"""From host arrays to batches on the device: held there as a whole, or streamed in pieces.

Either way a batch consists of the same rows, so results are identical; only memory differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gpunn.backends import Backend
from gpunn.data.validation import release
from gpunn.typing import Array

__all__ = ["DeviceRows", "RowSource"]

STREAM_BYTES = 1 << 26
"""Bytes of one streamed piece: large enough to hide the cost of a transfer, small beside memory."""

DEVICE_SHARE = 0.5
"""Data that would take more than this part of the device's free memory is streamed."""


@dataclass(frozen=True)
class DeviceRows:
    """Rows on the device, and the order to visit them in.

    Attributes
    ----------
    X, y, weights : array or None
        Inputs, targets and sample weights.
    order : array of int64
        Row numbers.
    rows : int
        Length of `order`.
    """

    X: Array
    y: Array
    weights: Array | None
    order: Array
    rows: int


class RowSource:
    """Checked host arrays, ready to be put on a device.

    Parameters
    ----------
    backend : Backend
    X, y : ndarray
        Checked inputs and targets.
    weights : ndarray or None
        Checked sample weights.
    input_dtype, dtype : str
        Types in which inputs, and real targets and weights, go to the device.
    stream : bool or None
        Whether to put the rows on the device piece by piece. None decides: memory maps, and data
        too large for the device, are streamed.
    """

    def __init__(
        self,
        backend: Backend,
        X: np.ndarray,
        y: np.ndarray,
        weights: np.ndarray | None,
        input_dtype: str,
        dtype: str,
        stream: bool | None = None,
    ) -> None:
        self.backend = backend
        self.X, self.y, self.weights = X, y, weights
        self.rows = X.shape[0]
        self.input_dtype, self.dtype = input_dtype, dtype
        self.target_dtype = "int64" if y.ndim == 1 else dtype
        self.stream = self._too_large() if stream is None else stream
        self._resident: tuple[Array, Array, Array | None] | None = None

    def _too_large(self) -> bool:
        free = self.backend.free_memory()
        size = self.X.size * np.dtype(self.input_dtype).itemsize
        return isinstance(self.X, np.memmap) or (free is not None and size > DEVICE_SHARE * free)

    def epoch(self, order: np.ndarray | None, batch_size: int) -> Iterator[DeviceRows]:
        """Yield the rows in this order (as they are if None), in pieces of whole batches."""
        if self.stream:
            yield from self._pieces(order, batch_size)
            return
        if self._resident is None:
            self._resident = self._upload(self.X, self.y, self.weights)
        positions = np.arange(self.rows) if order is None else order
        yield DeviceRows(
            *self._resident, self.backend.from_host(positions, "int64"), len(positions)
        )

    def _upload(
        self, X: np.ndarray, y: np.ndarray, weights: np.ndarray | None
    ) -> tuple[Array, Array, Array | None]:
        ops = self.backend
        device_weights = None if weights is None else ops.from_host(weights, self.dtype)
        return (
            ops.from_host(X, self.input_dtype),
            ops.from_host(y, self.target_dtype),
            device_weights,
        )

    def _pieces(self, order: np.ndarray | None, batch_size: int) -> Iterator[DeviceRows]:
        row_bytes = max(1, self.X[:1].nbytes)
        batches = max(1, STREAM_BYTES // (row_bytes * batch_size))
        step = batches * batch_size
        for start in range(0, self.rows, step):
            stop = min(start + step, self.rows)
            chosen = slice(start, stop) if order is None else order[start:stop]
            weights = None if self.weights is None else self.weights[chosen]
            # A memory map's rows become ordinary memory before its pages are released.
            X = np.array(self.X[chosen], dtype=self.input_dtype, subok=False)
            device = self._upload(X, self.y[chosen], weights)
            release(self.X)
            positions = self.backend.from_host(np.arange(stop - start), "int64")
            yield DeviceRows(*device, positions, stop - start)
