"""Embeddings of numbers: periodic (waves) and piecewise linear (bins).

Angles are in turns. Whole turns are subtracted from an angle before its cosine and sine are
computed.
"""

from functools import partial

import cupy

from gpunn.backends.cupy.kernels.columns import COLUMN, COLUMNS, PARAMETERS, over_columns
from gpunn.backends.cupy.kernels.raw import NULL, Calls, raw_kernel
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.recording import Arguments

# Unlike cos and sin, cospi and sinpi need no local memory for large angles.
TURNS = r"""
# define TURN ((T)6.28318530717958648)
__device__ float cos_of_turns(float t) { return cospif(2 * (t - rintf(t))); }
__device__ float sin_of_turns(float t) { return sinpif(2 * (t - rintf(t))); }
__device__ double cos_of_turns(double t) { return cospi(2 * (t - rint(t))); }
__device__ double sin_of_turns(double t) { return sinpi(2 * (t - rint(t))); }
"""

# `slope` is the derivative with respect to the angle.
PERIODIC_GRADIENT = rf"""{TURNS}{COLUMNS}
extern "C" __global__ void gpunn_periodic_gradient(
    const T* x, const T* frequencies, const T* phases, const T* gradient,
    T* frequencies_gradient, T* phases_gradient, long long waves, {PARAMETERS}) {{
  {COLUMN}
  const long long group = column / waves, wave = column - group * waves, groups = columns / waves;
  const long long outputs = phases ? waves : 2 * waves;
  const T frequency = inside ? frequencies[column] : (T)0;
  const T phase = inside && phases ? phases[column] / TURN : (T)0;
  T sums[2] = {{0, 0}};
  for (long long row = top + threadIdx.y; inside && row < bottom; row += STACK) {{
    const T number = x[row * groups + group], turns = frequency * number + phase;
    const T* const own = gradient + (row * groups + group) * outputs + wave;
    T slope = -own[0] * sin_of_turns(turns);
    if (!phases) slope += own[waves] * cos_of_turns(turns);
    sums[0] += slope * number;
    sums[1] += slope;
  }}
  if (!column_sums(sums, partials, tickets) || !inside || threadIdx.y) return;
  frequencies_gradient[column] = TURN * sums[0];
  if (phases) phases_gradient[column] = sums[1];
}}
"""

WAVES = cupy.ElementwiseKernel(
    "raw T x, raw T frequencies, int64 columns, int64 waves",
    "T y",
    """const long long number = i / (2 * waves), k = i - number * 2 * waves;
       const bool sine = k >= waves;
       const T t = frequencies[number % columns * waves + (sine ? k - waves : k)] * x[number];
       y = sine ? sin_of_turns(t) : cos_of_turns(t);""",
    "gpunn_waves",
    preamble=TURNS,
)
SHIFTED_WAVES = cupy.ElementwiseKernel(
    "raw T x, raw T frequencies, raw T phases, int64 columns, int64 waves",
    "T y",
    """const long long number = i / waves, k = number % columns * waves + (i - number * waves);
       y = cos_of_turns(frequencies[k] * x[number] + phases[k] / TURN);""",
    "gpunn_shifted_waves",
    preamble=TURNS,
)
WAVES_GRADIENT = cupy.ElementwiseKernel(
    "T number, raw T frequencies, raw T gradient, int64 columns, int64 waves",
    "T sum",
    """T total = 0;
       for (long long k = 0; k < waves; ++k) {
         const T frequency = frequencies[i % columns * waves + k], t = frequency * number;
         total += frequency * (gradient[(2 * i + 1) * waves + k] * cos_of_turns(t)
                               - gradient[2 * i * waves + k] * sin_of_turns(t));
       }
       sum = TURN * total;""",
    "gpunn_waves_gradient",
    preamble=TURNS,
)
SHIFTED_WAVES_GRADIENT = cupy.ElementwiseKernel(
    "T number, raw T frequencies, raw T phases, raw T gradient, int64 columns, int64 waves",
    "T sum",
    """T total = 0;
       for (long long k = 0; k < waves; ++k) {
         const long long own = i % columns * waves + k;
         const T t = frequencies[own] * number + phases[own] / TURN;
         total -= frequencies[own] * gradient[i * waves + k] * sin_of_turns(t);
       }
       sum = TURN * total;""",
    "gpunn_shifted_waves_gradient",
    preamble=TURNS,
)
PIECEWISE = cupy.ElementwiseKernel(
    "T x, T start, T slope, T lowest, T highest",
    "T y",
    """T own = slope * (x - start);
       own = own < lowest ? lowest : own;
       y = own > highest ? highest : own;""",
    "gpunn_piecewise_linear",
)
PIECEWISE_GRADIENT = cupy.ElementwiseKernel(
    """T x, raw T starts, raw T slopes, raw T lowest, raw T highest, raw T gradient,
       int64 columns, int64 bins""",
    "T sum",
    """T total = 0;
       for (long long t = 0; t < bins; ++t) {
         const long long own = i % columns * bins + t;
         const T line = slopes[own] * (x - starts[own]);
         if (lowest[own] < line && line < highest[own])
           total += slopes[own] * gradient[i * bins + t];
       }
       sum = total;""",
    "gpunn_piecewise_linear_gradient",
)


def periodic(op: Arguments) -> Calls:
    # All arrays are contiguous.
    columns, waves = op.frequencies.shape
    if op.phases is None:
        return [partial(WAVES, op.x, op.frequencies, columns, waves, op.out)]
    return [partial(SHIFTED_WAVES, op.x, op.frequencies, op.phases, columns, waves, op.out)]


def periodic_gradient(op: Arguments, scratch: Scratch) -> None:
    x, frequencies, phases, result = op.x, op.frequencies, op.phases, op.input_gradient
    columns, waves = frequencies.shape
    kernel = raw_kernel("gpunn_periodic_gradient", PERIODIC_GRADIENT, T=x.dtype)
    shifts = NULL if phases is None else phases
    sums = NULL if op.phases_gradient is None else op.phases_gradient
    arguments = x, frequencies, shifts, op.gradient, op.frequencies_gradient, sums, waves
    over_columns(kernel, (len(x), frequencies.size), arguments, 2, scratch)
    if result is None:
        return
    if phases is None:
        WAVES_GRADIENT(x, frequencies, op.gradient, columns, waves, result)
    else:
        SHIFTED_WAVES_GRADIENT(x, frequencies, phases, op.gradient, columns, waves, result)


def piecewise_linear(op: Arguments) -> Calls:
    # Arrays have any layout.
    lines = op.starts, op.slopes, op.lowest, op.highest
    return [partial(PIECEWISE, op.x[:, :, None], *lines, op.out)]


def piecewise_linear_gradient(op: Arguments) -> Calls:
    lines = op.starts, op.slopes, op.lowest, op.highest
    arguments = op.x, *lines, op.gradient, *op.starts.shape, op.input_gradient
    return [partial(PIECEWISE_GRADIENT, *arguments)]
