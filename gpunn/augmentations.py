"""Augmentations: random changes of training images, computed on the device.

An augmentation changes the images of an update: an array of shape (rows, height, width, channels).
Pixels are gathered by index arrays, with plain array-API calls, so results are the same on every
backend. Pixels from outside an image have the value of the nearest edge. To define a new
augmentation, write a subclass with `apply`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from array_api_compat import device

from gpunn.backends import Backend
from gpunn.configurable import Configurable, flag, integer, number
from gpunn.errors import ArgumentError
from gpunn.typing import Array, Namespace, Shape

__all__ = ["Augmentation", "BatchRandom", "Crop", "Erase", "Flip", "Rotate", "Shift"]


class BatchRandom:
    """Draws random numbers for one batch, as arrays on the device.

    The numbers depend only on the network's seed, the epoch and the update's number within the
    epoch, so they are the same on every backend and in a resumed run.

    Parameters
    ----------
    host : numpy.random.Generator
        The generator that draws all numbers.
    ops : Backend
        The backend that stores the arrays.
    dtype : str
        The dtype of real numbers.

    Attributes
    ----------
    host : numpy.random.Generator
        The generator, for other distributions. The generator's numbers are on the host.
    xp : namespace
        The array-API namespace of the backend, such as `numpy` or `cupy`.

    Examples
    --------
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
        """Return numbers drawn uniformly between `low` and `high`.

        Parameters
        ----------
        shape : tuple of int or int
            Shape of the result, such as (X.shape[0], 1) for one number per row.
        low, high : float
            Smallest and largest number.

        Returns
        -------
        array
            The numbers, in the network's dtype.
        """
        return self._ops.from_host(self.host.uniform(low, high, shape), self._dtype)

    def normal(self, shape: Shape | int, mean: float = 0.0, deviation: float = 1.0) -> Array:
        """Return numbers drawn from a normal distribution.

        Parameters
        ----------
        shape : tuple of int or int
            Shape of the result.
        mean, deviation : float
            Mean and standard deviation.

        Returns
        -------
        array
            The numbers, in the network's dtype.
        """
        return self._ops.from_host(self.host.normal(mean, deviation, shape), self._dtype)

    def integers(self, low: int, high: int, shape: Shape | int) -> Array:
        """Return integers drawn uniformly from `low` to `high` - 1.

        Parameters
        ----------
        low, high : int
            The smallest integer, and the largest integer plus one.
        shape : tuple of int or int
            Shape of the result.

        Returns
        -------
        int64 array
            The integers.
        """
        return self._ops.from_host(self.host.integers(low, high, shape), "int64")

    def permutation(self, count: int) -> Array:
        """Return the integers from 0 to `count` - 1 in random order.

        Parameters
        ----------
        count : int
            The number of integers, such as X.shape[0] to pair each row with another row.

        Returns
        -------
        int64 array, shape (count,)
            The permutation.
        """
        return self._ops.from_host(self.host.permutation(count), "int64")


class Augmentation(Configurable):
    """Base class of augmentations of images, for `Trainer.fit(augment=...)`.

    Examples
    --------
    >>> class Darken(gpunn.augmentations.Augmentation):
    ...     name = "darken"
    ...
    ...     def apply(self, X, random):
    ...         return X * random.uniform((X.shape[0], 1, 1, 1), low=0.5)
    >>> layers = [gpunn.layers.Flatten(), gpunn.layers.Dense(2)]
    >>> model = gpunn.Sequential(layers, input_shape=(4, 4, 1), backend="numpy")
    >>> trainer = gpunn.Trainer(model, "softmax_cross_entropy")
    >>> X, y = np.ones((6, 4, 4, 1)), [0, 1, 0, 1, 0, 1]
    >>> history = trainer.fit(X, y, augment=[Darken(), "flip"], progress=False)
    """

    def __call__(self, X: Array, y: Array, random: BatchRandom) -> Array:
        # The targets do not change.
        self.check_shape(X.shape[1:])
        return self.apply(X, random)

    def check_shape(self, shape: Shape) -> None:
        """Raise an ArgumentError if rows of this shape are not images.

        Parameters
        ----------
        shape : tuple of int
            The shape of a row.
        """
        if len(shape) != 3:
            raise ArgumentError(
                f"augment: {self.name!r} expects rows of shape (height, width, channels); got rows "
                f"of shape {shape}. For vectors of pixels, reshape X; in a configuration, set "
                'data.shape = "images"'
            )

    def apply(self, X: Array, random: BatchRandom) -> Array:
        """Return changed images in the same shape.

        Parameters
        ----------
        X : array, shape (rows, height, width, channels)
            The images of an update.
        random : BatchRandom
            The update's random numbers.

        Returns
        -------
        array
            The changed images.
        """
        raise NotImplementedError(f"{type(self).__name__} must define the method apply")


@dataclass(eq=False)
class Flip(Augmentation):
    """Mirrors each image with probability 1/2.

    Parameters
    ----------
    vertical : bool
        Whether to exchange top and bottom. By default, left and right are exchanged.

    Examples
    --------
    >>> gpunn.augmentations.Flip().config()
    {'name': 'flip', 'vertical': False}
    """

    name = "flip"
    vertical: bool = flag(False)

    def apply(self, X: Array, random: BatchRandom) -> Array:
        mirrored = random.xp.flip(X, axis=1 if self.vertical else 2)
        return random.xp.where(random.uniform((X.shape[0], 1, 1, 1)) < 0.5, mirrored, X)


@dataclass(eq=False)
class Shift(Augmentation):
    """Shifts each image vertically and horizontally, by random numbers of pixels.

    Parameters
    ----------
    pixels : int
        The largest shift in each direction.

    Examples
    --------
    >>> gpunn.augmentations.Shift(4).config()
    {'name': 'shift', 'pixels': 4}
    """

    name = "shift"
    pixels: int = integer(2)

    def apply(self, X: Array, random: BatchRandom) -> Array:
        xp, (rows, height, width, _) = random.xp, X.shape
        down, right = (
            random.integers(-self.pixels, self.pixels + 1, (rows, 1, 1)) for _ in range(2)
        )
        i, j = grid(xp, X, down)
        i, j = xp.clip(i - down, 0, height - 1), xp.clip(j - right, 0, width - 1)
        return gathered(xp, X, i, j)


@dataclass(eq=False)
class Crop(Augmentation):
    """Enlarges a random part of each image to the image's size, by bilinear interpolation.

    Parameters
    ----------
    smallest : float
        Minimum height and width of the part, as a fraction of the image's height and width; in (0,
        1].

    Examples
    --------
    >>> gpunn.augmentations.Crop(0.7).config()
    {'name': 'crop', 'smallest': 0.7}
    """

    name = "crop"
    smallest: float = number(0.8, above=0, at_most=1)

    def apply(self, X: Array, random: BatchRandom) -> Array:
        shape = (X.shape[0], 1, 1)
        scale = random.uniform(shape, low=self.smallest)
        top, left = ((1 - scale) * random.uniform(shape) for _ in range(2))
        i, j = grid(random.xp, X, scale)
        return interpolated(
            random.xp, X, top * (X.shape[1] - 1) + scale * i, left * (X.shape[2] - 1) + scale * j
        )


@dataclass(eq=False)
class Rotate(Augmentation):
    """Rotates each image around its center, by bilinear interpolation.

    Parameters
    ----------
    degrees : float
        Maximum angle in each direction, at most 90.

    Examples
    --------
    >>> gpunn.augmentations.Rotate(30).config()
    {'name': 'rotate', 'degrees': 30.0}
    """

    name = "rotate"
    degrees: float = number(10.0, at_least=0, at_most=90)

    def apply(self, X: Array, random: BatchRandom) -> Array:
        # Compute with the tangent of half the angle: libraries round sines and cosines differently.
        limit = math.tan(math.radians(self.degrees) / 2)
        t = random.uniform((X.shape[0], 1, 1), low=-limit, high=limit)
        cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
        i, j = grid(random.xp, X, cos)
        middle, center = (X.shape[1] - 1) / 2, (X.shape[2] - 1) / 2
        i, j = i - middle, j - center
        return interpolated(
            random.xp, X, (cos * i - sin * j) + middle, (sin * i + cos * j) + center
        )


@dataclass(eq=False)
class Erase(Augmentation):
    """Sets a random rectangle of each image to 0 (DeVries & Taylor 2017, arXiv:1708.04552).

    Parameters
    ----------
    largest : float
        Maximum height and width of the rectangle, as a fraction of the image's height and width; in
        (0, 1].

    Examples
    --------
    >>> gpunn.augmentations.Erase(0.5).config()
    {'name': 'erase', 'largest': 0.5}
    """

    name = "erase"
    largest: float = number(0.4, above=0, at_most=1)

    def apply(self, X: Array, random: BatchRandom) -> Array:
        xp, shape = random.xp, (X.shape[0], 1, 1)
        inside = []
        for axis, count in enumerate(X.shape[1:3]):
            size = random.uniform(shape, high=self.largest) * count
            start = random.uniform(shape) * (count - size)
            position = grid(xp, X, size)[axis]
            inside.append((position >= start) & (position < start + size))
        return xp.where((inside[0] & inside[1])[..., None], xp.zeros_like(X), X)


def grid(xp: Namespace, X: Array, like: Array) -> tuple[Array, Array]:
    i, j = (xp.arange(count, dtype=like.dtype, device=device(X)) for count in X.shape[1:3])
    return i[:, None], j


def gathered(xp: Namespace, X: Array, i: Array, j: Array) -> Array:
    """Return the images whose pixel (row, a, b) is X[row, i[row, a, b], j[row, a, b]]."""
    rows, height, width, channels = X.shape
    first = xp.arange(rows, dtype=i.dtype, device=device(X))[:, None, None] * (height * width)
    index = xp.reshape(first + i * width + j, (-1,))
    return xp.reshape(xp.take(xp.reshape(X, (-1, channels)), index, axis=0), X.shape)


def interpolated(xp: Namespace, X: Array, i: Array, j: Array) -> Array:
    height, width = X.shape[1:3]
    i, j = xp.clip(i, 0, height - 1), xp.clip(j, 0, width - 1)
    top, left = xp.astype(xp.floor(i), xp.int64), xp.astype(xp.floor(j), xp.int64)
    bottom, right = xp.clip(top + 1, 0, height - 1), xp.clip(left + 1, 0, width - 1)
    down, across = (i - xp.floor(i))[..., None], (j - xp.floor(j))[..., None]

    def between(row: Array) -> Array:
        here, there = (xp.astype(gathered(xp, X, row, at), i.dtype) for at in (left, right))
        return here + across * (there - here)

    upper = between(top)
    result = upper + down * (between(bottom) - upper)
    if xp.isdtype(X.dtype, "integral"):
        result = xp.round(result)
    return xp.astype(result, X.dtype)
