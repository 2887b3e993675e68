"""Built-in activations as ONNX operators.

In float32 an activation is one operator, where ONNX has it. Runtimes lack some of these in float64,
so there it is composed of elementary operators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from gpunn import activations
from gpunn.interchange.onnx_graph import Graph

__all__ = ["ACTIVATIONS"]

Converter: TypeAlias = Callable[[Graph, Any, str, str], str]
"""Takes the graph, the activation, a name for its node, and the name of z; returns that of f(z)."""


def operator(name: str) -> Converter:
    """Return the converter of an activation that is one ONNX operator without attributes."""

    def convert(graph: Graph, f: Any, label: str, z: str) -> str:
        return graph.add(name, z, name=label)

    return convert


def identity(graph: Graph, f: activations.Identity, label: str, z: str) -> str:
    """Return z itself."""
    return z


def leaky_relu(graph: Graph, f: activations.LeakyReLU, label: str, z: str) -> str:
    """max(z, slope z)."""
    if graph.dtype == "float32":
        return graph.add("LeakyRelu", z, name=label, alpha=f.slope)
    scaled = graph.add("Mul", z, graph.number(f.slope, f"{label}.slope"), name=f"{label}.scaled")
    return graph.add("Max", z, scaled, name=label)


def elu(graph: Graph, f: activations.ELU, label: str, z: str) -> str:
    """max(z, 0) + alpha (exp(min(z, 0)) - 1)."""
    if graph.dtype == "float32":
        return graph.add("Elu", z, name=label, alpha=f.alpha)
    return graph.add("Add", *elu_parts(graph, f.alpha, label, z), name=label)


def selu(graph: Graph, f: activations.SELU, label: str, z: str) -> str:
    """Scale times ELU(z, alpha)."""
    if graph.dtype == "float32":
        return graph.add("Selu", z, name=label, alpha=f.alpha, gamma=f.scale)
    unscaled = graph.add("Add", *elu_parts(graph, f.alpha, label, z), name=f"{label}.unscaled")
    return graph.add("Mul", unscaled, graph.number(f.scale, f"{label}.scale"), name=label)


def elu_parts(graph: Graph, alpha: float, label: str, z: str) -> tuple[str, str]:
    """Return the positive and the negative part of ELU(z, alpha)."""
    zero, one = graph.number(0.0, f"{label}.zero"), graph.number(1.0, f"{label}.one")
    negative = graph.add("Min", z, zero, name=f"{label}.negative")
    exponential = graph.add("Exp", negative, name=f"{label}.exp")
    decay = graph.add("Sub", exponential, one, name=f"{label}.decay")
    scaled = graph.add("Mul", decay, graph.number(alpha, f"{label}.alpha"), name=f"{label}.scaled")
    return graph.add("Relu", z, name=f"{label}.positive"), scaled


def gelu(graph: Graph, f: activations.GELU, label: str, z: str) -> str:
    """z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))); ONNX 18 has no operator for it."""
    one, half = graph.number(1.0, f"{label}.one"), graph.number(0.5, f"{label}.half")
    cubic, root = graph.number(f.cubic, f"{label}.cubic"), graph.number(f.root, f"{label}.root")
    square = graph.add("Mul", z, z, name=f"{label}.square")
    cubed = graph.add("Mul", square, cubic, name=f"{label}.cubed")
    factor = graph.add("Add", cubed, one, name=f"{label}.factor")
    scaled = graph.add("Mul", z, root, name=f"{label}.scaled")
    argument = graph.add("Mul", scaled, factor, name=f"{label}.argument")
    tanh = graph.add("Tanh", argument, name=f"{label}.tanh")
    gate = graph.add("Add", tanh, one, name=f"{label}.gate")
    halved = graph.add("Mul", z, half, name=f"{label}.halved")
    return graph.add("Mul", halved, gate, name=label)


def silu(graph: Graph, f: activations.SiLU, label: str, z: str) -> str:
    """f(z) = z sigmoid(z)."""
    gate = graph.add("Sigmoid", z, name=f"{label}.sigmoid")
    return graph.add("Mul", z, gate, name=label)


def softplus(graph: Graph, f: activations.Softplus | activations.Mish, label: str, z: str) -> str:
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


def mish(graph: Graph, f: activations.Mish, label: str, z: str) -> str:
    """f(z) = z tanh(softplus(z))."""
    gate = graph.add("Tanh", softplus(graph, f, f"{label}.softplus", z), name=f"{label}.tanh")
    return graph.add("Mul", z, gate, name=label)


ACTIVATIONS: dict[type[activations.Activation], Converter] = {
    activations.ELU: elu,
    activations.GELU: gelu,
    activations.Identity: identity,
    activations.LeakyReLU: leaky_relu,
    activations.Mish: mish,
    activations.ReLU: operator("Relu"),
    activations.SELU: selu,
    activations.SiLU: silu,
    activations.Sigmoid: operator("Sigmoid"),
    activations.Softplus: softplus,
    activations.Tanh: operator("Tanh"),
}
"""By exact class: a subclass may compute something else."""
