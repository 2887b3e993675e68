"""Matrix products, and the passes of a dense layer."""

from __future__ import annotations

import math
from collections.abc import Callable

from gpunn import activations
from gpunn.backends.numpy.compiled.lowerings.activations import Activations
from gpunn.backends.numpy.compiled.lowerings.base import Steps, present, same_kind
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.recording import Arguments

__all__ = ["Dense"]


class Dense(Activations):
    """Matrix products, and the passes of a dense layer."""

    def matmul(self, ask: Arguments) -> Steps:
        if not same_kind(*ask.arrays) or (ask.transpose_a and ask.transpose_b):
            return None
        return self.products.encode(**vars(ask)) if ask.a.size * ask.b.size else None

    def dense(self, ask: Arguments) -> Steps:
        return self.forward(ask, self.products.encode)

    def forward(self, ask: Arguments, encode: Callable[..., list[Instruction]]) -> Steps:
        """Return a dense layer's forward pass, with products that `encode` returns."""
        x, weights, bias, z = ask.x, ask.weights, ask.bias, ask.z
        if not same_kind(x, weights, z, *present(bias)) or not x.size:
            return None
        floors = {activations.ReLU: 0.0, activations.Identity: -math.inf}
        if ask.out is z and type(ask.activation) in floors:  # the product applies these
            return encode(x, weights, z, bias=bias, floor=floors[type(ask.activation)])
        activated = self.activate(ask.but(bias=None))
        return None if activated is None else [*encode(x, weights, z, bias=bias), *activated]

    def dense_gradient(self, ask: Arguments) -> Steps:
        x, gradient = ask.x, ask.gradient
        gradients = present(ask.weight_gradient, ask.bias_gradient, ask.input_gradient)
        if not same_kind(x, ask.weights, ask.output, gradient, *gradients) or not x.size:
            return None
        steps = self.activation_gradient(ask)
        if steps is None:
            return None
        for out in present(ask.input_gradient):
            steps += self.products.encode(gradient, ask.weights, out, transpose_b=True)
        for out in present(ask.weight_gradient):
            steps += self.products.encode(x, gradient, out, transpose_a=True)
        return steps
