"""Activations, and the gradients through them."""

from __future__ import annotations

from typing import Any

from gpunn import activations
from gpunn.activations import Activation
from gpunn.backends.numpy.compiled.forms.base import Forms, Steps, same_kind
from gpunn.backends.numpy.compiled.interface import ACTIVATIONS
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.typing import Array

__all__ = ["Activations", "sum_rows"]

NAMES = {
    activations.Identity: "leaky_relu",
    activations.ReLU: "relu",
    activations.LeakyReLU: "leaky_relu",
    activations.ELU: "elu",
    activations.SELU: "elu",
    activations.GELU: "gelu",
    activations.SiLU: "silu",
    activations.Mish: "mish",
    activations.Sigmoid: "sigmoid",
    activations.Tanh: "tanh",
    activations.Softplus: "softplus",
}
"""Which of `ACTIVATIONS` a class is; the identity is a leaky ReLU that leaks everything."""


class Activations(Forms):
    """Activations, and the gradients through them."""

    def activate(self, activation: Activation, z: Array, bias: Array | None, out: Array) -> Steps:
        known = arguments_of(activation)
        given = [z, out] if bias is None else [z, out, bias]
        if known is None or not same_kind(*given) or not z.size:
            return None
        number, *parameters = known
        shape = self.divided_shape(z) if bias is None else rows_and_columns(z, bias)
        args = [number, z, bias, out, *shape, *parameters]
        return [Instruction("activate", args, given, [out] if bias is None else [z, out])]

    def activation_gradient(
        self,
        activation: Activation,
        z: Array,
        output: Array,
        gradient: Array,
        bias_gradient: Array | None,
    ) -> Steps:
        known = arguments_of(activation)
        sums = [] if bias_gradient is None else [bias_gradient]
        source = output if activation.from_output else z
        if known is None or not same_kind(source, gradient, *sums) or not source.size:
            return None
        if type(activation) is activations.Identity:
            return [] if bias_gradient is None else [sum_rows(gradient, bias_gradient)]
        number, *parameters = known
        shape = rows_and_columns(gradient, bias_gradient)
        args = [number, source, gradient, bias_gradient, *shape, *parameters]
        return [Instruction("activation_gradient", args, [source, gradient], [gradient, *sums])]


def sum_rows(x: Array, out: Array) -> Instruction:
    """Return what sets out = sum over the rows of x."""
    return Instruction("sum_rows", [x, out, *rows_and_columns(x, out)], [x], [out])


def rows_and_columns(z: Array, bias: Array | None) -> tuple[int, int]:
    """Return a shape whose columns the threads divide: all numbers a row, if there is no bias."""
    return (1, z.size) if bias is None else (z.shape[0], z.size // z.shape[0])


def arguments_of(f: Any) -> tuple[float, ...] | None:
    """Return a built-in activation's number and two parameters there; None for any other."""
    if type(f) not in NAMES:
        return None
    number = ACTIVATIONS.index(NAMES[type(f)])
    if isinstance(f, activations.Identity | activations.LeakyReLU):
        return number, getattr(f, "slope", 1.0), 0.0
    if isinstance(f, activations.ELU | activations.SELU):
        return number, f.alpha, getattr(f, "scale", 1.0)
    return number, 0.0, 0.0
