"""Pooling and depthwise convolution: each thread computes one number from the taps of windows.

A tap is one pixel of a window. Gradients need no atomic operations: a thread computes one number of
the input's gradient, as a sum over all windows that read this number. Arrays have any layout.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

import cupy
import numpy as np

from gpunn.backends.cupy.kernels.functions import FUNCTIONS
from gpunn.backends.cupy.kernels.members import SCALE
from gpunn.backends.cupy.kernels.raw import Calls
from gpunn.backends.cupy.kernels.rows import ASSIGN
from gpunn.backends.recording import Arguments
from gpunn.backends.windows import Window
from gpunn.typing import Array

GEOMETRY = """int height, int width, int channels, int out_height, int out_width, int taps_down,
    int taps_right, int stride_down, int stride_right, int pad_down, int pad_right, int gap_down,
    int gap_right"""
"""Parameters of kernels: the shapes of the images, and the fields of `Window`."""

MOST = 2**30
"""Maximum size of the images in a launch. Larger indices would need 64-bit integers, whose division
is slow."""

PREAMBLE = r"""
#define DOWN stride_down, pad_down, gap_down
#define RIGHT stride_right, pad_right, gap_right

// Returns the input pixel, along one axis, that an output pixel reads as this tap. The pixel is
// negative if the tap is in padding.
__device__ int source(int output, int tap, int stride, int padding, int gap, int inputs) {
  const int input = output * stride - padding + tap * gap;
  return input < inputs ? input : -1;
}

// Returns the output pixel, along one axis, that reads an input pixel as this tap, or -1.
__device__ int reader(int input, int tap, int stride, int padding, int gap, int outputs) {
  const int start = input + padding - tap * gap, output = stride == 1 ? start : start / stride;
  return start >= 0 && output * stride == start && output < outputs ? output : -1;
}

// Returns how many taps of an output pixel are in the image, along one axis.
__device__ int taps_inside(int output, int taps, int stride, int padding, int gap, int size) {
  const int start = output * stride - padding, end = (size - start + gap - 1) / gap;
  return (end < taps ? end : taps) - (start < 0 ? (gap - 1 - start) / gap : 0);
}
"""


def window_kernel(
    name: str, inputs: str, tap: str, start: str = "T sum = 0;", result: str = "sum"
) -> Any:
    """Return a kernel that computes each number y of its result from the taps of a window.

    For each y, the kernel runs the C code `start`, then `tap` for each tap in the image, and sets
    y to the expression `result`. In `tap`, `at` is the index of the input number at the tap. If
    `inputs` names a gradient, y is the gradient of an input number. Then `tap` runs for each window
    that reads this input number, and `at` is the index of the window's output.
    """
    backward = "gradient" in inputs
    own, other, found = ("", "out_", "reader") if backward else ("out_", "", "source")
    code = f"""int rest = i;
    const int channel = rest % channels;
    rest /= channels;
    const int column = rest % {own}width;
    rest /= {own}width;
    const int row = rest % {own}height, image = rest / {own}height;
    {start}
    for (int k = 0; k < taps_down; ++k) {{
      const int a = {found}(row, k, DOWN, {other}height);
      if (a < 0) continue;
      for (int l = 0; l < taps_right; ++l) {{
        const int b = {found}(column, l, RIGHT, {other}width);
        if (b < 0) continue;
        const int pixel = (image * {other}height + a) * {other}width + b;
        const int at = pixel * channels + channel;
        {tap}
      }}
    }}
    y = {result};"""
    inputs = f"{inputs}, {GEOMETRY.replace('int ', 'int32 ')}"
    return cupy.ElementwiseKernel(inputs, "T y", code, name, preamble=FUNCTIONS + PREAMBLE)


def geometry(images: Array, window: Window, outputs: Array) -> list[Any]:
    pairs = outputs.shape[1:3], window.kernel, window.strides, window.padding, window.dilation
    return [np.int32(n) for n in (*images.shape[1:], *(n for pair in pairs for n in pair))]


def over_images(signature: str, tap: str, **code: str) -> Callable[[Arguments], Calls]:
    """Return a function that lowers an operation to launches of one kernel from `window_kernel`."""
    name, *names = re.findall(r"\w+", signature)
    kernel = window_kernel(name, ", ".join(f"raw T {each}" for each in names), tap, **code)
    arguments = attrgetter("out", *names)

    def calls(op: Arguments) -> Calls:
        images, outputs = (op.out, op.gradient) if "gradient" in names else (op.x, op.out)
        step = max(MOST // max(math.prod(each.shape[1:]) for each in (images, outputs)), 1)
        sizes, result = geometry(images, op.window, outputs), Calls()
        for k in range(0, len(images), step):
            out, *given = (each[k : k + step] if each.ndim == 4 else each for each in arguments(op))
            result.append(partial(kernel, *given, *sizes, out))
        return result

    return calls


max_pool = over_images(
    "gpunn_max_pool(x)",
    "largest = none ? x[at] : maximum(largest, (T)x[at]); none = false;",
    start="T largest = 0; bool none = true;",
    result="largest",
)
# In each window, the first of the largest numbers gets the gradient.
max_pool_gradient = over_images(
    "gpunn_max_pool_gradient(x, output, gradient)",
    """bool first = own == output[at];
        for (int tap = 0; first && tap < k * taps_right + l; ++tap) {
          const int y_in = source(a, tap / taps_right, DOWN, height);
          const int x_in = source(b, tap % taps_right, RIGHT, width);
          if (y_in >= 0 && x_in >= 0)
            first = x[((image * height + y_in) * width + x_in) * channels + channel] != own;
        }
        if (first) sum += gradient[at];""",
    start="const T own = x[i]; T sum = 0;",
)
average_pool = over_images(
    "gpunn_average_pool(x)",
    "sum += x[at]; ++count;",
    start="T sum = 0; int count = 0;",
    result="sum / count",
)
average_pool_gradient = over_images(
    "gpunn_average_pool_gradient(gradient)",
    """sum += gradient[at] / (taps_inside(a, taps_down, DOWN, height)
                              * taps_inside(b, taps_right, RIGHT, width));""",
)

WEIGHTED = "sum += {}[at] * weights[(k * taps_right + l) * channels + channel];"

depthwise = over_images("gpunn_depthwise(x, weights)", WEIGHTED.format("x"))
depthwise_biased = over_images(
    "gpunn_depthwise_biased(x, weights, bias)", WEIGHTED.format("x"), result="sum + bias[channel]"
)
depthwise_inputs = over_images(
    "gpunn_depthwise_inputs(gradient, weights)", WEIGHTED.format("gradient")
)


def multiply_channels(op: Arguments) -> Calls:
    return [partial(SCALE, op.x, op.factors[:, None, None, :], op.out)]


def upsample(op: Arguments) -> Calls:
    rows, height, width, channels = op.x.shape
    sizes = height, op.out.shape[1] // height, width, op.out.shape[2] // width
    blocks = op.out.reshape(rows, *sizes, channels)
    return [partial(ASSIGN, op.x[:, :, None, :, None, :], blocks)]
