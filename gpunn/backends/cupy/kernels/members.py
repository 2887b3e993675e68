"""Factors of features: of all rows, or of each member, and for the share of an activation."""

from __future__ import annotations

import functools
from typing import Any

import cupy

from gpunn import activations
from gpunn.backends.cupy.kernels.activations import FORMULAS, Formula
from gpunn.backends.cupy.kernels.columns import COLUMN, COLUMNS, PARAMETERS, over_columns
from gpunn.backends.cupy.kernels.functions import FUNCTIONS
from gpunn.backends.cupy.kernels.raw import raw_kernel
from gpunn.backends.cupy.scratch import Scratch
from gpunn.typing import Array

__all__ = ["parametric", "parametric_gradient", "scale", "scale_gradient"]

# The columns of x begin anew with each member, if all take the same row.
FACTORS_GRADIENT = rf"""{COLUMNS}
extern "C" __global__ void gpunn_factors_gradient(
    const T* gradient, const T* x, T* sums, long long width, {PARAMETERS}) {{
  {COLUMN}
  const long long x_first = (top + threadIdx.y) * width + column % width;
  const long long x_step = STACK * width, x_end = inside ? bottom * width : 0;
  T sum[1] = {{0}};
  for (long long k = first, j = x_first; k < end; k += EACH * step, j += EACH * x_step) {{
    T own_g[EACH], own_x[EACH];
    load(own_g, gradient, k, step, end);
    load(own_x, x, j, x_step, x_end);
    for (int n = 0; n < EACH; ++n) sum[0] += own_g[n] * own_x[n];
  }}
  if (column_sums(sum, partials, tickets) && threadIdx.y == 0 && inside) sums[column] = sum[0];
}}
"""


def scale(x: Array, factors: Array, out: Array) -> None:
    """Set out = factors * x, of any layout."""
    scale_kernel()(x, factors, out)


def scale_gradient(
    x: Array,
    factors: Array,
    gradient: Array,
    factors_gradient: Array,
    input_gradient: Array | None,
    scratch: Scratch,
) -> None:
    """Set the gradients of `scale`; all are contiguous, and `input_gradient` may be `gradient`."""
    rows, members, width = x.shape[0], len(factors), x[0].size
    kernel = raw_kernel("gpunn_factors_gradient", FACTORS_GRADIENT, T=x.dtype)
    given = gradient, x, factors_gradient, width
    over_columns(kernel, (rows, factors.size), given, 1, scratch)
    if input_gradient is None:
        return
    if x.shape[1] == members:
        scale(gradient, factors, input_gradient)
    else:
        sum_kernel()(gradient, factors, members, width, input_gradient)


def parametric(f: activations.Activation, x: Array, alpha: Array, out: Array) -> None:
    """Set out = x + alpha * (f(x) - x), of any layout."""
    formula = FORMULAS[type(f)]
    constants = [getattr(f, name) for name in formula.constants]
    parametric_kernel(f.name, formula)(x, alpha, *constants, out)


def parametric_gradient(
    f: activations.Activation,
    x: Array,
    alpha: Array,
    gradient: Array,
    alpha_gradient: Array,
    scratch: Scratch,
) -> None:
    """Set the gradients of `parametric`, that of x in place of the output's; all contiguous."""
    formula, dtype = FORMULAS[type(f)], gradient.dtype
    constants = [dtype.type(getattr(f, name)) for name in formula.constants]
    kernel = raw_kernel(*parametric_gradient_source(f.name, formula), T=dtype)
    given = x, alpha, gradient, alpha_gradient, *constants
    over_columns(kernel, (len(x), alpha.size), given, 1, scratch)


@functools.cache
def scale_kernel() -> Any:
    return cupy.ElementwiseKernel("T x, T factor", "T y", "y = factor * x;", "gpunn_scale")


@functools.cache
def sum_kernel() -> Any:
    return cupy.ElementwiseKernel(
        "raw T gradient, raw T factors, int64 members, int64 width",
        "T sum",
        """const long long row = i / width, j = i - row * width;
           T total = 0;
           for (long long m = 0; m < members; ++m)
             total += gradient[(row * members + m) * width + j] * factors[m * width + j];
           sum = total;""",
        "gpunn_sum_over_members",
    )


@functools.cache
def parametric_kernel(name: str, formula: Formula) -> Any:
    return cupy.ElementwiseKernel(
        f"T z, T share{formula.parameters}",
        "T y",
        f"T a; {formula.value} y = z + share * (a - z);",
        f"gpunn_parametric_{name}",
        preamble=FUNCTIONS,
    )


@functools.cache
def parametric_gradient_source(name: str, formula: Formula) -> tuple[str, str]:
    """Return a raw kernel's name and source; see `activations.gradient_and_sums`."""
    name = f"gpunn_parametric_{name}_gradient"
    derivative = formula.derivative or "d = 1;"
    source = f"""{FUNCTIONS}{COLUMNS}
extern "C" __global__ __launch_bounds__(STACK * LANES) void {name}(
    const T* x, const T* shares, T* gradient, T* sums{formula.parameters}, {PARAMETERS}) {{
  {COLUMN}
  const T share = inside ? shares[column] : (T)0;
  T sum[1] = {{0}};
  for (long long start = first; start < end; start += EACH * step) {{
    T own_z[EACH], own_g[EACH];
    load(own_z, x, start, step, end);
    load(own_g, gradient, start, step, end);
#pragma unroll
    for (int n = 0; n < EACH; ++n) {{
      const long long k = start + n * step;
      if (k >= end) break;
      const T z = own_z[n], g = own_g[n];
      T a, d;
      {{ {formula.value} }}
      {{ {derivative} }}
      sum[0] += g * (a - z);
      gradient[k] = g * (1 + share * (d - 1));
    }}
  }}
  if (column_sums(sum, partials, tickets) && threadIdx.y == 0 && inside) sums[column] = sum[0];
}}
"""
    return name, source
