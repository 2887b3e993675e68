"""Batches that a function of the user's own changes before each update, on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gpunn.backends import Backend
from gpunn.data.batches import DeviceRows
from gpunn.errors import ArgumentError
from gpunn.network import Sequential
from gpunn.randomness import generator
from gpunn.typing import Array, Namespace, Shape

__all__ = ["Augment", "Augmentation", "BatchRandom"]


class BatchRandom:
    """Random numbers for one batch, as arrays on the device.

    They depend on the network's seed, the epoch and the update's number within it alone: they are
    the same on every backend, and in a run that is resumed.

    Parameters
    ----------
    host : numpy.random.Generator
        Draws all of them.
    ops : Backend
        Where arrays are put.
    dtype : str
        Of real numbers.

    Attributes
    ----------
    host : numpy.random.Generator
        For whatever else is wanted, on the host.
    xp : namespace
        The array-API namespace of the backend, such as `numpy` or `cupy`.

    Examples
    --------
    >>> import gpunn
    >>> def noise(X, y, random):
    ...     return X + random.normal(X.shape, deviation=0.1)
    >>> X, y, _, _ = gpunn.data.load_digits()
    >>> model = gpunn.Sequential([gpunn.layers.Dense(10)], input_shape=64, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "softmax_cross_entropy")
    >>> len(trainer.fit(X, y, augment=noise, progress=False)["loss"])
    1
    """

    def __init__(self, host: np.random.Generator, ops: Backend, dtype: str) -> None:
        self.host = host
        self.xp: Namespace = ops.xp
        self._ops, self._dtype = ops, dtype

    def uniform(self, shape: Shape | int, low: float = 0.0, high: float = 1.0) -> Array:
        """Return numbers between `low` and `high`, all equally likely.

        Parameters
        ----------
        shape : tuple of int or int
            Such as (X.shape[0], 1) for one number a row.
        low, high : float
            The least and the largest.

        Returns
        -------
        array
            In the network's dtype.
        """
        return self._ops.from_host(self.host.uniform(low, high, shape), self._dtype)

    def normal(self, shape: Shape | int, mean: float = 0.0, deviation: float = 1.0) -> Array:
        """Return numbers of the normal distribution.

        Parameters
        ----------
        shape : tuple of int or int
            As for `uniform`.
        mean, deviation : float
            Mean and standard deviation.

        Returns
        -------
        array
            In the network's dtype.
        """
        return self._ops.from_host(self.host.normal(mean, deviation, shape), self._dtype)

    def integers(self, low: int, high: int, shape: Shape | int) -> Array:
        """Return whole numbers from `low` to `high` - 1, all equally likely.

        Parameters
        ----------
        low, high : int
            The least, and one more than the largest.
        shape : tuple of int or int
            As for `uniform`.

        Returns
        -------
        array
            Of int64.
        """
        return self._ops.from_host(self.host.integers(low, high, shape), "int64")

    def permutation(self, count: int) -> Array:
        """Return 0 to `count` - 1 in random order.

        Parameters
        ----------
        count : int
            Such as X.shape[0], to pair each row with another one.

        Returns
        -------
        array
            Of int64, shape (count,).
        """
        return self._ops.from_host(self.host.permutation(count), "int64")


WHOLE = ("int", "uint")
REAL = (*WHOLE, "float", "bool")
"""What the names of types begin with."""

Augment: TypeAlias = Callable[[Array, Array, BatchRandom], Any]
"""A function of X, y and random numbers that returns X, or X and y."""


class Augmentation:
    """Has a function change the rows of each update, in buffers that a step finds again.

    The function runs before the step, which may be a program or a CUDA graph: recorded in it, each
    repetition would draw the same random numbers. An update has at most `capacity` rows, and
    `epoch` is the number of the present one, from 0.
    """

    def __init__(self, function: Augment, model: Sequential, capacity: int) -> None:
        self.epoch = 0
        self._function, self._ops, self._capacity = function, model.backend, capacity
        self._seed, self._dtype = model.seed, model.dtype
        self._start = self._ops.zeros((1,), "int64")
        self._order = self._ops.from_host(np.arange(capacity), "int64")
        self._rooms: dict[tuple[str, str], Array] = {}

    def changed(self, X: Array, y: Array, update: int) -> tuple[Array, Array]:
        """Return what the function makes of the rows of an update.

        Raise an ArgumentError if that is something else than arrays of the same shapes, of real
        numbers, or of whole ones where the targets are labels.
        """
        host = generator(self._seed, "augmentation", self.epoch, update)
        found = self._function(X, y, BatchRandom(host, self._ops, self._dtype))
        new = found if isinstance(found, tuple) else (found, y)
        if len(new) != 2:
            raise ArgumentError(f"augment: must return X, or (X, y); it returned {len(new)} values")
        for name, before, after in zip(("X", "y"), (X, y), new, strict=True):
            shape = getattr(after, "shape", None)
            if shape != before.shape or type(after) is not type(before):
                what = type(after).__name__ if shape is None else f"{type(after).__name__} {shape}"
                raise ArgumentError(
                    f"augment: must return {name} as an array of the backend of shape "
                    f"{tuple(before.shape)}, as it was given; it returned {what}"
                )
            labels = name == "y" and self._ops.dtype_name(before) == "int64"
            found_type = self._ops.dtype_name(after)
            if not found_type.startswith(WHOLE if labels else REAL):
                raise ArgumentError(
                    f"augment: must return {name} as {'whole' if labels else 'real'} numbers"
                    f"{', since they are labels' if labels else ''}; it returned {found_type}"
                )
        return new[0], new[1]

    def applied(self, chunk: DeviceRows, start: int, rows: int, update: int) -> DeviceRows:
        """Return rows of a chunk, by their place in its order, changed, in buffers that are reused.

        `update` is the number of the update within the epoch, from 0.
        """
        ops, outs = self._ops, []
        with ops.computing():
            ops.fill(self._start, start)
            X = self._gathered("X", chunk, chunk.X, rows, self._dtype)
            y = self._gathered("y", chunk, chunk.y, rows, ops.dtype_name(chunk.y))
            new = self.changed(X[:rows, ...], y[:rows, ...], update)
            for name, given, found in zip(("X", "y"), (X, y), new, strict=True):
                out = self._room(f"new {name}", given, ops.dtype_name(given))
                ops.copy_to(found, out[:rows, ...])
                outs.append(out)
            weights, metric_weights = (
                None if given is None else self._gathered(name, chunk, given, rows, self._dtype)
                for name, given in (
                    ("weights", chunk.weights),
                    ("metric weights", chunk.metric_weights),
                )
            )
        return DeviceRows(
            X=outs[0],
            y=outs[1],
            weights=weights,
            order=self._order,
            rows=rows,
            metric_weights=metric_weights,
            batches=chunk.batches,
        )

    def _room(self, name: str, like: Array, dtype: str) -> Array:
        """Return the buffer `name`, for as many rows as an update may have."""
        if (name, dtype) not in self._rooms:
            shape = (self._capacity, *like.shape[1:])
            self._rooms[name, dtype] = self._ops.zeros(shape, dtype)
        return self._rooms[name, dtype]

    def _gathered(
        self, name: str, chunk: DeviceRows, source: Array, rows: int, dtype: str
    ) -> Array:
        """Return a buffer that begins with the next rows of an array."""
        room = self._room(name, source, dtype)
        self._ops.gather_rows(source, chunk.order, self._start, room[:rows, ...])
        return room
