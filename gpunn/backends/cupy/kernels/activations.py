"""Activations: with the bias added, and their gradients with the bias's gradient summed up.

For each activation there are two statements: `value` sets a from z, and `derivative` sets d from
z and a. The mathematics is in `gpunn.activations`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import cupy

from gpunn import activations
from gpunn.backends.cupy.kernels.columns import COLUMN, COLUMNS, PARAMETERS, over_columns
from gpunn.backends.cupy.kernels.functions import FUNCTIONS
from gpunn.backends.cupy.kernels.raw import raw_kernel
from gpunn.backends.cupy.scratch import Scratch
from gpunn.typing import Array

__all__ = ["FORMULAS", "backward", "backward_with_bias", "forward"]


@dataclass(frozen=True)
class Formula:
    """An activation in CUDA C++; `constants` are attributes of the activation, as numbers T.

    An empty `derivative` is 1.
    """

    value: str
    derivative: str
    constants: tuple[str, ...] = ()

    @property
    def parameters(self) -> str:
        """The constants as parameters of a kernel, to follow others."""
        return "".join(f", T {name}" for name in self.constants)


FORMULAS: dict[type[activations.Activation], Formula] = {
    activations.Identity: Formula("a = z;", ""),
    activations.ReLU: Formula("a = z <= 0 ? (T)0 : z;", "d = a > 0;"),
    activations.LeakyReLU: Formula(
        "a = z > 0 ? z : slope * z;", "d = a > 0 ? (T)1 : slope;", ("slope",)
    ),
    activations.ELU: Formula(
        "a = z > 0 ? z : alpha * expm1(z);", "d = a > 0 ? (T)1 : a + alpha;", ("alpha",)
    ),
    activations.SELU: Formula(
        "a = scale * (z > 0 ? z : alpha * expm1(z));",
        "d = a > 0 ? scale : a + scale * alpha;",
        ("alpha", "scale"),
    ),
    activations.GELU: Formula(
        "a = (T)0.5 * z * (1 + tanh(root * z * (1 + cubic * z * z)));",
        """const T t = tanh(root * z * (1 + cubic * z * z));
           d = (T)0.5 * (1 + t + z * (1 - t * t) * root * (1 + 3 * cubic * z * z));""",
        ("cubic", "root"),
    ),
    activations.ExactGELU: Formula(
        "a = (T)0.5 * z * erfc(-root * z);",
        "d = (T)0.5 * erfc(-root * z) + density * z * exp((T)-0.5 * z * z);",
        ("density", "root"),
    ),
    activations.SiLU: Formula(
        "a = z * sigmoid(z);", "const T s = sigmoid(z); d = s + a * (1 - s);"
    ),
    activations.Mish: Formula(
        "a = z * tanh(softplus(z));",
        "const T t = tanh(softplus(z)); d = t + z * (1 - t * t) * sigmoid(z);",
    ),
    activations.Sigmoid: Formula("a = sigmoid(z);", "d = a * (1 - a);"),
    activations.Tanh: Formula("a = tanh(z);", "d = 1 - a * a;"),
    activations.Softplus: Formula("a = softplus(z);", "d = -expm1(-a);"),
}


def forward(f: activations.Activation, z: Array, bias: Array | None, out: Array) -> None:
    """Set z = z + bias; out = f(z), of one type and any layout; `out` may be z."""
    formula = FORMULAS[type(f)]
    constants = [getattr(f, name) for name in formula.constants]
    if bias is None:
        if out is not z or type(f) is not activations.Identity:
            plain_kernel(f.name, formula)(z, *constants, out)
    elif out is z:
        in_place_kernel(f.name, formula)(bias, *constants, out)
    else:
        biased_kernel(f.name, formula)(bias, *constants, z, out)


def backward(f: activations.Activation, z: Array, a: Array, gradient: Array) -> None:
    """Set gradient = gradient * f'(z), of one type and any layout."""
    formula = FORMULAS[type(f)]
    if formula.derivative:
        constants = [getattr(f, name) for name in formula.constants]
        gradient_kernel(f.name, formula)(z, a, *constants, gradient)


def backward_with_bias(
    f: activations.Activation,
    z: Array,
    a: Array,
    gradient: Array,
    bias_gradient: Array,
    scratch: Scratch,
) -> None:
    """Set gradient = gradient * f'(z); bias_gradient = its sum over the rows; all contiguous.

    Threads divide the columns, and blocks rows: see `columns`.
    """
    formula, dtype = FORMULAS[type(f)], gradient.dtype
    constants = [dtype.type(getattr(f, name)) for name in formula.constants]
    kernel = raw_kernel(*gradient_and_sums(f.name, formula), T=dtype)
    given = z, a, gradient, bias_gradient, *constants
    over_columns(kernel, (len(gradient), bias_gradient.size), given, 1, scratch)


@functools.cache
def plain_kernel(name: str, formula: Formula) -> Any:
    return cupy.ElementwiseKernel(
        f"T z{formula.parameters}", "T a", formula.value, f"gpunn_{name}", preamble=FUNCTIONS
    )


@functools.cache
def in_place_kernel(name: str, formula: Formula) -> Any:
    return cupy.ElementwiseKernel(
        f"T bias{formula.parameters}",
        "T a",
        f"const T z = a + bias; {formula.value}",
        f"gpunn_bias_{name}_in_place",
        preamble=FUNCTIONS,
    )


@functools.cache
def biased_kernel(name: str, formula: Formula) -> Any:
    return cupy.ElementwiseKernel(
        f"T bias{formula.parameters}",
        "T z, T a",
        f"z += bias; {formula.value}",
        f"gpunn_bias_{name}",
        preamble=FUNCTIONS,
    )


@functools.cache
def gradient_kernel(name: str, formula: Formula) -> Any:
    return cupy.ElementwiseKernel(
        f"T z, T a{formula.parameters}",
        "T g",
        f"T d; {formula.derivative} g *= d;",
        f"gpunn_{name}_gradient",
        preamble=FUNCTIONS,
    )


@functools.cache
def gradient_and_sums(name: str, formula: Formula) -> tuple[str, str]:
    """Return a raw kernel's name and source.

    Compilers are told how many threads a block has: some formulas could get more registers than a
    multiprocessor has for so many, and then the kernel could not be launched.
    """
    name = f"gpunn_{name}_gradient_and_sums"
    chain_rule = f"T d; {formula.derivative} g *= d; gradient[k] = g;" if formula.derivative else ""
    source = f"""{FUNCTIONS}{COLUMNS}
extern "C" __global__ __launch_bounds__(STACK * LANES) void {name}(
    const T* values_z, const T* values_a, T* gradient, T* sums{formula.parameters},
    {PARAMETERS}) {{
  {COLUMN}
  T sum[1] = {{0}};
  for (long long start = first; start < end; start += EACH * step) {{
    T own_z[EACH], own_a[EACH], own_g[EACH];
    load(own_z, values_z, start, step, end);
    load(own_a, values_a, start, step, end);
    load(own_g, gradient, start, step, end);
#pragma unroll
    for (int n = 0; n < EACH; ++n) {{
      const long long k = start + n * step;
      if (k >= end) break;
      const T z = own_z[n], a = own_a[n];
      T g = own_g[n];
      {chain_rule}
      sum[0] += g;
    }}
  }}
  if (column_sums(sum, partials, tickets) && threadIdx.y == 0 && inside) sums[column] = sum[0];
}}
"""
    return name, source
