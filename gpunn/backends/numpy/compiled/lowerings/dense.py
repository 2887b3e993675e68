"""Instructions for matrix products, and for forward and backward passes of dense layers."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from gpunn import activations
from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES
from gpunn.backends.numpy.compiled.lowerings.activations import Activations
from gpunn.backends.numpy.compiled.lowerings.base import Steps, present, same_kind
from gpunn.backends.numpy.compiled.lowerings.pooling import with_relu
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.recording import Arguments

ONE_OUTPUT = 2 * BLOCK_BYTES
"""If a layer with one output has input rows of at most this many bytes, all its gradients are
computed together."""


class Dense(Activations):
    def matmul(self, op: Arguments) -> Steps:
        if not same_kind(*op.arrays) or (op.transpose_a and op.transpose_b):
            return None
        return self.products.encode(**vars(op)) if op.a.size * op.b.size else None

    def dense(self, op: Arguments) -> Steps:
        return self.forward(op, self.products.encode)

    def forward(self, op: Arguments, encode: Callable[..., list[Instruction]]) -> Steps:
        x, weights, bias, z = op.x, op.weights, op.bias, op.z
        if not same_kind(x, weights, z, *present(bias)) or not x.size:
            return None
        floors = {activations.ReLU: 0.0, activations.Identity: -math.inf}
        if op.out is z and type(op.activation) in floors:  # the product applies the activation
            return encode(x, weights, z, bias=bias, floor=floors[type(op.activation)])
        activated = self.activate(Arguments(activation=op.activation, z=z, bias=None, out=op.out))
        return None if activated is None else [*encode(x, weights, z, bias=bias), *activated]

    def dense_gradient(self, op: Arguments) -> Steps:
        x, gradient = op.x, op.gradient
        gradients = present(op.weight_gradient, op.bias_gradient, op.input_gradient)
        if not same_kind(x, op.weights, op.output, gradient, *gradients) or not x.size:
            return None
        if (
            self.threads == 1
            and gradient.shape[1] == 1
            and len(gradients) == 3
            and op.input_gradient.strides[0] <= ONE_OUTPUT
            and type(op.activation) is activations.Identity
        ):
            self.products.divide(op.input_gradient, by_columns=False)
            read = [x, gradient, op.weights]
            args = [*read, *gradients, *x.shape, False, None]
            one = Instruction("one_output_gradient", args, read, gradients)
            return [replace(one, then=partial(with_relu, one))]
        steps = self.activation_gradient(op)
        if steps is None:
            return None
        for out in present(op.input_gradient):
            steps += self.products.encode(gradient, op.weights, out, transpose_b=True)
        for out in present(op.weight_gradient):
            steps += self.products.encode(x, gradient, out, transpose_a=True)
        return steps
