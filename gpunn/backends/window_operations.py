"""Operations on the windows of images: convolution and pooling, defined by array-API calls.

An array of images has shape (rows, height, width, channels). Weights of a convolution are a matrix
of shape (kernel height * kernel width * channels / groups, units), in the order of the window's
pixels. With several groups, group g of the units reads only group g of the channels.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

from gpunn.backends.recording import operation
from gpunn.backends.windows import Window, groups_of
from gpunn.typing import Array, Namespace, Shape


class WindowOperations:
    xp: Namespace
    device: Any

    @operation
    def convolution(
        self, x: Array, weights: Array, bias: Array | None, window: Window, out: Array
    ) -> None:
        """Set out[n, i, j, u] = bias[u] + sum over m of patch[m] * weights[m, u], m = (k, l, c).

        `patch` has the pixels of image n in the window of output pixel (i, j), and 0 for padding.

        Parameters
        ----------
        x, weights, bias : array
            Arrays of shapes (rows, height, width, channels), (kernel height * kernel width *
            channels / groups, units) and (units,). The bias may be None.
        window : Window
            The window.
        out : array, shape (rows, output height, output width, units)
            The result.
        """
        xp, groups = self.xp, groups_of(x.shape[3], weights, window)
        padded, total = window.padded(xp, x, out.shape, 0.0), bias
        for tap, matrix in zip(window.taps(out.shape), taps_of(weights, window), strict=True):
            product = multiply_groups(xp, padded[tap], matrix, groups)
            total = product if total is None else total + product
        out[...] = total

    @operation
    def convolution_weights(self, x: Array, gradient: Array, window: Window, out: Array) -> None:
        """Set out[(k, l, c), u] = sum over n, i, j of patch[k, l, c] * gradient[n, i, j, u].

        The patch of output pixel (i, j) in image n is as in `convolution`.

        Parameters
        ----------
        x, gradient, window, out : array, Window
            The argument x of `convolution`, the gradient dL/d(result), the window, and
            dL/d(weights).
        """
        xp, groups = self.xp, groups_of(x.shape[3], out, window)
        padded = window.padded(xp, x, gradient.shape, 0.0)
        columns = by_group(xp, gradient, groups)
        for tap, target in zip(window.taps(gradient.shape), taps_of(out, window), strict=True):
            pixels = xp.permute_dims(by_group(xp, padded[tap], groups), (0, 2, 1))
            product = xp.matmul(pixels, columns)  # (groups, channels, units) of a group
            target[...] = xp.reshape(xp.permute_dims(product, (1, 0, 2)), target.shape)

    @operation
    def convolution_inputs(
        self, gradient: Array, weights: Array, window: Window, out: Array
    ) -> None:
        """Set out to dL/dx of `convolution`.

        For each output pixel (i, j) and each (k, l, c)::

            out[n, input pixel (k, l) of the window, c] +=
                sum over u of gradient[n, i, j, u] weights[(k, l, c), u]

        Parameters
        ----------
        gradient, weights, window, out : array, Window
            The gradient dL/d(result), the weights and window of `convolution`, and dL/dx.
        """
        xp, groups = self.xp, groups_of(out.shape[3], weights, window)
        zeros = xp.zeros(out.shape, dtype=out.dtype, device=self.device)
        total = window.padded(xp, zeros, gradient.shape, 0.0)
        for tap, matrix in zip(window.taps(gradient.shape), taps_of(weights, window), strict=True):
            total[tap] += multiply_groups(xp, gradient, matrix, groups, transposed=True)
        out[...] = window.inside(total, out.shape)

    @operation
    def multiply_channels(self, x: Array, factors: Array, out: Array) -> None:
        """Set out[n, i, j, c] = x[n, i, j, c] * factors[n, c].

        Parameters
        ----------
        x, factors, out : array
            x and out have shape (rows, height, width, channels); factors has shape (rows,
            channels). `out` may be x.
        """
        out[...] = x * factors[:, None, None, :]

    @operation
    def max_pool(self, x: Array, window: Window, out: Array) -> None:
        """Set out to the maximum of each channel in each window, without padding.

        Parameters
        ----------
        x, window, out : array, Window, array
            x has shape (rows, height, width, channels), and out has shape (rows, output height,
            output width, channels). Each window contains at least one pixel of the image.
        """
        padded = window.padded(self.xp, x, out.shape, -float("inf"))
        pixels = (padded[tap] for tap in window.taps(out.shape))
        out[...] = functools.reduce(self.xp.maximum, pixels)

    @operation
    def max_pool_gradient(
        self, x: Array, output: Array, gradient: Array, window: Window, out: Array
    ) -> None:
        """Set out to dL/dx of `max_pool`.

        In each window, the first of the largest numbers, row by row, gets the whole gradient, as in
        PyTorch. Overlapping windows add their gradients.

        Parameters
        ----------
        x, output, gradient, window, out : array, Window
            The argument x and the result of `max_pool`, dL/d(output), the window, and dL/dx.
        """
        xp = self.xp
        padded = window.padded(xp, x, output.shape, -float("inf"))
        total = xp.zeros(padded.shape, dtype=out.dtype, device=self.device)
        rest, nothing = gradient, xp.zeros_like(gradient)
        for tap in window.taps(output.shape):
            largest = padded[tap] == output
            total[tap] += xp.where(largest, rest, nothing)
            rest = xp.where(largest, nothing, rest)
        out[...] = window.inside(total, out.shape)

    @operation
    def average_pool(self, x: Array, window: Window, out: Array) -> None:
        """Set out to the mean of each channel in each window, without padding.

        Parameters
        ----------
        x, window, out : array, Window, array
            Arguments as in `max_pool`.
        """
        xp = self.xp
        out[...] = sum_over_taps(xp, window, x, out.shape) / pixels_of(xp, window, x, out)

    @operation
    def average_pool_gradient(self, gradient: Array, window: Window, out: Array) -> None:
        """Set out to dL/dx of `average_pool`: a window's pixels share the gradient equally.

        Parameters
        ----------
        gradient, window, out : array, Window, array
            dL/d(result), the window, and dL/dx.
        """
        xp = self.xp
        zeros = xp.zeros(out.shape, dtype=out.dtype, device=self.device)
        total = window.padded(xp, zeros, gradient.shape, 0.0)
        share = gradient / pixels_of(xp, window, out, gradient)
        for tap in window.taps(gradient.shape):
            total[tap] += share
        out[...] = window.inside(total, out.shape)

    @operation
    def upsample(self, x: Array, out: Array) -> None:
        """Repeat each pixel along the height and along the width.

        Parameters
        ----------
        x, out : array
            Arrays of shapes (rows, height, width, channels) and (rows, m * height, n * width,
            channels) with integers m and n.
        """
        tall = self.xp.repeat(x, out.shape[1] // x.shape[1], axis=1)
        out[...] = self.xp.repeat(tall, out.shape[2] // x.shape[2], axis=2)


def taps_of(weights: Array, window: Window) -> list[Array]:
    pixels = window.kernel[0] * window.kernel[1]
    channels = int(weights.shape[0]) // pixels
    return [weights[k * channels : (k + 1) * channels, :] for k in range(pixels)]


def by_group(xp: Namespace, x: Array, groups: int) -> Array:
    """Reshape images (n, h, w, c) to (groups, n * h * w, c / groups)."""
    parts = xp.reshape(x, (-1, groups, x.shape[3] // groups))
    return xp.permute_dims(parts, (1, 0, 2))


def multiply_groups(
    xp: Namespace, x: Array, matrix: Array, groups: int, transposed: bool = False
) -> Array:
    # The matrix has shape (channels of a group, units). If `transposed`, the channels of x are
    # units.
    split = xp.reshape(matrix, (matrix.shape[0], groups, matrix.shape[1] // groups))
    matrices = xp.permute_dims(split, (1, 2, 0) if transposed else (1, 0, 2))
    product = xp.permute_dims(xp.matmul(by_group(xp, x, groups), matrices), (1, 0, 2))
    return xp.reshape(product, (*x.shape[:3], groups * matrices.shape[2]))


def pixels_of(xp: Namespace, window: Window, x: Array, out: Array) -> Array:
    """Count each window's pixels inside the image; shape (1, output height, output width, 1)."""
    ones = xp.ones((1, *x.shape[1:3], 1), dtype=x.dtype, device=x.device)
    return sum_over_taps(xp, window, ones, (1, *out.shape[1:3], 1))


def sum_over_taps(xp: Namespace, window: Window, x: Array, out: Shape) -> Array:
    padded = window.padded(xp, x, out, 0.0)
    return functools.reduce(operator.add, (padded[tap] for tap in window.taps(out)))
