"""Matrix products, and a dense layer's passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from gpunn import activations
from gpunn.activations import Activation
from gpunn.backends.numpy.compiled.forms.base import Forms, Steps, same_kind
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.typing import Array

__all__ = ["Dense"]


class Dense(Forms):
    """Matrix products, and a dense layer's passes."""

    def matmul(
        self,
        a: Array,
        b: Array,
        out: Array,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> Steps:
        if not same_kind(a, b, out) or (transpose_a and transpose_b) or not a.size * b.size:
            return None
        return list(self.products.encode(a, b, out, transpose_a, transpose_b))

    def dense(
        self,
        x: Array,
        weights: Array,
        bias: Array | None,
        activation: Activation,
        z: Array,
        out: Array,
    ) -> Steps:
        if not same_kind(x, weights, z, *([] if bias is None else [bias])) or not x.size:
            return None
        rectified = type(activation) is activations.ReLU
        if out is z and (rectified or type(activation) is activations.Identity):
            floor = 0.0 if rectified else -math.inf
            return list(self.products.encode(x, weights, out, bias=bias, floor=floor))
        rest = self.binder.activate(activation, z, None, out)
        if rest is None:
            return None
        return [*self.products.encode(x, weights, z, bias=bias), *rest]

    def dense_gradient(
        self,
        x: Array,
        weights: Array,
        activation: Activation,
        z: Array,
        output: Array,
        gradient: Array,
        weight_gradient: Array,
        bias_gradient: Array | None,
        input_gradient: Array | None,
    ) -> Steps:
        given = [array for array in (bias_gradient, input_gradient) if array is not None]
        if not same_kind(x, weights, output, gradient, weight_gradient, *given) or not x.size:
            return None
        size = gradient.itemsize
        operations: list[Instruction | Callable[[], None]] = []
        sums = [] if bias_gradient is None else [bias_gradient]
        if type(activation) is activations.ReLU:
            args = [output, gradient, *gradient.shape, size, bias_gradient]
            changed = [gradient, *sums]
            operations.append(Instruction("rectified_gradient", args, [output, gradient], changed))
        elif type(activation) is activations.Identity:
            if bias_gradient is not None:
                args = [gradient, *gradient.shape, size, bias_gradient]
                operations.append(Instruction("sum_rows", args, [gradient], sums))
        else:
            calls = self.binder.activation_gradient(activation, z, output, gradient, None)
            if calls is None:
                return None
            operations += calls
            if bias_gradient is not None:
                operations.append(partial(np.add.reduce, gradient, axis=0, out=bias_gradient))
        if input_gradient is not None:
            operations += self.products.encode(gradient, weights, input_gradient, transpose_b=True)
        operations += self.products.encode(x, gradient, weight_gradient, transpose_a=True)
        return operations
