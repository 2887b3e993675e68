"""Translate activations and their gradients to instructions."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpunn import activations
from gpunn.backends.numpy.compiled.interface import ACTIVATIONS, BLOCK_BYTES
from gpunn.backends.numpy.compiled.lowerings.base import Steps, present, same_kind
from gpunn.backends.numpy.compiled.lowerings.expressions import Expressions
from gpunn.backends.numpy.compiled.program import Instruction, sum_rows
from gpunn.backends.recording import Arguments
from gpunn.typing import Array

NAMES = {
    activations.Identity: "leaky_relu",
    activations.ReLU: "relu",
    activations.LeakyReLU: "leaky_relu",
    activations.ELU: "elu",
    activations.SELU: "elu",
    activations.GELU: "gelu",
    activations.ExactGELU: "exact_gelu",
    activations.SiLU: "silu",
    activations.Mish: "mish",
    activations.Sigmoid: "sigmoid",
    activations.Tanh: "tanh",
    activations.Softplus: "softplus",
}
"""Maps each activation class to its name in `ACTIVATIONS`. The identity is computed as a leaky ReLU
of slope 1."""


GRADIENT = ("activation", "z", "output", "gradient", "bias_gradient")


def selected(op: Arguments, names: tuple[str, ...]) -> Arguments:
    return Arguments(**{name: getattr(op, name) for name in names})


class Activations(Expressions):
    def activate(self, op: Arguments) -> Steps:
        z, bias, out = op.z, op.bias, op.out
        kernel_args = kernel_arguments(op.activation)
        if not same_kind(*op.arrays) or not z.size:
            return None
        if kernel_args is None:
            return self.traced("activate", op)
        number, *parameters = kernel_args
        by_rows: list[Array] = []
        shape = divided_columns(z)
        if bias is None:
            shape, by_rows = self.divided(z, out)
        args = [number, z, bias, out, *shape, *parameters]
        writes = [out] if bias is None else [z, out]
        return [self.instruction("activate", args, op.arrays, writes, by_rows)]

    def activation_gradient(self, op: Arguments) -> Steps:
        gradient, bias_gradient = op.gradient, op.bias_gradient
        kernel_args, sums = kernel_arguments(op.activation), present(bias_gradient)
        source = op.output if op.activation.from_output else op.z
        if not same_kind(source, gradient, *sums) or not source.size:
            return None
        if kernel_args is None:
            return self.traced("activation_gradient", selected(op, GRADIENT))
        if type(op.activation) is activations.Identity:
            return [sum_rows(gradient, each) for each in sums]
        number, *parameters = kernel_args
        shape, by_rows = self.divided(gradient, gradient)
        afterwards = []
        if sums and by_rows and 1 < self.threads <= gradient.shape[0]:
            # Each thread sums its rows.
            parts = np.empty((self.threads, bias_gradient.size), gradient.dtype)
            afterwards.append(sum_rows(parts, bias_gradient))
            shape, sums = (gradient.shape[0], bias_gradient.size, -1), [parts]
        elif sums:
            shape, by_rows = divided_columns(gradient), []
        args = [number, source, gradient, *(sums or [None]), *shape, *parameters]
        by_rows = [source, *by_rows] if by_rows else []
        read, changed = [source, gradient], [gradient, *sums]
        new = Instruction if sums else self.instruction
        return [new("activation_gradient", args, read, changed, by_rows), *afterwards]


def divided_columns(z: Array) -> tuple[int, int, int]:
    """Return (rows, columns, unit): a thread's number of columns is a multiple of the unit."""
    return z.shape[0], z.size // z.shape[0], BLOCK_BYTES // z.itemsize


def kernel_arguments(f: Any) -> tuple[float, ...] | None:
    """Return a built-in activation's index in `ACTIVATIONS` and its parameters, or None."""
    if type(f) not in NAMES:
        return None
    number = ACTIVATIONS.index(NAMES[type(f)])
    if isinstance(f, activations.Identity | activations.LeakyReLU):
        return number, getattr(f, "slope", 1.0), 0.0
    if isinstance(f, activations.ELU | activations.SELU):
        return number, f.alpha, getattr(f, "scale", 1.0)
    return number, 0.0, 0.0
