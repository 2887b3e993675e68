"""Forms of the normalisations for NumPy, in place.

x, out, gradient and normalized are of shape (rows, columns); scale, shift, their gradients, and the
statistics of batch normalisation (columns,); those of layer normalisation (rows, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gpunn.backends.numpy.scratch import Scratch
from gpunn.typing import Array

__all__ = ["Calls", "Normalizations"]

Calls: TypeAlias = list[Callable[[], Any]]
"""What does an operation, in order."""


class Normalizations:
    """The forms of normalisations that `Binder` has.

    Attributes
    ----------
    scratch : Scratch
    """

    scratch: Scratch

    def normalize(
        self,
        x: Array,
        mean: Array,
        variance: Array,
        epsilon: float,
        scale: Array | None,
        shift: Array | None,
        out: Array,
    ) -> Calls:
        std = self.scratch("std", mean.shape, mean.dtype)

        def run() -> None:
            np.add(variance, epsilon, out=std)
            np.sqrt(std, out=std)
            np.subtract(x, mean, out=out)
            np.divide(out, std, out=out)
            if scale is not None and shift is not None:
                np.multiply(out, scale, out=out)
                np.add(out, shift, out=out)

        return [run]

    def batch_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array,
        running_mean: Array,
        running_variance: Array,
        momentum: float,
        epsilon: float,
        normalized: Array,
        inverse_std: Array,
        out: Array,
    ) -> Calls:
        mean = self.scratch("mean", scale.shape, scale.dtype)
        variance = self.scratch("variance", scale.shape, scale.dtype)
        rows = x.shape[0]

        def run() -> None:
            np.add.reduce(x, axis=0, out=mean)
            np.divide(mean, rows, out=mean)
            np.subtract(x, mean, out=normalized)
            np.multiply(normalized, normalized, out=out)
            np.add.reduce(out, axis=0, out=variance)
            np.divide(variance, rows, out=variance)
            scale_and_shift(normalized, variance, epsilon, inverse_std, scale, shift, out)
            for running, current in ((running_mean, mean), (running_variance, variance)):
                np.multiply(running, momentum, out=running)
                np.multiply(current, 1 - momentum, out=current)
                np.add(running, current, out=running)

        return [run]

    def batch_norm_gradient(
        self,
        gradient: Array,
        normalized: Array,
        inverse_std: Array,
        scale: Array,
        scale_gradient: Array,
        shift_gradient: Array,
    ) -> Calls:
        rows = gradient.shape[0]
        product = self.scratch("product", gradient.shape, gradient.dtype)
        factor = self.scratch("factor", scale.shape, scale.dtype)

        def run() -> None:
            sum_gradients(gradient, normalized, product, scale_gradient, shift_gradient)
            np.divide(scale_gradient, rows, out=factor)
            np.multiply(normalized, factor, out=product)
            np.subtract(gradient, product, out=gradient)
            np.divide(shift_gradient, rows, out=factor)
            np.subtract(gradient, factor, out=gradient)
            np.multiply(scale, inverse_std, out=factor)
            np.multiply(gradient, factor, out=gradient)

        return [run]

    def layer_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array,
        epsilon: float,
        normalized: Array,
        inverse_std: Array,
        out: Array,
    ) -> Calls:
        column = self.scratch("column", inverse_std.shape, x.dtype)

        def run() -> None:
            np.add.reduce(x, axis=1, keepdims=True, out=column)
            np.divide(column, x.shape[1], out=column)
            np.subtract(x, column, out=normalized)
            np.vecdot(normalized, normalized, out=inverse_std[:, 0])
            np.divide(inverse_std, x.shape[1], out=inverse_std)
            scale_and_shift(normalized, inverse_std, epsilon, inverse_std, scale, shift, out)

        return [run]

    def layer_norm_gradient(
        self,
        gradient: Array,
        normalized: Array,
        inverse_std: Array,
        scale: Array,
        scale_gradient: Array,
        shift_gradient: Array,
    ) -> Calls:
        product = self.scratch("product", gradient.shape, gradient.dtype)
        column = self.scratch("column", inverse_std.shape, gradient.dtype)

        def run() -> None:
            sum_gradients(gradient, normalized, product, scale_gradient, shift_gradient)
            np.multiply(gradient, scale, out=gradient)
            np.vecdot(gradient, normalized, out=column[:, 0])
            np.divide(column, gradient.shape[1], out=column)
            np.multiply(normalized, column, out=product)
            np.add.reduce(gradient, axis=1, keepdims=True, out=column)
            np.divide(column, gradient.shape[1], out=column)
            np.subtract(gradient, column, out=gradient)
            np.subtract(gradient, product, out=gradient)
            np.multiply(gradient, inverse_std, out=gradient)

        return [run]


def scale_and_shift(
    normalized: Array,
    variance: Array,
    epsilon: float,
    inverse_std: Array,
    scale: Array,
    shift: Array,
    out: Array,
) -> None:
    """Set inverse_std = 1 / sqrt(variance + epsilon), normalized = normalized * inverse_std.

    And out = scale * normalized + shift. `variance` may be `inverse_std`.
    """
    np.add(variance, epsilon, out=inverse_std)
    np.sqrt(inverse_std, out=inverse_std)
    np.divide(1, inverse_std, out=inverse_std)
    np.multiply(normalized, inverse_std, out=normalized)
    np.multiply(normalized, scale, out=out)
    np.add(out, shift, out=out)


def sum_gradients(
    gradient: Array, normalized: Array, product: Array, scale_gradient: Array, shift_gradient: Array
) -> None:
    """Set scale_gradient and shift_gradient from dL/dy; `product` is overwritten."""
    np.multiply(gradient, normalized, out=product)
    np.add.reduce(product, axis=0, out=scale_gradient)
    np.add.reduce(gradient, axis=0, out=shift_gradient)
