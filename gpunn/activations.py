"""Activation functions and their derivatives, written as the mathematics.

These definitions are the reference: a backend may compute a built-in activation in a faster way,
and is tested against them. A new activation is a subclass with a `value` and a `derivative`:

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class Square(Activation):
...     name = "square"
...
...     def value(self, xp, z):
...         return z * z
...
...     def derivative(self, xp, z, a):
...         return 2 * z
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gpunn.configurable import Configurable, missing_class
from gpunn.typing import Array, Namespace

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "Identity",
    "LeakyReLU",
    "Mish",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Tanh",
]


class Activation(Configurable):
    """An elementwise function a = f(z) of a layer's preactivation z.

    Attributes
    ----------
    from_output : bool
        True if `derivative` is computed from `a` alone. The backend then overwrites z with a, which
        saves a buffer, and passes the same array for both.
    """

    from_output: ClassVar[bool] = False

    def value(self, xp: Namespace, z: Array) -> Array:
        """Return f(z), of z's shape and dtype."""
        raise NotImplementedError(f"{type(self).__name__} must define value(xp, z)")

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        """Return f'(z), given z and a = f(z)."""
        raise NotImplementedError(f"{type(self).__name__} must define derivative(xp, z, a)")


def sigmoid(xp: Namespace, z: Array) -> Array:
    """Return 1 / (1 + exp(-z)), in a form that can't overflow."""
    return 0.5 * xp.tanh(0.5 * z) + 0.5


def softplus(xp: Namespace, z: Array) -> Array:
    """Return log(1 + exp(z)), in a form that can't overflow."""
    return xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


@dataclass(frozen=True)
class Identity(Activation):
    """f(z) = z."""

    name = "identity"
    from_output = True

    def value(self, xp: Namespace, z: Array) -> Array:
        return z

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return xp.ones_like(a)


@dataclass(frozen=True)
class ReLU(Activation):
    """f(z) = max(z, 0); f'(0) is taken as 0."""

    name = "relu"
    from_output = True

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.maximum(z, 0.0)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return xp.astype(a > 0, a.dtype)


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """f(z) = z for z > 0, slope * z otherwise (Maas et al. 2013)."""

    slope: float = 0.01

    name = "leaky_relu"
    from_output = True

    def __post_init__(self) -> None:
        self.require_number("slope", at_least=0, below=1)

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.maximum(z, self.slope * z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return xp.where(a > 0, xp.ones_like(a), self.slope)


@dataclass(frozen=True)
class ELU(Activation):
    """f(z) = z for z > 0, alpha * (exp(z) - 1) otherwise (Clevert et al. 2016)."""

    alpha: float = 1.0

    name = "elu"
    from_output = True

    def __post_init__(self) -> None:
        self.require_number("alpha", above=0)

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.where(z > 0, z, self.alpha * xp.expm1(xp.minimum(z, 0.0)))

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return xp.where(a > 0, xp.ones_like(a), a + self.alpha)


@dataclass(frozen=True)
class SELU(Activation):
    """f(z) = scale * ELU(z, alpha), whose constants keep mean 0 and variance 1 across layers.

    The constants are those of Klambauer et al. 2017, "Self-Normalizing Neural Networks".
    """

    name = "selu"
    from_output = True
    alpha: ClassVar[float] = 1.6732632423543772
    scale: ClassVar[float] = 1.0507009873554805

    def value(self, xp: Namespace, z: Array) -> Array:
        return self.scale * xp.where(z > 0, z, self.alpha * xp.expm1(xp.minimum(z, 0.0)))

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return xp.where(a > 0, self.scale * xp.ones_like(a), a + self.scale * self.alpha)


@dataclass(frozen=True)
class GELU(Activation):
    """f(z) = z/2 * (1 + tanh(sqrt(2/pi) * (z + 0.044715 z^3))) (Hendrycks & Gimpel 2016).

    This is the paper's tanh form: the array-API standard has no erf.
    """

    name = "gelu"
    cubic: ClassVar[float] = 0.044715
    root: ClassVar[float] = math.sqrt(2 / math.pi)

    def value(self, xp: Namespace, z: Array) -> Array:
        return 0.5 * z * (1 + xp.tanh(self.root * z * (1 + self.cubic * z * z)))

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        t = xp.tanh(self.root * z * (1 + self.cubic * z * z))
        slope = self.root * (1 + 3 * self.cubic * z * z)
        return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * slope


@dataclass(frozen=True)
class SiLU(Activation):
    """f(z) = z * sigmoid(z), also called swish (Elfwing et al. 2018)."""

    name = "silu"

    def value(self, xp: Namespace, z: Array) -> Array:
        return z * sigmoid(xp, z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        s = sigmoid(xp, z)
        return s + a * (1 - s)


@dataclass(frozen=True)
class Mish(Activation):
    """f(z) = z * tanh(softplus(z)) (Misra 2019)."""

    name = "mish"

    def value(self, xp: Namespace, z: Array) -> Array:
        return z * xp.tanh(softplus(xp, z))

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        t = xp.tanh(softplus(xp, z))
        return t + z * (1 - t * t) * sigmoid(xp, z)


@dataclass(frozen=True)
class Sigmoid(Activation):
    """f(z) = 1 / (1 + exp(-z))."""

    name = "sigmoid"
    from_output = True

    def value(self, xp: Namespace, z: Array) -> Array:
        return sigmoid(xp, z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return a * (1 - a)


@dataclass(frozen=True)
class Tanh(Activation):
    """f(z) = tanh(z)."""

    name = "tanh"
    from_output = True

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.tanh(z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return 1 - a * a


@dataclass(frozen=True)
class Softplus(Activation):
    """f(z) = log(1 + exp(z))."""

    name = "softplus"
    from_output = True

    def value(self, xp: Namespace, z: Array) -> Array:
        return softplus(xp, z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return -xp.expm1(-a)


if not TYPE_CHECKING:  # else every name would be taken for one of this module

    def __getattr__(name: str) -> None:
        raise missing_class(__name__, Activation, name)
