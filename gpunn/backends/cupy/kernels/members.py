"""Parametric activations, and products of features with factors, which may differ by member."""

import functools
from functools import partial

import cupy

from gpunn.backends.cupy.kernels.activations import Formula, elementwise, gradient_source
from gpunn.backends.cupy.kernels.columns import COLUMN, COLUMNS, PARAMETERS, over_columns
from gpunn.backends.cupy.kernels.raw import Calls, raw_kernel
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.recording import Arguments

SCALE = cupy.ElementwiseKernel("T x, T factor", "T y", "y = factor * x;", "gpunn_scale")
SUM_OVER_MEMBERS = cupy.ElementwiseKernel(
    "raw T gradient, raw T factors, int64 members, int64 width",
    "T sum",
    """const long long row = i / width, j = i - row * width;
       T total = 0;
       for (long long m = 0; m < members; ++m)
         total += gradient[(row * members + m) * width + j] * factors[m * width + j];
       sum = total;""",
    "gpunn_sum_over_members",
)

# If all members share the rows of x, the columns of x repeat for each member.
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


# If each member has its own rows of x, the same kernel can compute the gradient of x.
BOTH_GRADIENTS = gradient_source(
    "gpunn_scale_gradient",
    "const T* x, const T* factors, const T* gradient, T* sums, T* result",
    {"x": "x", "g": "gradient"},
    "sum[0] += own_g[n] * own_x[n]; result[k] = factor * own_g[n];",
    first="const T factor = inside ? factors[column] : (T)0;",
)


def scale_gradient(op: Arguments, scratch: Scratch) -> None:
    x, factors, result = op.x, op.factors, op.input_gradient
    rows, members, width = x.shape[0], len(factors), x[0].size
    shape = rows, factors.size
    if result is not None and x.shape[1] == members:
        kernel = raw_kernel(*BOTH_GRADIENTS, T=x.dtype)
        arrays = x, factors, op.gradient, op.factors_gradient, result
        over_columns(kernel, shape, arrays, 1, scratch)
        return
    kernel = raw_kernel("gpunn_factors_gradient", FACTORS_GRADIENT, T=x.dtype)
    over_columns(kernel, shape, (op.gradient, x, op.factors_gradient, width), 1, scratch)
    if result is not None:
        SUM_OVER_MEMBERS(op.gradient, factors, members, width, result)


def parametric(op: Arguments) -> Calls:
    # out = x + alpha * (f(x) - x); arrays have any layout.
    f, statements = op.f, "T a; VALUE y = z + share * (a - z);"
    kernel = elementwise(f, "gpunn_parametric_{}", "T z, T share", "T y", statements)
    return [partial(kernel, op.x, op.alpha, *f.constants(), op.out)]


def parametric_gradient(op: Arguments, scratch: Scratch) -> None:
    f, dtype = op.f, op.gradient.dtype
    kernel = raw_kernel(*parametric_gradient_source(f.name, f.formula), T=dtype)
    arrays = op.x, op.alpha, op.gradient, op.alpha_gradient
    arguments = *arrays, *f.constants(dtype.type)
    over_columns(kernel, (len(op.x), op.alpha.size), arguments, 1, scratch)


@functools.cache
def parametric_gradient_source(name: str, formula: Formula) -> tuple[str, str]:
    return gradient_source(
        f"gpunn_parametric_{name}_gradient",
        f"const T* x, const T* shares, T* gradient, T* sums{formula.parameters}",
        {"z": "x", "g": "gradient"},
        f"""const T z = own_z[n], g = own_g[n];
      T a, d;
      {{ {formula.value} }}
      {{ {formula.derivative or "d = 1;"} }}
      sum[0] += g * (a - z);
      gradient[k] = g * (1 + share * (d - 1));""",
        first="const T share = inside ? shares[column] : (T)0;",
    )
