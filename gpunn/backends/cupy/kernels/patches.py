"""Convolution as matrix products: a matrix ("columns") has a row for each output pixel's patch.

Columns (im2col) take several times the memory of the images, so they are computed for one part of
the pixels at a time. A part's columns stay in the cache of a large GPU. All arrays are contiguous
and not empty.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import cupy
import numpy as np

from gpunn.activations import Activation
from gpunn.backends.cupy.kernels.activations import EPILOGUES, forward, function_of
from gpunn.backends.cupy.kernels.columns import COLUMN, COLUMNS, PARAMETERS, over_columns
from gpunn.backends.cupy.kernels.raw import LANES, Calls, raw_kernel
from gpunn.backends.cupy.kernels.windows import (
    GEOMETRY,
    MOST,
    PREAMBLE,
    depthwise,
    depthwise_biased,
    depthwise_inputs,
    geometry,
    window_kernel,
)
from gpunn.backends.recording import Arguments
from gpunn.backends.windows import Window, groups_of, is_depthwise
from gpunn.typing import Array

PART_BYTES = 16 << 20
"""Maximum bytes of a part's columns, if the part has more than `ALIGNED` pixels."""

ALIGNED = 64
"""Parts begin at multiples of this number of pixels, so that all matrices are equally aligned."""

THREADS = 256

# A row of threads copies a patch. A run consists of adjacent numbers in a row of the image; beyond
# the row's ends, it has zeros.
IM2COL = f"""
extern "C" __global__ void gpunn_im2col(
    const T* __restrict__ x, T* __restrict__ columns, int first, int count, int groups, int runs,
    int run, {GEOMETRY}) {{
  const int local = blockIdx.x * blockDim.y + threadIdx.y;
  if (local >= count) return;
  const int pixel = first + local, line = pixel / out_width, image = line / out_height;
  const int row = line - image * out_height, column = pixel - line * out_width;
  const long long length = (long long)width * channels;
  T* to = columns + (long long)local * groups * taps_down * runs * run;
  for (int group = 0; group < groups; ++group)
    for (int k = 0; k < taps_down; ++k) {{
      const int y = row * stride_down - pad_down + k * gap_down;
      const T* const from = x + ((long long)image * height + y) * length;
      const long long end = y >= 0 && y < height ? length : 0;
      for (int l = 0; l < runs; ++l, to += run) {{
        const long long x_in = column * stride_right - pad_right + l * gap_right;
        const long long start = x_in * channels + group * run;
        for (int n = threadIdx.x; n < run; n += blockDim.x)
          to[n] = start + n >= 0 && start + n < end ? from[start + n] : (T)0;
      }}
    }}
}}
"""
# The sums of an image that began in an earlier part continue.
COL2IM = window_kernel(
    "gpunn_col2im",
    "raw T gradient, int32 first, int32 end, int32 groups",
    """if (pixel >= first && pixel < end) {
          const long long local = (long long)(pixel - first) * groups * patch;
          sum += gradient[local + start + (k * taps_right + l) * each];
        }""",
    start="""const int each = channels / groups, patch = taps_down * taps_right * each;
    const int start = channel / each * patch + channel % each;
    T sum = image * out_height * out_width < first ? y : (T)0;""",
)
# The matrix has a row for each pixel of the output, and a column for each weight.
DEPTHWISE_WEIGHTS = f"""{COLUMNS}{PREAMBLE}
extern "C" __global__ void gpunn_depthwise_weights(
    const T* __restrict__ x, const T* __restrict__ gradient, T* sums, {GEOMETRY}, {PARAMETERS}) {{
  {COLUMN}
  const int tap = column / channels, channel = column - (long long)tap * channels;
  const int k = tap / taps_right, l = tap - k * taps_right;
  T sum[1] = {{0}};
#pragma unroll 4
  for (unsigned pixel = top + threadIdx.y; pixel < (inside ? bottom : 0); pixel += STACK) {{
    const unsigned line = pixel / out_width, image = line / out_height;
    const int y = source(line - image * out_height, k, DOWN, height);
    const int x_in = source(pixel - line * out_width, l, RIGHT, width);
    if (y >= 0 && x_in >= 0)
      sum[0] += x[(((long long)image * height + y) * width + x_in) * channels + channel]
                * gradient[(long long)pixel * channels + channel];
  }}
  if (column_sums(sum, partials, tickets) && threadIdx.y == 0 && inside) sums[column] = sum[0];
}}
"""


class Patches:
    """Image patches (im2col), in a matrix of shape (pixels, taps * channels).

    With groups, the shape is (pixels, groups, taps * channels / groups).
    """

    def __init__(
        self, launches: Any, images: Array, weights: Array, window: Window, out: Array
    ) -> None:
        groups = groups_of(images.shape[3], weights, window)
        self._groups, self._patch = (groups,) * (groups > 1), weights.shape[0]
        self.product = launches.product.by_groups if self._groups else launches.product
        self._scratch, self._images = launches.scratch, images
        self._geometry, self._size = geometry(images, window, out), out.shape[1] * out.shape[2]
        runs = 1 if groups == window.dilation[1] == 1 else window.kernel[1]
        self._runs = groups, runs, self._patch // window.kernel[0] // runs
        pixels, each = len(out) * self._size, self._patch * groups * out.itemsize
        most = min(PART_BYTES // each, MOST // math.prod(images.shape[1:]) * self._size)
        self._same = window == Window((1, 1)) and out.shape[:3] == images.shape[:3]
        step = pixels if self._same else max(most // ALIGNED, 1) * ALIGNED
        self.parts = [slice(k, min(k + step, pixels)) for k in range(0, pixels, step)]

    def by_pixels(self, images: Array) -> Array:
        return images.reshape(-1, *self._groups, images.shape[3] // math.prod(self._groups))

    def by_groups(self, weights: Array) -> Array:
        if not self._groups:
            return weights
        return weights.reshape(self._patch, *self._groups, -1).transpose(1, 0, 2)

    def scratch(self, name: str, *shape: int) -> Array:
        size = math.prod(shape)
        return self._scratch(name, size, self._images.dtype)[:size].reshape(shape)

    def buffer(self, part: slice) -> Array:
        if self._same:
            return self.by_pixels(self._images)[part]
        return self.scratch("columns", part.stop - part.start, *self._groups, self._patch)

    def images_of(self, part: slice) -> tuple[Array, Any, Any]:
        first, end = part.start // self._size, -(-part.stop // self._size)
        begin = first * self._size
        return self._images[first:end], np.int32(part.start - begin), np.int32(part.stop - begin)

    def columns(self, part: slice) -> Array:
        columns = self.buffer(part)
        if not self._same:
            images, first, _ = self.images_of(part)
            threads = min(LANES, 1 << (self._runs[2] - 1).bit_length())
            grid, block = -(-len(columns) * threads // THREADS), (threads, THREADS // threads)
            sizes = map(np.int32, (len(columns), *self._runs))
            kernel = raw_kernel("gpunn_im2col", IM2COL, prelude="", T=columns.dtype)
            kernel((grid,), block, (images, columns, first, *sizes, *self._geometry))
        return columns

    def add_to_images(self, columns: Array, part: slice) -> None:
        if not self._same:
            images, *bounds = self.images_of(part)
            COL2IM(columns.ravel(), *bounds, self._runs[0], *self._geometry, images)


def convolution(launches: Any, op: Arguments, activation: Activation) -> Calls:
    f, pixels = function_of(activation), op.out.reshape(-1, op.out.shape[3])

    def after(z: Array, bias: Array | None) -> Calls:
        return forward(Arguments(f=f, activation=activation, z=z, bias=bias, out=z))

    if is_depthwise(op.x.shape[3], op.weights, op.window):
        multiplied = depthwise(op) if op.bias is None else depthwise_biased(op)
        return [*multiplied, *after(pixels, None)]
    patches = Patches(launches, op.x, op.weights, op.window, op.out)
    weights, z = patches.by_groups(op.weights), patches.by_pixels(op.out)
    epilogue = EPILOGUES.get((type(activation), op.bias is not None))
    fusible = epilogue is not None and z.ndim == 2 and z.dtype == np.float32

    def multiply(part: slice, separate: Calls) -> None:
        operands = patches.columns(part), weights, z[part]
        if not (fusible and launches.fused_product(*operands, epilogue, op.bias)):
            patches.product(*operands, False, False)
            for call in separate:
                call()

    return [partial(multiply, part, after(pixels[part], op.bias)) for part in patches.parts]


def weights_gradient(launches: Any, op: Arguments) -> Callable[[], None]:
    out = op.out
    if is_depthwise(op.x.shape[3], out, op.window):
        kernel = raw_kernel("gpunn_depthwise_weights", DEPTHWISE_WEIGHTS, T=out.dtype)
        arguments = op.x, op.gradient, out, *geometry(op.x, op.window, op.gradient)
        shape = op.gradient.size // out.shape[1], out.size
        return partial(over_columns, kernel, shape, arguments, 1, launches.scratch)
    patches = Patches(launches, op.x, out, op.window, op.gradient)
    gradient = patches.by_pixels(op.gradient)

    def multiply() -> None:
        for part in patches.parts:
            product = patches.scratch("product", *out.shape) if part.start else out
            operands = patches.columns(part), gradient[part], patches.by_groups(product)
            patches.product(*operands, True, False)
            if part.start:
                cupy.add(out, product, out)

    return multiply


def inputs_gradient(launches: Any, op: Arguments) -> Calls:
    if is_depthwise(op.out.shape[3], op.weights, op.window):
        return depthwise_inputs(op)
    patches = Patches(launches, op.out, op.weights, op.window, op.gradient)
    gradient, weights = patches.by_pixels(op.gradient), patches.by_groups(op.weights)

    def multiply(part: slice) -> None:
        columns = patches.buffer(part)
        patches.product(gradient[part], weights, columns, False, True)
        patches.add_to_images(columns, part)

    return [partial(multiply, part) for part in patches.parts]
