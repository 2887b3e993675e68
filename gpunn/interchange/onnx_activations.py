"""Built-in activations as ONNX operators.

In float32 an activation is one operator, where ONNX has it. Runtimes lack some of these in float64,
so there it is composed of elementary operators.
"""

from __future__ import annotations

from collections.abc import Callable

from gpunn.activations import TAILS
from gpunn.interchange.onnx_graph import Graph
from gpunn.interchange.steps import Step

__all__ = ["ACTIVATIONS"]


def operator(name: str) -> Callable[..., str]:
    """Return the function for an activation that is one ONNX operator without attributes."""

    def function(graph: Graph, step: Step, label: str, z: str) -> str:
        return graph.add(name, z, name=label)

    return function


def leaky_relu(graph: Graph, step: Step, label: str, z: str, slope: float) -> str:
    """max(z, slope z)."""
    if graph.dtype == "float32":
        return graph.add("LeakyRelu", z, name=label, alpha=slope)
    scaled = graph.add("Mul", z, graph.number(slope, f"{label}.slope"), name=f"{label}.scaled")
    return graph.add("Max", z, scaled, name=label)


def elu(graph: Graph, step: Step, label: str, z: str, alpha: float) -> str:
    """max(z, 0) + alpha (exp(min(z, 0)) - 1)."""
    if graph.dtype == "float32":
        return graph.add("Elu", z, name=label, alpha=alpha)
    return graph.add("Add", *elu_parts(graph, alpha, label, z), name=label)


def selu(graph: Graph, step: Step, label: str, z: str, alpha: float, scale: float) -> str:
    """Scale times ELU(z, alpha)."""
    if graph.dtype == "float32":
        return graph.add("Selu", z, name=label, alpha=alpha, gamma=scale)
    unscaled = graph.add("Add", *elu_parts(graph, alpha, label, z), name=f"{label}.unscaled")
    return graph.add("Mul", unscaled, graph.number(scale, f"{label}.scale"), name=label)


def elu_parts(graph: Graph, alpha: float, label: str, z: str) -> tuple[str, str]:
    """Return the positive and the negative part of ELU(z, alpha)."""
    zero, one = graph.number(0.0, f"{label}.zero"), graph.number(1.0, f"{label}.one")
    negative = graph.add("Min", z, zero, name=f"{label}.negative")
    exponential = graph.add("Exp", negative, name=f"{label}.exp")
    decay = graph.add("Sub", exponential, one, name=f"{label}.decay")
    scaled = graph.add("Mul", decay, graph.number(alpha, f"{label}.alpha"), name=f"{label}.scaled")
    return graph.add("Relu", z, name=f"{label}.positive"), scaled


def gelu(graph: Graph, step: Step, label: str, z: str, root: float, cubic: float) -> str:
    """z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))); ONNX 18 has no operator for it."""
    one, half = graph.number(1.0, f"{label}.one"), graph.number(0.5, f"{label}.half")
    square = graph.add("Mul", z, z, name=f"{label}.square")
    cubed = graph.add("Mul", square, graph.number(cubic, f"{label}.cubic"), name=f"{label}.cubed")
    factor = graph.add("Add", cubed, one, name=f"{label}.factor")
    scaled = graph.add("Mul", z, graph.number(root, f"{label}.root"), name=f"{label}.scaled")
    argument = graph.add("Mul", scaled, factor, name=f"{label}.argument")
    tanh = graph.add("Tanh", argument, name=f"{label}.tanh")
    gate = graph.add("Add", tanh, one, name=f"{label}.gate")
    halved = graph.add("Mul", z, half, name=f"{label}.halved")
    return graph.add("Mul", halved, gate, name=label)


def exact_gelu(graph: Graph, step: Step, label: str, z: str, root: float) -> str:
    """f(z) = z Phi(z); ONNX 18 has no operator for it, and runtimes have no Erf in float64."""
    one = graph.number(1.0, f"{label}.one")
    if graph.dtype == "float32":
        half = graph.number(0.5, f"{label}.half")
        scaled = graph.add("Mul", z, graph.number(root, f"{label}.root"), name=f"{label}.scaled")
        erf = graph.add("Erf", scaled, name=f"{label}.erf")
        gate = graph.add("Add", erf, one, name=f"{label}.gate")
        halved = graph.add("Mul", z, half, name=f"{label}.halved")
        return graph.add("Mul", halved, gate, name=label)
    tail = normal_tail(graph, label, z)
    rest = graph.add("Sub", one, tail, name=f"{label}.rest")
    zero = graph.number(0.0, f"{label}.zero")
    negative = graph.add("Less", z, zero, name=f"{label}.negative")
    gate = graph.add("Where", negative, tail, rest, name=f"{label}.gate")
    return graph.add("Mul", z, gate, name=label)


def normal_tail(graph: Graph, label: str, z: str) -> str:
    """Phi(-|z|), as `gpunn.activations.normal_tail`, with a rounded exponent."""

    def number(value: float, name: str) -> str:
        return graph.number(value, f"{label}.{name}")

    def add(operator: str, *inputs: str, name: str) -> str:
        return graph.add(operator, *inputs, name=f"{label}.{name}")

    four = number(4.0, "four")
    x = add("Min", add("Abs", z, name="abs"), number(40.0, "limit"), name="x")
    divisor = add("Add", x, four, name="divisor")
    t = add("Div", add("Sub", x, four, name="distance"), divisor, name="t")
    first, *others = TAILS[graph.dtype]
    polynomial = number(first, "coefficient_0")
    for place, coefficient in enumerate(others, 1):
        product = add("Mul", polynomial, t, name=f"product_{place}")
        constant = number(coefficient, f"coefficient_{place}")
        polynomial = add("Add", product, constant, name=f"polynomial_{place}")
    square = add("Mul", x, x, name="square")
    exponent = add("Mul", square, number(-0.5, "minus_half"), name="exponent")
    scaled = add("Div", polynomial, divisor, name="scaled")
    return add("Mul", scaled, add("Exp", exponent, name="exp"), name="tail")


def silu(graph: Graph, step: Step, label: str, z: str) -> str:
    """f(z) = z sigmoid(z)."""
    gate = graph.add("Sigmoid", z, name=f"{label}.sigmoid")
    return graph.add("Mul", z, gate, name=label)


def softplus(graph: Graph, step: Step, label: str, z: str) -> str:
    """max(z, 0) + log(1 + exp(-|z|))."""
    if graph.dtype == "float32":
        return graph.add("Softplus", z, name=label)
    distance = graph.add("Abs", z, name=f"{label}.abs")
    exponent = graph.add("Neg", distance, name=f"{label}.exponent")
    decay = graph.add("Exp", exponent, name=f"{label}.exp")
    sum_ = graph.add("Add", decay, graph.number(1.0, f"{label}.one"), name=f"{label}.sum")
    logarithm = graph.add("Log", sum_, name=f"{label}.log")
    positive = graph.add("Relu", z, name=f"{label}.positive")
    return graph.add("Add", positive, logarithm, name=label)


def mish(graph: Graph, step: Step, label: str, z: str) -> str:
    """f(z) = z tanh(softplus(z))."""
    gate = graph.add("Tanh", softplus(graph, step, f"{label}.softplus", z), name=f"{label}.tanh")
    return graph.add("Mul", z, gate, name=label)


ACTIVATIONS: dict[str, Callable[..., str]] = {
    "elu": elu,
    "exact_gelu": exact_gelu,
    "gelu": gelu,
    "identity": operator("Identity"),
    "leaky_relu": leaky_relu,
    "mish": mish,
    "relu": operator("Relu"),
    "selu": selu,
    "silu": silu,
    "sigmoid": operator("Sigmoid"),
    "softplus": softplus,
    "tanh": operator("Tanh"),
}
"""By name: what takes the graph, the step, a name for its node, the name of z, and parameters."""
