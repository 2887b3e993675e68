"""Augmentation: functions that change the rows before each update, on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from gpunn.augmentations import Augmentation, BatchRandom
from gpunn.configurable import resolve
from gpunn.data.batches import DeviceRows
from gpunn.errors import ArgumentError
from gpunn.network import Sequential
from gpunn.randomness import generator
from gpunn.typing import Array

INTEGER = ("int", "uint")
REAL = (*INTEGER, "float", "bool")
"""Prefixes of the dtypes that a user's function may return."""

Augment: TypeAlias = Callable[[Array, Array, BatchRandom], Any]
"""A function of X, y and random numbers that returns X, or X and y."""


def as_augment(value: Any) -> Augment | None:
    # A value is a function, a `gpunn.augmentations.Augmentation`, its name, its configuration, or a
    # list of these, which are applied in order.
    if value is None or value == []:
        return None
    if not isinstance(value, list | tuple):
        is_function = callable(value) and not isinstance(value, type)
        return value if is_function else resolve(Augmentation, value, "augment")
    functions = [as_augment(each) for each in value]

    def augment(X: Array, y: Array, random: BatchRandom) -> tuple[Array, Array]:
        for function in filter(None, functions):
            result = function(X, y, random)
            X, y = result if isinstance(result, tuple) else (result, y)
        return X, y

    return augment


class Augmenter:
    """Calls a user's function on the rows of each update, and stores the result in fixed buffers.

    The function is called in every step, not replayed.
    """

    def __init__(self, function: Augment, model: Sequential, capacity: int) -> None:
        self.epoch = 0
        self._function, self._ops, self._capacity = function, model.backend, capacity
        self._seed, self._dtype = model.seed, model.dtype
        self._start = self._ops.zeros((1,), "int64")
        self._order = self._ops.from_host(np.arange(capacity), "int64")
        self._buffers: dict[tuple[str, str], Array] = {}

    def changed(self, X: Array, y: Array, update: int) -> tuple[Array, Array]:
        # The function must return real numbers in the same shapes, and labels as integers.
        host = generator(self._seed, "augmentation", self.epoch, update)
        result = self._function(X, y, BatchRandom(host, self._ops, self._dtype))
        new = result if isinstance(result, tuple) else (result, y)
        if len(new) != 2:
            raise ArgumentError(f"augment: must return X, or (X, y); it returned {len(new)} values")
        for name, before, after in zip(("X", "y"), (X, y), new, strict=True):
            shape = getattr(after, "shape", None)
            if shape != before.shape or type(after) is not type(before):
                kind = type(after).__name__
                what = kind if shape is None else f"{kind} of shape {shape}"
                raise ArgumentError(
                    f"augment: must return {name} as an array of the backend with the unchanged "
                    f"shape {tuple(before.shape)}; it returned {what}"
                )
            labels = name == "y" and self._ops.dtype_name(before) == "int64"
            new_type = self._ops.dtype_name(after)
            if not new_type.startswith(INTEGER if labels else REAL):
                raise ArgumentError(
                    f"augment: must return {name} as {'integers' if labels else 'real numbers'}"
                    f"{', since they are labels' if labels else ''}; it returned {new_type}"
                )
        return new[0], new[1]

    def applied(self, chunk: DeviceRows, start: int, rows: int, update: int) -> DeviceRows:
        # The next call overwrites the returned buffers. Rows begin at position `start` of the
        # chunk's order. `update` counts from 0 within the epoch.
        ops, outs = self._ops, []
        with ops.computing():
            ops.fill(self._start, start)
            X = self._gathered("X", chunk, chunk.X, rows, self._dtype)
            y = self._gathered("y", chunk, chunk.y, rows, ops.dtype_name(chunk.y))
            new = self.changed(X[:rows, ...], y[:rows, ...], update)
            for name, before, after in zip(("X", "y"), (X, y), new, strict=True):
                out = self._buffer(f"new {name}", before, ops.dtype_name(before))
                ops.copy_to(after, out[:rows, ...])
                outs.append(out)
            weights = {
                name: self._gathered(name, chunk, array, rows, self._dtype)
                for name in ("weights", "metric_weights")
                if (array := getattr(chunk, name)) is not None
            }
        X, y = outs
        return replace(chunk, X=X, y=y, order=self._order, rows=rows, **weights)

    def _buffer(self, name: str, like: Array, dtype: str) -> Array:
        if (name, dtype) not in self._buffers:
            shape = (self._capacity, *like.shape[1:])
            self._buffers[name, dtype] = self._ops.zeros(shape, dtype)
        return self._buffers[name, dtype]

    def _gathered(
        self, name: str, chunk: DeviceRows, source: Array, rows: int, dtype: str
    ) -> Array:
        buffer = self._buffer(name, source, dtype)
        self._ops.gather_rows(source, chunk.order, self._start, buffer[:rows, ...])
        return buffer
