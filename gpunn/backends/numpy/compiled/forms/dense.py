"""Matrix products, and a dense layer's passes."""

from __future__ import annotations

import math

from gpunn import activations
from gpunn.activations import Activation
from gpunn.backends.numpy.compiled.forms.activations import Activations
from gpunn.backends.numpy.compiled.forms.base import Steps, same_kind
from gpunn.typing import Array

__all__ = ["Dense"]


class Dense(Activations):
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
        activated = self.activate(activation, z, None, out)
        if activated is None:
            return None
        return [*self.products.encode(x, weights, z, bias=bias), *activated]

    def dense_gradient(
        self,
        x: Array,
        weights: Array,
        activation: Activation,
        z: Array,
        output: Array,
        gradient: Array,
        weight_gradient: Array | None,
        bias_gradient: Array | None,
        input_gradient: Array | None,
    ) -> Steps:
        wanted = weight_gradient, bias_gradient, input_gradient
        given = [array for array in wanted if array is not None]
        if not same_kind(x, weights, output, gradient, *given) or not x.size:
            return None
        operations = self.activation_gradient(activation, z, output, gradient, bias_gradient)
        if operations is None:
            return None
        if input_gradient is not None:
            operations += self.products.encode(gradient, weights, input_gradient, transpose_b=True)
        if weight_gradient is not None:
            operations += self.products.encode(x, gradient, weight_gradient, transpose_a=True)
        return operations
