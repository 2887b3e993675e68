"""Activation functions and their derivatives, written as formulas.

The formulas in this module define the activations. A backend may compute a built-in activation in a
faster way; tests compare the results. To define a new activation, write a subclass with `value`;
see the example of `Activation`. A parameter outside its documented range raises an `ArgumentError`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gpunn.configurable import Configurable, missing_class, number
from gpunn.errors import ArgumentTypeError
from gpunn.expressions.derived import default, derived, forget_inherited, require_elementwise
from gpunn.typing import Array, Namespace

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "ExactGELU",
    "HardSigmoid",
    "HardSwish",
    "HardTanh",
    "Identity",
    "LeakyReLU",
    "LogSigmoid",
    "Mish",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Tanh",
    "TanhShrink",
]


TAILS: dict[str, tuple[float, ...]] = {
    "float32": (
        2.1182985e-05,
        -1.7310823e-06,
        -0.00021557377,
        0.00013365339,
        0.00162204,
        -0.0034799546,
        -0.007537717,
        0.06039665,
        -0.18652216,
        0.38713738,
        -0.6078966,
        0.75528514,
    ),
    "float64": (
        3.403312308667334e-10,
        -1.1997782031185714e-10,
        -3.730645081878848e-09,
        -5.873626765025369e-10,
        2.142760384347921e-08,
        1.784492777299079e-08,
        -8.686647016001836e-08,
        -1.5977396142240527e-07,
        2.724629695114953e-07,
        1.0247851016552888e-06,
        -6.298367338492593e-07,
        -5.921611045923984e-06,
        7.166587641195212e-07,
        3.514511190283765e-05,
        -1.9082463514145734e-06,
        -0.00023109501736277426,
        0.00013334430941183256,
        0.0016308184674099085,
        -0.0034796923670479736,
        -0.007540188967386312,
        0.060396574890917876,
        -0.1865218579596366,
        0.3871374007422149,
        -0.6078966419718923,
        0.7552851304157515,
    ),
}
"""Maps each dtype to the coefficients of `normal_tail`'s polynomial P, the highest power first. The
coefficients are from the Chebyshev series of (4 + x) e^(x^2 / 2) Phi(-x) in t, truncated where the
remainder is smaller than rounding errors. The choice of t is from Shepherd & Laframboise 1981,
"Chebyshev Approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < inf"."""


def normal_tail(xp: Namespace, z: Array) -> tuple[Array, Array]:
    """Return e^(-z^2 / 2) and Phi(-|z|), where Phi is the standard normal distribution function.

    With x = |z| and t = (x - 4) / (x + 4), Phi(-x) = e^(-x^2 / 2) P(t) / (x + 4). Phi replaces erf,
    which the array-API standard lacks. If a result is a normal (not subnormal) number, its error is
    at most 8 units in the last place.
    """
    x = xp.minimum(xp.abs(z), 200.0)  # e^-20000 is 0, even in extended precision
    inverse = 1 / (x + 4)
    t = (x - 4) * inverse
    polynomial, *others = TAILS["float32" if z.dtype == xp.float32 else "float64"]
    for coefficient in others:
        polynomial = polynomial * t + coefficient
    # The square of a multiple of 1/8 is exact: a rounded exponent would be wrong by many units.
    near = xp.round(8 * x) / 8
    decay = xp.exp(-0.5 * near * near) * xp.exp(-0.5 * (x - near) * (x + near))
    return decay, decay * (polynomial * inverse)


class Activation(Configurable):
    """Base of all activations: an elementwise function a = f(z) of preactivations z.

    Attributes
    ----------
    from_output : bool
        Whether `derivative` uses only `a`, not `z`. If True, the backend passes the same array as
        `z` and `a`. The class must then define `derivative`.

    See Also
    --------
    gpunn.layers.Activation : An activation as a layer.

    Examples
    --------
    >>> class Square(gpunn.activations.Activation):
    ...     name = "square"
    ...
    ...     def value(self, xp, z):
    ...         return z * z
    >>> Square().derivative(np, np.array([-3.0, 2.0]), np.array([9.0, 4.0]))
    array([-6.,  4.])
    >>> layer = gpunn.layers.Activation(Square())
    >>> gpunn.Sequential([layer], 2, backend="numpy").predict([[-3.0, 2.0]]).tolist()
    [[9.0, 4.0]]
    """

    from_output: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        forget_inherited(cls, Activation, "value", "derivative", "from_output")
        if cls.from_output and cls.derivative is Activation.derivative:
            raise ArgumentTypeError(
                f"{cls.__qualname__}: with from_output = True, the class must define "
                "derivative(self, xp, z, a) as a function of a. Without a derivative, leave out "
                "from_output"
            )

    def value(self, xp: Namespace, z: Array) -> Array:
        """Return f(z), with the shape and dtype of z.

        Parameters
        ----------
        xp : module
            The namespace of array functions, by the array-API standard.
        z : array
            Preactivations, of any shape.

        Returns
        -------
        array, shape of z
            f(z), in z's dtype.
        """
        raise NotImplementedError(f"{type(self).__name__} must define value(xp, z)")

    @default
    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        """Return f'(z), given z and a = f(z).

        By default, gpunn traces the array functions that `value` calls, and differentiates them.
        This also applies to a class that redefines only the `value` of a built-in activation.

        Parameters
        ----------
        xp : module
            The namespace of array functions, by the array-API standard.
        z : array
            Preactivations, or the array `a` if `from_output` is True.
        a : array, shape of z
            The result of `value`.

        Returns
        -------
        array, shape of z
            f'(z), in z's dtype.

        Raises
        ------
        ArgumentError
            If the class does not define `derivative`, and `value` can't be traced.
        """
        instead = "derivative(self, xp, z, a)"
        return derived(self, "value", instead, require_elementwise, xp, z)


def sigmoid(xp: Namespace, z: Array) -> Array:
    """Return 1 / (1 + exp(-z)) without overflow."""
    return 0.5 * xp.tanh(0.5 * z) + 0.5


def softplus(xp: Namespace, z: Array) -> Array:
    """Return log(1 + exp(z)) without overflow."""
    return xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


def softmax(xp: Namespace, z: Array) -> Array:
    exponential = xp.exp(z - xp.max(z, axis=1, keepdims=True))
    return exponential / xp.sum(exponential, axis=1, keepdims=True)


@dataclass(frozen=True)
class Identity(Activation):
    """No activation: f(z) = z.

    Examples
    --------
    >>> from gpunn.activations import Identity
    >>> Identity().value(np, np.array([-2.0, 0.0, 2.0]))
    array([-2.,  0.,  2.])
    """

    name = "identity"
    from_output = True

    def value(self, xp: Namespace, z: Array) -> Array:
        return z

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return xp.ones_like(a)


@dataclass(frozen=True)
class ReLU(Activation):
    """Rectifier: f(z) = max(z, 0).

    f'(z) is 1 for z > 0, otherwise 0.

    Examples
    --------
    >>> from gpunn.activations import ReLU
    >>> ReLU().value(np, np.array([-2.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """

    name = "relu"
    from_output = True

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.maximum(z, 0.0)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return xp.astype(a > 0, a.dtype)


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """Leaky rectifier: z for z > 0, slope * z otherwise.

    From Maas et al. 2013, "Rectifier Nonlinearities Improve Neural Network Acoustic Models".

    Parameters
    ----------
    slope : float
        The slope for z < 0: in [0, 1), 0.01 by default.

    Examples
    --------
    >>> from gpunn.activations import LeakyReLU
    >>> LeakyReLU().value(np, np.array([-2.0, 0.0, 2.0]))
    array([-0.02,  0.  ,  2.  ])
    """

    slope: float = number(0.01, at_least=0, below=1)

    name = "leaky_relu"
    from_output = True

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.maximum(z, self.slope * z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return xp.where(a > 0, xp.ones_like(a), self.slope)


@dataclass(frozen=True)
class ELU(Activation):
    """Exponential linear unit: z for z > 0, alpha * (exp(z) - 1) otherwise.

    From Clevert et al. 2016, "Fast and Accurate Deep Network Learning by Exponential Linear Units".
    The derivative is 1 for z > 0 and f(z) + alpha otherwise.

    Parameters
    ----------
    alpha : float
        Positive, 1 by default: f(z) approaches -alpha for large negative z.

    Examples
    --------
    >>> from gpunn.activations import ELU
    >>> ELU().value(np, np.array([-2.0, 0.0, 2.0])).round(3)
    array([-0.865,  0.   ,  2.   ])
    """

    alpha: float = number(1.0, above=0)

    name = "elu"
    from_output = True

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.where(z > 0, z, self.alpha * xp.expm1(xp.minimum(z, 0.0)))

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return xp.where(a > 0, xp.ones_like(a), a + self.alpha)


@dataclass(frozen=True)
class SELU(Activation):
    """Scaled exponential linear unit: scale * z for z > 0, scale * alpha * (exp(z) - 1) otherwise.

    The constants scale = 1.0507 and alpha = 1.6733 keep mean 0 and variance 1 across layers
    (Klambauer et al. 2017, "Self-Normalizing Neural Networks"). A `Dense` layer with SELU uses the
    initializer `LeCun`.

    Examples
    --------
    >>> from gpunn.activations import SELU
    >>> SELU().value(np, np.array([-2.0, 0.0, 2.0])).round(3)
    array([-1.52 ,  0.   ,  2.101])
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
    """Gaussian error linear unit: z/2 * (1 + tanh(sqrt(2/pi) * (z + 0.044715 z^3))).

    The formula is the tanh approximation of Hendrycks & Gimpel 2016, "Gaussian Error Linear Units".
    PyTorch calls it ``GELU("tanh")``, and Keras ``gelu(x, approximate=True)``. By default, both use
    `ExactGELU`, which differs by less than 0.0005.

    See Also
    --------
    ExactGELU : The function without approximation.

    Examples
    --------
    >>> from gpunn.activations import GELU
    >>> GELU().value(np, np.array([-2.0, 0.0, 2.0])).round(3)
    array([-0.045,  0.   ,  1.955])
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
class ExactGELU(Activation):
    """Gaussian error linear unit: z * Phi(z) = z/2 * (1 + erf(z / sqrt(2))).

    Phi is the standard normal distribution function (Hendrycks & Gimpel 2016, "Gaussian Error
    Linear Units"). PyTorch calls this function ``GELU()``, and Keras ``gelu``.

    See Also
    --------
    GELU : The approximation by tanh.

    Examples
    --------
    >>> from gpunn.activations import ExactGELU
    >>> ExactGELU().value(np, np.array([-2.0, 0.0, 2.0])).round(3)
    array([-0.046,  0.   ,  1.954])
    """

    name = "exact_gelu"
    density: ClassVar[float] = 1 / math.sqrt(2 * math.pi)
    root: ClassVar[float] = math.sqrt(0.5)

    def value(self, xp: Namespace, z: Array) -> Array:
        _decay, tail = normal_tail(xp, z)
        return z * xp.where(z < 0, tail, 1 - tail)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        decay, tail = normal_tail(xp, z)
        return xp.where(z < 0, tail, 1 - tail) + self.density * z * decay


@dataclass(frozen=True)
class SiLU(Activation):
    """Sigmoid linear unit, also called swish: f(z) = z / (1 + exp(-z)).

    From Elfwing et al. 2018, "Sigmoid-Weighted Linear Units for Neural Network Function
    Approximation in Reinforcement Learning".

    Examples
    --------
    >>> from gpunn.activations import SiLU
    >>> SiLU().value(np, np.array([-2.0, 0.0, 2.0])).round(3)
    array([-0.238,  0.   ,  1.762])
    """

    name = "silu"

    def value(self, xp: Namespace, z: Array) -> Array:
        return z * sigmoid(xp, z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        s = sigmoid(xp, z)
        return s + a * (1 - s)


@dataclass(frozen=True)
class Mish(Activation):
    """Mish: f(z) = z * tanh(log(1 + exp(z))).

    From Misra 2019, "Mish: A Self Regularized Non-Monotonic Activation Function".

    Examples
    --------
    >>> from gpunn.activations import Mish
    >>> Mish().value(np, np.array([-2.0, 0.0, 2.0])).round(3)
    array([-0.253,  0.   ,  1.944])
    """

    name = "mish"

    def value(self, xp: Namespace, z: Array) -> Array:
        return z * xp.tanh(softplus(xp, z))

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        t = xp.tanh(softplus(xp, z))
        return t + z * (1 - t * t) * sigmoid(xp, z)


@dataclass(frozen=True)
class Sigmoid(Activation):
    """Logistic function: f(z) = 1 / (1 + exp(-z)).

    f'(z) = f(z) * (1 - f(z)). Do not use `Sigmoid` for the outputs with "binary_cross_entropy",
    because this loss expects logits.

    Examples
    --------
    >>> from gpunn.activations import Sigmoid
    >>> Sigmoid().value(np, np.array([-2.0, 0.0, 2.0])).round(3)
    array([0.119, 0.5  , 0.881])
    """

    name = "sigmoid"
    from_output = True

    def value(self, xp: Namespace, z: Array) -> Array:
        return sigmoid(xp, z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return a * (1 - a)


@dataclass(frozen=True)
class Tanh(Activation):
    """Hyperbolic tangent: f(z) = tanh(z).

    f'(z) = 1 - f(z)^2.

    Examples
    --------
    >>> from gpunn.activations import Tanh
    >>> Tanh().value(np, np.array([-2.0, 0.0, 2.0])).round(3)
    array([-0.964,  0.   ,  0.964])
    """

    name = "tanh"
    from_output = True

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.tanh(z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return 1 - a * a


@dataclass(frozen=True)
class Softplus(Activation):
    """Smooth rectifier: f(z) = log(1 + exp(z)).

    f'(z) = 1 / (1 + exp(-z)).

    Examples
    --------
    >>> from gpunn.activations import Softplus
    >>> Softplus().value(np, np.array([-2.0, 0.0, 2.0])).round(3)
    array([0.127, 0.693, 2.127])
    """

    name = "softplus"
    from_output = True

    def value(self, xp: Namespace, z: Array) -> Array:
        return softplus(xp, z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return -xp.expm1(-a)


@dataclass(frozen=True)
class HardSigmoid(Activation):
    """Piecewise linear sigmoid: f(z) = min(max(z + 3, 0), 6) / 6.

    From Courbariaux et al. 2015, "BinaryConnect: Training Deep Neural Networks with Binary Weights
    during Propagations", with the slope of PyTorch and Keras. f'(z) is 1/6 for |z| < 3,
    otherwise 0.

    Examples
    --------
    >>> from gpunn.activations import HardSigmoid
    >>> HardSigmoid().value(np, np.array([-4.0, 0.0, 1.5]))
    array([0.  , 0.5 , 0.75])
    """

    name = "hard_sigmoid"

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.minimum(xp.maximum(z + 3, 0.0), 6.0) / 6


@dataclass(frozen=True)
class HardSwish(Activation):
    """Piecewise quadratic swish: f(z) = z * min(max(z + 3, 0), 6) / 6.

    From Howard et al. 2019, "Searching for MobileNetV3".

    See Also
    --------
    SiLU : The smooth function, z * sigmoid(z).

    Examples
    --------
    >>> from gpunn.activations import HardSwish
    >>> HardSwish().value(np, np.array([-4.0, -1.5, 0.0, 4.0]))
    array([-0.   , -0.375,  0.   ,  4.   ])
    """

    name = "hard_swish"

    def value(self, xp: Namespace, z: Array) -> Array:
        return z * xp.minimum(xp.maximum(z + 3, 0.0), 6.0) / 6


@dataclass(frozen=True)
class HardTanh(Activation):
    """Piecewise linear tanh: f(z) = z, limited to [-1, 1].

    From Collobert 2004, "Large Scale Machine Learning". f'(z) is 1 for |z| < 1, otherwise 0.

    Examples
    --------
    >>> from gpunn.activations import HardTanh
    >>> HardTanh().value(np, np.array([-2.0, 0.0, 0.5]))
    array([-1. ,  0. ,  0.5])
    """

    name = "hard_tanh"

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.minimum(xp.maximum(z, -1.0), 1.0)


@dataclass(frozen=True)
class ReLU6(Activation):
    """Limited rectifier: f(z) = min(max(z, 0), 6).

    From Krizhevsky 2010, "Convolutional Deep Belief Networks on CIFAR-10". f'(z) is 1 for 0 < z <
    6, otherwise 0.

    Examples
    --------
    >>> from gpunn.activations import ReLU6
    >>> ReLU6().value(np, np.array([-2.0, 2.0, 8.0]))
    array([0., 2., 6.])
    """

    name = "relu6"

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.minimum(xp.maximum(z, 0.0), 6.0)


@dataclass(frozen=True)
class CELU(Activation):
    """Continuously differentiable ELU: z for z > 0, alpha * (exp(z / alpha) - 1) otherwise.

    From Barron 2017, "Continuously Differentiable Exponential Linear Units". The derivative at 0 is
    1 for every alpha.

    Parameters
    ----------
    alpha : float
        Positive, 1 by default: f(z) approaches -alpha for large negative z.

    Examples
    --------
    >>> from gpunn.activations import CELU
    >>> CELU().value(np, np.array([-2.0, 0.0, 2.0])).round(3)
    array([-0.865,  0.   ,  2.   ])
    """

    alpha: float = number(1.0, above=0)

    name = "celu"

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.where(z < 0, self.alpha * xp.expm1(xp.minimum(z, 0.0) / self.alpha), z)


@dataclass(frozen=True)
class Softsign(Activation):
    """Sigmoid with polynomial tails: f(z) = z / (1 + |z|).

    From Bergstra et al. 2009, "Quadratic Polynomials Learn Better Image Features". f'(z) = 1 / (1 +
    |z|)^2.

    Examples
    --------
    >>> from gpunn.activations import Softsign
    >>> Softsign().value(np, np.array([-3.0, 0.0, 1.0]))
    array([-0.75,  0.  ,  0.5 ])
    """

    name = "softsign"

    def value(self, xp: Namespace, z: Array) -> Array:
        return z / (1 + xp.abs(z))


@dataclass(frozen=True)
class LogSigmoid(Activation):
    """Logarithm of the sigmoid: f(z) = -log(1 + exp(-z)).

    f'(z) = 1 / (1 + exp(z)).

    Examples
    --------
    >>> from gpunn.activations import LogSigmoid
    >>> LogSigmoid().value(np, np.array([-2.0, 0.0, 2.0])).round(3)
    array([-2.127, -0.693, -0.127])
    """

    name = "log_sigmoid"

    def value(self, xp: Namespace, z: Array) -> Array:
        return -softplus(xp, -z)


@dataclass(frozen=True)
class TanhShrink(Activation):
    """Difference between z and its hyperbolic tangent: f(z) = z - tanh(z).

    f'(z) = tanh(z)^2.

    Examples
    --------
    >>> from gpunn.activations import TanhShrink
    >>> TanhShrink().value(np, np.array([-2.0, 0.0, 2.0])).round(3)
    array([-1.036,  0.   ,  1.036])
    """

    name = "tanh_shrink"

    def value(self, xp: Namespace, z: Array) -> Array:
        return z - xp.tanh(z)


if not TYPE_CHECKING:  # otherwise mypy would accept any name from this module

    def __getattr__(name: str) -> None:
        raise missing_class(__name__, Activation, name)
