"""Initial values of parameters, drawn on the host, so that all backends start equally.

Weights have shape (inputs, outputs), so fan_in is `shape[0]` and fan_out is `shape[-1]`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gpunn.configurable import (
    Configurable,
    check_integers,
    flag,
    integer,
    missing_class,
    number,
    resolve,
)
from gpunn.errors import ArgumentError
from gpunn.typing import Shape

__all__ = [
    "FanIn",
    "FromData",
    "Glorot",
    "GlorotFanInMean",
    "GlorotOrFanIn",
    "He",
    "Hull",
    "Initializer",
    "LeCun",
    "Normal",
    "Ones",
    "Orthogonal",
    "Repeated",
    "Signs",
    "TruncatedNormal",
    "Uniform",
    "UnitVariance",
    "Zeros",
]


class Initializer(Configurable):
    """Base of all initializers, which draw the initial values of a parameter.

    See Also
    --------
    FromData : Base of initializers that also depend on training data.

    Examples
    --------
    >>> class Halves(gpunn.initializers.Initializer):
    ...     name = "halves"
    ...
    ...     def sample(self, generator, shape):
    ...         return np.full(shape, 0.5)
    >>> layer = gpunn.layers.Dense(2, initializer=Halves())
    >>> model = gpunn.Sequential([layer], 1, backend="numpy")
    >>> layer.values["weights"].tolist()
    [[0.5, 0.5]]
    """

    def sample(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        """Return the initial values.

        Parameters
        ----------
        generator : numpy.random.Generator
            The source of all randomness.
        shape : tuple of int
            The parameter's shape.

        Returns
        -------
        ndarray of float64
            Values of this shape.
        """
        raise NotImplementedError(f"{type(self).__name__} must define sample(generator, shape)")


class FromData(Initializer):
    """Base of initializers that also depend on training data.

    `sample` draws preliminary values. Before the first update, `from_data` replaces these values,
    layer by layer: a layer's pre-activations z = x W depend on the new values of earlier layers.

    Examples
    --------
    >>> isinstance(gpunn.initializers.UnitVariance(), gpunn.initializers.FromData)
    True
    """

    def from_data(
        self, generator: np.random.Generator, values: np.ndarray, z: np.ndarray
    ) -> np.ndarray:
        """Return a parameter's initial values, computed from data.

        Parameters
        ----------
        generator : numpy.random.Generator
            The source of all randomness.
        values : ndarray of float64
            The current values.
        z : ndarray of float64, shape (rows, *units)
            x W, before the layer adds its biases, for up to 16,384 training rows.

        Returns
        -------
        ndarray of float64
            The new values, with the shape of `values`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define from_data(generator, values, z)"
        )


ROUNDING = 1e-7
"""Numbers whose relative difference is smaller may differ only by rounding to float32."""


@dataclass(frozen=True)
class UnitVariance(FromData):
    """Draws from N(0, 1), scaled so that each unit's x W has variance 1 over the training rows.

    From RealMLP (Holzmueller et al. 2024). If x W is constant, the weights are not changed.

    Examples
    --------
    >>> z = np.array([[0.0], [4.0]])  # x W of two rows: its standard deviation is 2
    >>> gpunn.initializers.UnitVariance().from_data(None, np.array([[3.0]]), z)
    array([[1.5]])
    """

    name = "unit_variance"

    def sample(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        return generator.normal(size=shape)

    def from_data(
        self, generator: np.random.Generator, values: np.ndarray, z: np.ndarray
    ) -> np.ndarray:
        if z.shape[1:] == values.shape:
            raise ArgumentError(
                "bias_initializer: 'unit_variance' computes weights; set the parameter "
                "initializer to it"
            )
        std = z.std(axis=0)
        varies = std > ROUNDING * np.abs(z).max(axis=0)
        scaled: np.ndarray = values / np.where(varies, std, 1.0)[..., None, :]
        return scaled


@dataclass(frozen=True)
class Hull(FromData):
    """Sets each unit's bias b so that x W + b = 0 at a random point x between training rows.

    The point x is in the convex hull of `points` random rows x_m. For each unit, b = -sum_m
    lambda_m z_m, with z_m = x_m W. The numbers lambda_m are drawn from an exponential distribution
    and divided by their sum. RealMLP calls this initializer "he+5" (Holzmueller et al. 2024;
    Steinwart 2019).

    Parameters
    ----------
    points : int
        The number of random rows: at least 1, 5 by default.

    Examples
    --------
    If `points` is 1, x is one of the rows, and the bias is -x W:

    >>> z = np.array([[2.0], [2.0]])
    >>> gpunn.initializers.Hull(1).from_data(np.random.default_rng(0), np.zeros(1), z)
    array([-2.])
    """

    points: int = integer(5)

    name = "hull"

    def sample(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        return np.zeros(shape)

    def from_data(
        self, generator: np.random.Generator, values: np.ndarray, z: np.ndarray
    ) -> np.ndarray:
        if z.shape[1:] != values.shape:
            raise ArgumentError("initializer: 'hull' computes biases; use it as bias_initializer")
        shape = (self.points, *values.shape)
        rows = generator.integers(len(z), size=shape)
        shares = generator.exponential(size=shape)
        shares /= shares.sum(axis=0)
        points: np.ndarray = (shares * np.take_along_axis(z, rows, axis=0)).sum(axis=0)
        return -points


@dataclass(frozen=True)
class Zeros(Initializer):
    """All zeros.

    Examples
    --------
    >>> gpunn.initializers.Zeros().sample(None, (2, 3)).tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """

    name = "zeros"

    def sample(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        return np.zeros(shape)


@dataclass(frozen=True)
class Ones(Initializer):
    """All ones.

    Examples
    --------
    >>> gpunn.initializers.Ones().sample(None, (2, 3)).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    name = "ones"

    def sample(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        return np.ones(shape)


@dataclass(frozen=True)
class Normal(Initializer):
    """Normal distribution, N(mean, standard_deviation^2).

    Parameters
    ----------
    standard_deviation : float
        The standard deviation: at least 0, 0.01 by default.
    mean : float
        The mean, 0 by default.

    Examples
    --------
    >>> drawn = gpunn.initializers.Normal(0.5, mean=2).sample(np.random.default_rng(0), (1000,))
    >>> bool(abs(drawn.mean() - 2) < 0.1)
    True
    """

    standard_deviation: float = number(0.01, at_least=0)
    mean: float = number(0.0)

    name = "normal"

    def sample(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        return generator.normal(self.mean, self.standard_deviation, shape)


@dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """Normal distribution N(0, standard_deviation^2), truncated at `limit` standard deviations.

    Parameters
    ----------
    standard_deviation : float
        Standard deviation before truncation, at least 0. Truncation makes it smaller.
    limit : float
        The limit in standard deviations, at least 0.1. Values beyond the limit are drawn again.

    Examples
    --------
    >>> initializer = gpunn.initializers.TruncatedNormal(1.0, limit=2)
    >>> drawn = initializer.sample(np.random.default_rng(0), (1000,))
    >>> bool(abs(drawn).max() <= 2)
    True
    """

    standard_deviation: float = number(0.01, at_least=0)
    limit: float = number(3.0, at_least=0.1)

    name = "truncated_normal"

    def sample(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        drawn = generator.normal(size=shape)
        while (beyond := np.abs(drawn) > self.limit).any():
            drawn[beyond] = generator.normal(size=np.count_nonzero(beyond))
        return self.standard_deviation * drawn


@dataclass(frozen=True)
class Signs(Initializer):
    """Draws -1 or 1, with equal probability.

    Examples
    --------
    >>> drawn = gpunn.initializers.Signs().sample(np.random.default_rng(0), (100,))
    >>> np.unique(drawn).tolist()
    [-1.0, 1.0]
    """

    name = "signs"

    def sample(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        return generator.choice([-1.0, 1.0], shape)


@dataclass(frozen=True)
class Repeated(Initializer):
    """Draw numbers with another initializer, and repeat the numbers.

    Parameters
    ----------
    initializer : str, Initializer or mapping
        The initializer that draws the numbers.
    lengths : sequence of int
        Number k of a row is repeated lengths[k] times; the sum must be the row's length. If
        `lengths` is empty, one row is drawn and repeated.

    Examples
    --------
    >>> initializer = gpunn.initializers.Repeated("normal", lengths=[2, 1])
    >>> row = initializer.sample(np.random.default_rng(0), (1, 3))[0].tolist()
    >>> row[0] == row[1], row[1] == row[2]
    (True, False)
    """

    initializer: str | Initializer = "normal"
    lengths: Sequence[int] = field(default_factory=list)

    name = "repeated"

    def __post_init__(self) -> None:
        self._keep("initializer", resolve(Initializer, self.initializer, "initializer"))
        self._keep("lengths", check_integers("lengths", self.lengths))

    def sample(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        initializer: Initializer = self.initializer  # type: ignore[assignment]
        if not self.lengths:
            return np.broadcast_to(initializer.sample(generator, shape[1:]), shape)
        drawn = initializer.sample(generator, (*shape[:-1], len(self.lengths)))
        return np.repeat(drawn, self.lengths, axis=-1)


@dataclass(frozen=True)
class Uniform(Initializer):
    """Uniform distribution, U(-limit, limit).

    Parameters
    ----------
    limit : float
        The largest absolute value: at least 0, 0.05 by default.

    Examples
    --------
    >>> drawn = gpunn.initializers.Uniform(0.1).sample(np.random.default_rng(0), (1000,))
    >>> bool(abs(drawn).max() < 0.1)
    True
    """

    limit: float = number(0.05, at_least=0)

    name = "uniform"

    def sample(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        return generator.uniform(-self.limit, self.limit, shape)


@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Base of initializers with mean 0 and a variance that depends on fan_in and fan_out.

    Parameters
    ----------
    uniform : bool
        Whether to draw from a uniform instead of a normal distribution. The default depends on the
        class.
    """

    uniform: bool = flag(False)

    def variance(self, fan_in: int, fan_out: int) -> float:
        """Return the variance of each weight.

        Parameters
        ----------
        fan_in, fan_out : int
            Numbers of inputs and outputs.

        Returns
        -------
        float
            The variance, positive.
        """
        raise NotImplementedError(f"{type(self).__name__} must define variance(fan_in, fan_out)")

    def sample(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        variance = self.variance(shape[0], shape[-1])
        if self.uniform:
            limit = math.sqrt(3 * variance)
            return generator.uniform(-limit, limit, shape)
        return generator.normal(0.0, math.sqrt(variance), shape)


@dataclass(frozen=True)
class Glorot(VarianceScaling):
    """Draws with variance 2 / (fan_in + fan_out), for sigmoid, tanh and linear layers.

    From Glorot & Bengio 2010, "Understanding the Difficulty of Training Deep Feedforward Neural
    Networks", equation 16.

    Examples
    --------
    >>> gpunn.initializers.Glorot().variance(fan_in=100, fan_out=50) == 2 / (100 + 50)
    True
    """

    uniform: bool = flag(True)

    name = "glorot"

    def variance(self, fan_in: int, fan_out: int) -> float:
        return 2 / (fan_in + fan_out)


@dataclass(frozen=True)
class He(VarianceScaling):
    """Draws with variance 2 / fan_in, for the ReLU family.

    From He et al. 2015, "Delving Deep into Rectifiers", equation 10.

    Examples
    --------
    >>> gpunn.initializers.He().variance(fan_in=100, fan_out=50) == 2 / 100
    True
    """

    name = "he"

    def variance(self, fan_in: int, fan_out: int) -> float:
        return 2 / fan_in


@dataclass(frozen=True)
class LeCun(VarianceScaling):
    """Draws with variance 1 / fan_in, which SELU's constants assume.

    From LeCun et al. 1998, "Efficient BackProp", section 4.6.

    Examples
    --------
    >>> gpunn.initializers.LeCun().variance(fan_in=100, fan_out=50) == 1 / 100
    True
    """

    name = "lecun"

    def variance(self, fan_in: int, fan_out: int) -> float:
        return 1 / fan_in


@dataclass(frozen=True)
class FanIn(VarianceScaling):
    """Draws with variance 1 / (3 fan_in), by default from U(-1/sqrt(fan_in), 1/sqrt(fan_in)).

    PyTorch's `nn.Linear` draws its weights and biases from the same uniform distribution.

    Examples
    --------
    >>> gpunn.initializers.FanIn().variance(fan_in=100, fan_out=50) == 1 / 300
    True
    """

    uniform: bool = flag(True)

    name = "fan_in"

    def variance(self, fan_in: int, fan_out: int) -> float:
        return 1 / (3 * fan_in)


@dataclass(frozen=True)
class GlorotFanInMean(VarianceScaling):
    """Draws with variance sqrt(2 / (fan_in + fan_out) / (3 * fan_in)).

    This variance is the geometric mean of the variances of `Glorot` and `FanIn`.

    Examples
    --------
    >>> variance = gpunn.initializers.GlorotFanInMean().variance(fan_in=100, fan_out=50)
    >>> variance == (2 / 150 / 300) ** 0.5
    True
    """

    uniform: bool = flag(True)

    name = "glorot_fan_in_mean"

    def variance(self, fan_in: int, fan_out: int) -> float:
        glorot = Glorot().variance(fan_in, fan_out)
        return math.sqrt(glorot * FanIn().variance(fan_in, fan_out))


@dataclass(frozen=True)
class GlorotOrFanIn(VarianceScaling):
    """Draws with variance max(2 / (fan_in + fan_out), 1 / (3 fan_in)).

    If a layer has more than five times as many outputs as inputs, the variance is as in `FanIn`,
    otherwise as in `Glorot`. With `Glorot`, the initial outputs of a layer with few inputs, such as
    the first layer of a tabular model, would be close to zero.

    Examples
    --------
    >>> gpunn.initializers.GlorotOrFanIn().variance(fan_in=100, fan_out=50) == 2 / 150
    True
    """

    uniform: bool = flag(True)

    name = "glorot_or_fan_in"

    def variance(self, fan_in: int, fan_out: int) -> float:
        return max(Glorot().variance(fan_in, fan_out), FanIn().variance(fan_in, fan_out))


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """A matrix with orthonormal rows or columns (whichever are fewer), times `gain`.

    From Saxe et al. 2014, "Exact Solutions to the Nonlinear Dynamics of Learning in Deep Linear
    Neural Networks". The matrices are distributed uniformly over the orthogonal group (Mezzadri
    2007, "How to Generate Random Matrices from the Classical Compact Groups").

    Parameters
    ----------
    gain : float
        Factor of the matrix, 1 by default.

    Examples
    --------
    >>> Q = gpunn.initializers.Orthogonal().sample(np.random.default_rng(0), (4, 2))
    >>> np.allclose(Q.T @ Q, np.eye(2))
    True
    """

    gain: float = number(1.0)

    name = "orthogonal"

    def sample(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        rows, columns = shape[0], math.prod(shape[1:])
        normal = generator.normal(size=(max(rows, columns), min(rows, columns)))
        Q, R = np.linalg.qr(normal)
        Q *= np.sign(np.diag(R))  # makes Q uniform over the orthogonal group (Mezzadri 2007)
        return self.gain * (Q if rows >= columns else Q.T).reshape(shape)


if not TYPE_CHECKING:  # otherwise mypy would accept any name from this module

    def __getattr__(name: str) -> None:
        raise missing_class(__name__, Initializer, name)
