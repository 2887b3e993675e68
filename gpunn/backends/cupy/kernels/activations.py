"""Activations a = f(z + bias), and the gradients of z and of the bias."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import cupy

from gpunn import activations
from gpunn.backends.cupy.kernels.columns import COLUMN, COLUMNS, PARAMETERS, over_columns
from gpunn.backends.cupy.kernels.dropout import DROPPED, Mask, mask_arguments, mask_of
from gpunn.backends.cupy.kernels.functions import FUNCTIONS
from gpunn.backends.cupy.kernels.raw import Calls, raw_kernel
from gpunn.backends.cupy.matmul.cublaslt import BIAS, RELU, RELU_BIAS
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.recording import Arguments


@dataclass(frozen=True)
class Formula:
    """An activation in CUDA C++. An empty `derivative` stands for the derivative 1."""

    value: str
    derivative: str
    constants: tuple[str, ...] = ()

    @property
    def parameters(self) -> str:
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


EPILOGUES = {
    (activations.Identity, True): BIAS,
    (activations.ReLU, True): RELU_BIAS,
    (activations.ReLU, False): RELU,
}
"""Maps an activation, and whether there is a bias, to an epilogue: an operation on a product."""


class Function(NamedTuple):
    name: str
    formula: Formula
    numbers: tuple[float, ...]

    def constants(self, T: Any = float) -> list[Any]:
        return [T(number) for number in self.numbers]


def function_of(f: activations.Activation) -> Function | None:
    formula = FORMULAS.get(type(f))
    if formula is None:
        return None
    return Function(f.name, formula, tuple(getattr(f, name) for name in formula.constants))


def forward(op: Arguments) -> Calls:
    # The arrays have one type and any layout.
    f, z, bias, out = op.f, op.z, op.bias, op.out
    if bias is None:
        if out is z and type(op.activation) is activations.Identity:
            return []
        kernel = elementwise(f, "gpunn_{}", "T z", "T a", "VALUE")
        return [partial(kernel, z, *f.constants(), out)]
    if out is z:
        statements = "const T z = a + bias; VALUE"
        kernel = elementwise(f, "gpunn_bias_{}_in_place", "T bias", "T a", statements)
        return [partial(kernel, bias, *f.constants(), out)]
    kernel = elementwise(f, "gpunn_bias_{}", "T bias", "T z, T a", "z += bias; VALUE")
    return [partial(kernel, bias, *f.constants(), z, out)]


SCALED, DROPPED_OUT = attrgetter("x", "factors"), attrgetter("dropped")
"""The arguments of `scale` and of dropout, which only some fused operations have."""


def fused_forward(op: Arguments) -> Calls:
    # The kernel stores all results that the separate operations would store.
    f, in_place, scaled = op.f, op.out is op.z, hasattr(op, "factors")
    inputs, given, results = ["T x, T factor"] * scaled, [*SCALED(op)] if scaled else [], []
    statements = "z = product(factor, x);" if scaled else "z = a;" if in_place else ""
    if in_place:
        statements = f"T {statements}"
    elif scaled or op.bias is not None:
        results.append(("T z", op.z))
    else:
        inputs, given = ["T z"], [op.z]
    if op.bias is not None:
        inputs.append("T bias")
        given.append(op.bias)
        # Load the bias before storing z, in whose memory the bias may be.
        statements = f"const T added = bias; {statements} z += added;"
    statements += " VALUE"
    results.append(("T a", op.out))
    name = "scaled_" * scaled + "bias_" * (op.bias is not None) + "{}" + "_in_place" * in_place
    mask = None
    if hasattr(op, "rate"):
        mask = mask_of(op)
        inputs.append(mask.inputs)
        given += mask_arguments(op, op.out.dtype.type)
        statements += f" y = {mask.drop('a', 'i')};"
        results.append(("T y", DROPPED_OUT(op)))
        name += f"_{mask.prefix}dropout"
    outputs = ", ".join(declared for declared, _ in results)
    kernel = elementwise(f, f"gpunn_{name}", ", ".join(inputs), outputs, statements, mask)
    return [partial(kernel, *given, *f.constants(), *(array for _, array in results))]


def backward(op: Arguments) -> Calls:
    f = op.f
    if not f.formula.derivative:
        return []
    kernel = elementwise(f, "gpunn_{}_gradient", "T z, T a", "T g", "T d; DERIVATIVE g *= d;")
    return [partial(kernel, op.z, op.output, *f.constants(), op.gradient)]


def backward_after_dropout(op: Arguments) -> Calls:
    f, mask = op.f, mask_of(op)
    statements = f"const T kept = {mask.drop('g', 'i')}; T d; DERIVATIVE g = kept * d;"
    name, inputs = f"gpunn_{{}}_gradient_{mask.prefix}dropout", f"T z, T a, {mask.inputs}"
    kernel = elementwise(f, name, inputs, "T g", statements, mask)
    given = op.z, op.output, *mask_arguments(op, op.gradient.dtype.type)
    return [partial(kernel, *given, *f.constants(), op.gradient)]


def backward_with_bias(
    op: Arguments,
    scratch: Scratch,
    dropped: tuple[Mask | None, Sequence[Any]] = (None, ()),
    scaled: Sequence[Any] = (),
) -> None:
    """Set gradient = gradient * f'(z), and bias_gradient = the sum of the gradient over the rows.

    All arrays are contiguous. If `dropped` has a dropout's mask and arguments, the kernel first
    applies the dropout to the gradient. If `scaled` has the arguments x, factors and
    factors_gradient of `scale_gradient`, the kernel runs `scale_gradient` last.
    """
    f, dtype, (mask, masking), is_scaled = op.f, op.gradient.dtype, dropped, scaled != ()
    source = gradient_and_sums(f.name, f.formula, mask, is_scaled)
    arguments = [op.z, op.output, op.gradient, op.bias_gradient, *scaled, *masking]
    columns = op.bias_gradient.size
    shape = op.gradient.size // max(columns, 1), columns
    arguments += f.constants(dtype.type)
    over_columns(raw_kernel(*source, T=dtype), shape, arguments, 1 + is_scaled, scratch)


def dropout_of(op: Arguments) -> tuple[Mask, Sequence[Any]]:
    return mask_of(op), mask_arguments(op, op.gradient.dtype.type)


def elementwise(
    f: Function,
    name: str,
    inputs: str,
    outputs: str,
    statements: str,
    mask: Mask | None = None,
) -> Any:
    formula = f.formula
    text = statements.replace("VALUE", formula.value).replace("DERIVATIVE", formula.derivative)
    return compiled(inputs + formula.parameters, outputs, text, name.format(f.name), mask)


@functools.cache
def compiled(inputs: str, outputs: str, statements: str, name: str, mask: Mask | None) -> Any:
    preamble, first = (FUNCTIONS + DROPPED, mask.statements) if mask else (FUNCTIONS, "")
    return cupy.ElementwiseKernel(
        inputs, outputs, statements, name, preamble=preamble, loop_prep=first
    )


@functools.cache
def gradient_and_sums(
    name: str, formula: Formula, mask: Mask | None, scaled: bool
) -> tuple[str, str]:
    changed = "T*" if formula.derivative else "const T*"
    parameters = f"const T* values_z, const T* values_a, {changed} gradient, T* sums"
    loaded = {"z": "values_z", "a": "values_a", "g": "gradient"}
    first = after = suffix = ""
    g = "own_g[n]"
    if scaled:
        parameters += ", const T* x, const T* factors, T* sums_1"
        loaded["x"] = "x"
        first = "const T factor = inside ? factors[column] : (T)0;\n  "
        after = "sum[1] += g * own_x[n]; g *= factor;"
        suffix = "_scaled"
    if mask:
        parameters += f", {mask.parameters}"
        first += mask.statements
        g = mask.drop(g, "k")
        suffix += f"_{mask.prefix}dropout"
    return gradient_source(
        f"gpunn_{name}_gradient_and_sums{suffix}",
        parameters + formula.parameters,
        loaded,
        f"""const T z = own_z[n], a = own_a[n];
      T g = {g};
      {f"T d; {formula.derivative} g = product(g, d);" if formula.derivative else ""}
      sum[0] += g;
      {after}
      {"gradient[k] = g;" if formula.derivative else ""}""",
        first,
        preamble=DROPPED if mask else "",
        sums=1 + scaled,
        is_long=mask is not None or formula not in FORMULAS.values(),
    )


def gradient_source(
    name: str,
    parameters: str,
    loaded: dict[str, str],
    statements: str,
    first: str = "",
    preamble: str = "",
    sums: int = 1,
    is_long: bool = False,
) -> tuple[str, str]:
    """Return the name and source of a kernel that changes a gradient and writes column sums.

    The C code `statements` runs for each element k of the gradient, and adds to `sum[0]`, `sum[1]`,
    ... In this code, own_z[n] is element k of the matrix with the key z in `loaded`.
    """
    held = ", ".join(f"own_{each}[EACH]" for each in loaded)
    loads = "\n".join(
        f"    load(own_{each}, {matrix}, start, step, end);" for each, matrix in loaded.items()
    )
    stores = " ".join(f"sums{f'_{n}' if n else ''}[column] = sum[{n}];" for n in range(sums))
    # With too many registers per thread, a block can't be launched.
    # Without the 1, the compiler stops at 64 registers; dropout and printed formulas may need more.
    bounds = "STACK * LANES, 1" if is_long else "STACK * LANES"
    source = f"""{FUNCTIONS}{COLUMNS}{preamble}
extern "C" __global__ __launch_bounds__({bounds}) void {name}(
    {parameters}, {PARAMETERS}) {{
  {COLUMN}
  {first}
  T sum[{sums}] = {{0}};
  for (long long start = first; start < end; start += EACH * step) {{
    T {held};
{loads}
#pragma unroll
    for (int n = 0; n < EACH; ++n) {{
      const long long k = start + n * step;
      if (k >= end) break;
      {statements}
    }}
  }}
  if (column_sums(sum, partials, tickets) && threadIdx.y == 0 && inside) {{
    {stores}
  }}
}}
"""
    return name, source
