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
// Returns the output pixel, along one axis, that reads an input pixel as this tap, or -1.
__device__ int reader(int pixel, int tap, int stride, int padding, int gap, int outputs) {
  const int start = pixel + padding - tap * gap, output = stride == 1 ? start : start / stride;
  return start >= 0 && output * stride == start && output < outputs ? output : -1;
}

// Returns how many taps of an output pixel are in the image, along one axis.
__device__ int taps_inside(int output, int taps, int stride, int padding, int gap, int size) {
  const int start = output * stride - padding, end = (size - start + gap - 1) / gap;
  return (end < taps ? end : taps) - (start < 0 ? (gap - 1 - start) / gap : 0);
}
"""

POSITION = """int rest = i;
    const int channel = rest %% channels;
    rest /= channels;
    const int column = rest %% {1};
    rest /= {1};
    const int row = rest %% {0}, image = rest / {0};
    """

# A loop over the taps (k, l) of an output's window; `at` is the index of the tap's number.
OF_WINDOW = (
    POSITION.format("out_height", "out_width")
    + """%s
    for (int k = 0; k < taps_down; ++k) {
      const int y_in = row * stride_down - pad_down + k * gap_down;
      if (y_in < 0 || y_in >= height) continue;
      for (int l = 0; l < taps_right; ++l) {
        const int x_in = column * stride_right - pad_right + l * gap_right;
        if (x_in < 0 || x_in >= width) continue;
        const int at = ((image * height + y_in) * width + x_in) * channels + channel;
        %s
      }
    }
    y = %s;"""
)

# A loop over the windows that read an input's number as their tap (k, l). (a, b) is the window's
# output pixel; `pixel` is the output pixel's number among all images.
FROM_WINDOWS = (
    POSITION.format("height", "width")
    + """%s
    for (int k = 0; k < taps_down; ++k) {
      const int a = reader(row, k, stride_down, pad_down, gap_down, out_height);
      if (a < 0) continue;
      for (int l = 0; l < taps_right; ++l) {
        const int b = reader(column, l, stride_right, pad_right, gap_right, out_width);
        if (b < 0) continue;
        const int pixel = (image * out_height + a) * out_width + b;
        %s
      }
    }
    y = %s;"""
)


def window_kernel(
    name: str, inputs: str, loop: str, tap: str, start: str = "T sum = 0;", result: str = "sum"
) -> Any:
    inputs = f"{inputs}, {GEOMETRY.replace('int ', 'int32 ')}"
    code, preamble = loop % (start, tap, result), FUNCTIONS + PREAMBLE
    return cupy.ElementwiseKernel(inputs, "T y", code, name, preamble=preamble)


def geometry(images: Array, window: Window, outputs: Array) -> list[Any]:
    pairs = outputs.shape[1:3], window.kernel, window.strides, window.padding, window.dilation
    return [np.int32(n) for n in (*images.shape[1:], *(n for pair in pairs for n in pair))]


def over_images(signature: str, loop: str, **code: str) -> Callable[[Arguments], Calls]:
    """Return a function that lowers an operation to the kernel that `window_kernel` writes."""
    name, *names = re.findall(r"\w+", signature)
    kernel = window_kernel(name, ", ".join(f"raw T {each}" for each in names), loop, **code)
    arguments = attrgetter("out", *names)

    def calls(op: Arguments) -> Calls:
        images, outputs = (op.x, op.out) if loop is OF_WINDOW else (op.out, op.gradient)
        step = max(MOST // max(math.prod(each.shape[1:]) for each in (images, outputs)), 1)
        sizes, result = geometry(images, op.window, outputs), Calls()
        for k in range(0, len(images), step):
            out, *given = (each[k : k + step] if each.ndim == 4 else each for each in arguments(op))
            result.append(partial(kernel, *given, *sizes, out))
        return result

    return calls


max_pool = over_images(
    "gpunn_max_pool(x)",
    OF_WINDOW,
    start="T largest = 0; bool none = true;",
    tap="largest = none ? x[at] : maximum(largest, (T)x[at]); none = false;",
    result="largest",
)
# In each window, the first of the largest numbers gets the gradient.
max_pool_gradient = over_images(
    "gpunn_max_pool_gradient(x, output, gradient)",
    FROM_WINDOWS,
    start="const T own = x[i]; T sum = 0;",
    tap="""const int to = pixel * channels + channel;
        bool first = own == output[to];
        for (int tap = 0; first && tap < k * taps_right + l; ++tap) {
          const int y_in = a * stride_down - pad_down + tap / taps_right * gap_down;
          const int x_in = b * stride_right - pad_right + tap % taps_right * gap_right;
          if (y_in >= 0 && y_in < height && x_in >= 0 && x_in < width)
            first = x[((image * height + y_in) * width + x_in) * channels + channel] != own;
        }
        if (first) sum += gradient[to];""",
)
average_pool = over_images(
    "gpunn_average_pool(x)",
    OF_WINDOW,
    start="T sum = 0; int count = 0;",
    tap="sum += x[at]; ++count;",
    result="sum / count",
)
average_pool_gradient = over_images(
    "gpunn_average_pool_gradient(gradient)",
    FROM_WINDOWS,
    tap="""sum += gradient[pixel * channels + channel]
               / (taps_inside(a, taps_down, stride_down, pad_down, gap_down, height)
                  * taps_inside(b, taps_right, stride_right, pad_right, gap_right, width));""",
)
depthwise = {
    biased: over_images(
        "gpunn_depthwise_biased(x, weights, bias)" if biased else "gpunn_depthwise(x, weights)",
        OF_WINDOW,
        tap="sum += x[at] * weights[(k * taps_right + l) * channels + channel];",
        result="sum + bias[channel]" if biased else "sum",
    )
    for biased in (False, True)
}
depthwise_inputs = over_images(
    "gpunn_depthwise_inputs(gradient, weights)",
    FROM_WINDOWS,
    tap="""sum += gradient[pixel * channels + channel]
               * weights[(k * taps_right + l) * channels + channel];""",
)


def multiply_channels(op: Arguments) -> Calls:
    return [partial(SCALE, op.x, op.factors[:, None, None, :], op.out)]


def upsample(op: Arguments) -> Calls:
    rows, height, width, channels = op.x.shape
    sizes = height, op.out.shape[1] // height, width, op.out.shape[2] // width
    blocks = op.out.reshape(rows, *sizes, channels)
    return [partial(ASSIGN, op.x[:, :, None, :, None, :], blocks)]
