"""The built-in activations, in place.

For each: `forward(f, z, out, s, t)` sets out = f(z), and `backward(f, z, a, g, s, t)` sets
g = g * f'(z), where a = f(z). All are 1-D chunks of one size; s and t are scratch memory, and `out`
may be z. The mathematics is in `gpunn.activations`; here is only the order of the passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gpunn import activations
from gpunn.typing import Array

__all__ = ["CHEAP", "KERNELS"]


def sigmoid(z: Array, out: Array) -> None:
    """Set out = 1 / (1 + exp(-z))."""
    np.multiply(z, 0.5, out=out)
    np.tanh(out, out=out)
    out *= 0.5
    out += 0.5


def softplus(z: Array, out: Array, s: Array) -> None:
    """Set out = log(1 + exp(z)); `out` may be z, s may not."""
    np.abs(z, out=s)
    np.negative(s, out=s)
    np.exp(s, out=s)
    np.log1p(s, out=s)
    np.maximum(z, 0, out=out)
    out += s


def is_positive(a: Array, s: Array, t: Array) -> None:
    """Set s = 1 where a > 0 and 0 elsewhere; t is overwritten."""
    # Through a Boolean array, since NumPy makes buffers wherever a ufunc's types differ.
    mask = t.view(np.bool)[: a.size]
    np.greater(a, 0, out=mask)
    s[...] = mask


def identity_forward(f: Any, z: Array, out: Array, s: Array, t: Array) -> None:
    if out is not z:
        out[...] = z


def identity_backward(f: Any, z: Array, a: Array, g: Array, s: Array, t: Array) -> None:
    pass


def relu_forward(f: Any, z: Array, out: Array, s: Array, t: Array) -> None:
    np.maximum(z, 0, out=out)


def relu_backward(f: Any, z: Array, a: Array, g: Array, s: Array, t: Array) -> None:
    is_positive(a, s, t)
    g *= s


def leaky_relu_forward(f: Any, z: Array, out: Array, s: Array, t: Array) -> None:
    np.multiply(z, f.slope, out=s)
    np.maximum(z, s, out=out)


def leaky_relu_backward(f: Any, z: Array, a: Array, g: Array, s: Array, t: Array) -> None:
    is_positive(a, s, t)
    s *= 1 - f.slope
    s += f.slope
    g *= s


def elu_forward(f: Any, z: Array, out: Array, s: Array, t: Array) -> None:
    np.minimum(z, 0, out=s)
    np.expm1(s, out=s)
    s *= f.alpha
    np.maximum(z, 0, out=out)
    out += s


def elu_backward(f: Any, z: Array, a: Array, g: Array, s: Array, t: Array) -> None:
    # alpha + min(a, 0), and 1 - alpha more above zero
    is_positive(a, s, t)
    s *= 1 - f.alpha
    np.minimum(a, 0, out=t)
    t += f.alpha
    s += t
    g *= s


def selu_forward(f: Any, z: Array, out: Array, s: Array, t: Array) -> None:
    elu_forward(f, z, out, s, t)
    out *= f.scale


def selu_backward(f: Any, z: Array, a: Array, g: Array, s: Array, t: Array) -> None:
    is_positive(a, s, t)
    s *= f.scale * (1 - f.alpha)
    np.minimum(a, 0, out=t)
    t += f.scale * f.alpha
    s += t
    g *= s


def gelu_inner(f: Any, z: Array, s: Array) -> None:
    """Set s = tanh(root * z * (1 + cubic * z^2))."""
    np.multiply(z, z, out=s)
    s *= f.cubic
    s += 1
    s *= z
    s *= f.root
    np.tanh(s, out=s)


def gelu_forward(f: Any, z: Array, out: Array, s: Array, t: Array) -> None:
    gelu_inner(f, z, s)
    s += 1
    s *= 0.5
    np.multiply(z, s, out=out)


def gelu_backward(f: Any, z: Array, a: Array, g: Array, s: Array, t: Array) -> None:
    # f' = (1 + h) / 2 * (1 + (1 - h) z slope), with h the inner tanh and
    # slope = root (1 + 3 cubic z^2)
    gelu_inner(f, z, s)
    np.multiply(z, z, out=t)
    t *= 3 * f.cubic * f.root
    t += f.root
    t *= z
    g *= 0.5
    s += 1
    g *= s
    np.subtract(2, s, out=s)
    t *= s
    t += 1
    g *= t


def silu_forward(f: Any, z: Array, out: Array, s: Array, t: Array) -> None:
    sigmoid(z, s)
    np.multiply(z, s, out=out)


def silu_backward(f: Any, z: Array, a: Array, g: Array, s: Array, t: Array) -> None:
    sigmoid(z, s)
    np.subtract(1, s, out=t)
    t *= a
    s += t
    g *= s


def mish_forward(f: Any, z: Array, out: Array, s: Array, t: Array) -> None:
    softplus(z, s, t)
    np.tanh(s, out=s)
    np.multiply(z, s, out=out)


def mish_backward(f: Any, z: Array, a: Array, g: Array, s: Array, t: Array) -> None:
    # f' = h + z (1 - h^2) sigmoid(z), with h = tanh(softplus(z))
    softplus(z, s, t)
    np.tanh(s, out=s)
    sigmoid(z, t)
    t *= z
    t *= g
    g *= s
    s *= s
    np.subtract(1, s, out=s)
    t *= s
    g += t


def sigmoid_forward(f: Any, z: Array, out: Array, s: Array, t: Array) -> None:
    sigmoid(z, out)


def sigmoid_backward(f: Any, z: Array, a: Array, g: Array, s: Array, t: Array) -> None:
    g *= a
    np.subtract(1, a, out=s)
    g *= s


def tanh_forward(f: Any, z: Array, out: Array, s: Array, t: Array) -> None:
    np.tanh(z, out=out)


def tanh_backward(f: Any, z: Array, a: Array, g: Array, s: Array, t: Array) -> None:
    np.multiply(a, a, out=s)
    np.subtract(1, s, out=s)
    g *= s


def softplus_forward(f: Any, z: Array, out: Array, s: Array, t: Array) -> None:
    softplus(z, out, s)


def softplus_backward(f: Any, z: Array, a: Array, g: Array, s: Array, t: Array) -> None:
    np.negative(a, out=s)
    np.expm1(s, out=s)
    np.negative(s, out=s)
    g *= s


Forward: TypeAlias = Callable[[Any, Array, Array, Array, Array], None]
Backward: TypeAlias = Callable[[Any, Array, Array, Array, Array, Array], None]

KERNELS: dict[type[activations.Activation], tuple[Forward, Backward]] = {
    activations.Identity: (identity_forward, identity_backward),
    activations.ReLU: (relu_forward, relu_backward),
    activations.LeakyReLU: (leaky_relu_forward, leaky_relu_backward),
    activations.ELU: (elu_forward, elu_backward),
    activations.SELU: (selu_forward, selu_backward),
    activations.GELU: (gelu_forward, gelu_backward),
    activations.SiLU: (silu_forward, silu_backward),
    activations.Mish: (mish_forward, mish_backward),
    activations.Sigmoid: (sigmoid_forward, sigmoid_backward),
    activations.Tanh: (tanh_forward, tanh_backward),
    activations.Softplus: (softplus_forward, softplus_backward),
}

CHEAP = frozenset((activations.Identity, activations.ReLU, activations.LeakyReLU))
"""Those whose arithmetic takes less than memory does: one thread is as fast as several."""
