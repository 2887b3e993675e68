"""Translate activations and their gradients to instructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from gpunn import activations
from gpunn.backends.numpy.compiled.conflicts import address, extent
from gpunn.backends.numpy.compiled.interface import ACTIVATIONS, BLOCK_BYTES
from gpunn.backends.numpy.compiled.lowerings.base import Steps, present, same_kind
from gpunn.backends.numpy.compiled.lowerings.expressions import Expressions
from gpunn.backends.numpy.compiled.program import Instruction, sum_rows
from gpunn.backends.recording import Arguments, Performer, Trace, arguments_of, arrays_in
from gpunn.expressions import Untraceable
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
"""Maps activation classes to names in `ACTIVATIONS`; the identity is a leaky ReLU of slope 1."""

JOINED = 512
"""Pixels are joined to rows of at most this many columns, unless a pixel has more channels."""

DENSE = "dense", "dense_gradient"
GRADIENT = ("activation", "z", "output", "gradient", "bias_gradient")


def activate_with_slope(ops: Any, activation: Any, z: Array, out: Array) -> None:
    value = activation.value(ops.xp, z)
    slope = activation.derivative(ops.xp, z, value)
    out[...], z[...] = value, slope


def multiply_by_slope(ops: Any, z: Array, gradient: Array, bias_gradient: Array | None) -> None:
    gradient *= z
    if bias_gradient is not None:
        bias_gradient[...] = ops.xp.sum(gradient, axis=0)


def unread(trace: Trace, backend: Performer) -> set[int]:
    """Return the ids of preactivations z that only custom activations of dense layers read."""
    dense = [one for one in trace if one.name in DENSE]
    classes = {type(each) for one in dense for each in (*one.args, *one.kwargs.values())}
    if not any(issubclass(each, activations.Activation) and each not in NAMES for each in classes):
        return set()
    layers: dict[int, list[Arguments]] = {}
    others = dict[int, Array]()
    for one in trace:
        values = (*one.args, *one.kwargs.values())
        if one.name in DENSE:
            op = arguments_of(backend, one)
            values = tuple(vars(op).values())
            if kernel_arguments(op.activation) is None and not op.activation.from_output:
                layers.setdefault(id(op.z), []).append(op)
                values = tuple(each for name, each in vars(op).items() if name != "z")
        for value in values:
            if isinstance(value, np.ndarray):
                others[id(value)] = value
            elif value is not None:
                arrays = (each for each in arrays_in(value) if isinstance(each, np.ndarray))
                others |= {id(each): each for each in arrays}
    found = {key: ops[0].z for key, ops in layers.items() if is_forward_and_backward(ops)}
    if not found:
        return set()
    every = [*others.values(), *(ops[0].z for ops in layers.values())]
    bounds = [extent(x)[:2] if x.flags.c_contiguous else byte_bounds(x) for x in every]
    begins, ends = np.array(bounds).T
    return {
        key
        for key, z in found.items()
        if np.count_nonzero((begins < address(z) + z.nbytes) & (address(z) < ends)) == 1
    }


def is_forward_and_backward(ops: Sequence[Arguments]) -> bool:
    backward = [hasattr(each, "gradient") for each in ops]
    usual = (each.activation is ops[0].activation and same_kind(*each.arrays) for each in ops)
    return not backward[0] and any(backward) and all(usual)


def selected(op: Arguments, names: tuple[str, ...]) -> Arguments:
    return Arguments(**{name: getattr(op, name) for name in names})


class Activations(Expressions):
    def activate(self, op: Arguments) -> Steps:
        z, bias, out = op.z, op.bias, op.out
        kernel_args = kernel_arguments(op.activation)
        if not same_kind(*op.arrays) or not z.size:
            return None
        if kernel_args is None:
            return self._with_slope(op) or self.traced("activate", op)
        number, *parameters = kernel_args
        by_rows: list[Array] = []
        shape = divided_columns(z)
        if bias is None:
            shape, by_rows = self.divided(z, out)
        args = [number, z, bias, out, *shape, *parameters]
        writes = [out] if bias is None else [z, out]
        return [self.instruction("activate", args, op.arrays, writes, by_rows)]

    def _with_slope(self, op: Arguments) -> Steps:
        """Return steps that set `out` to f(z) and replace z by f'(z).

        Return None if z must be kept, if there is a bias, or if f can't be traced or compiled.
        """
        if id(op.z) not in self.unread or op.bias is not None:
            return None
        own = selected(op, ("activation", "out", "z"))  # the first result is `out`
        try:
            steps = self._traced(activate_with_slope, own, op.z.dtype, apart=True)
        except Untraceable:
            return None
        self.slopes.add(id(op.z))
        return steps

    def activation_gradient(self, op: Arguments) -> Steps:
        images, bias_gradient = op.gradient, op.bias_gradient
        if bias_gradient is None or images.ndim == bias_gradient.ndim + 1:
            return self._activation_gradient(op)
        if bias_gradient.ndim != 1 or not same_kind(images, bias_gradient):
            return None
        steps = self._activation_gradient(op.replace(bias_gradient=None))
        return None if steps is None else steps + self._sums_of_pixels(images, bias_gradient)

    def _activation_gradient(self, op: Arguments) -> Steps:
        gradient, bias_gradient = op.gradient, op.bias_gradient
        kernel_args, sums = kernel_arguments(op.activation), present(bias_gradient)
        if id(op.z) in self.slopes:
            own = selected(op, ("z", "gradient", "bias_gradient"))
            return self._traced(multiply_by_slope, own, gradient.dtype)
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
            # Each thread has a separate sum of its rows.
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

    def _sums_of_pixels(self, images: Array, out: Array) -> list[Instruction]:
        # First sum over groups of adjacent pixels, since few channels would leave lanes empty.
        *_, width, channels = images.shape
        wanted = max(1, min(width, JOINED // channels))
        joined = max(n for n in range(1, wanted + 1) if width % n == 0)
        lines = images.reshape(-1, joined * channels)
        parts = self.parts_of(lines) * joined
        sums = np.zeros((parts, channels), images.dtype)  # for threads without rows
        shape = [*lines.shape, -self.rows_per_image(lines)]
        [lines] = self.by_images(lines)
        args = [lines, sums, *shape]
        summing = self.instruction("column_sums", args, [lines], [sums], [lines, sums])
        return [summing, sum_rows(sums, out)]


def divided_columns(z: Array) -> tuple[int, int, int]:
    return z.shape[0], z.size // z.shape[0], BLOCK_BYTES // z.itemsize


def kernel_arguments(f: Any) -> tuple[float, ...] | None:
    if type(f) not in NAMES:
        return None
    number = ACTIVATIONS.index(NAMES[type(f)])
    if isinstance(f, activations.Identity | activations.LeakyReLU):
        return number, getattr(f, "slope", 1.0), 0.0
    if isinstance(f, activations.ELU | activations.SELU):
        return number, f.alpha, getattr(f, "scale", 1.0)
    return number, 0.0, 0.0
