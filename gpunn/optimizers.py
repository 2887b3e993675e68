"""Optimizers, which update the flat vector of all parameters by the flat gradient g.

An optimizer works on vectors, not layers, and keeps no reference to the vectors, so that a copied
model continues to train correctly. The formulas in this module are the reference for all backends.
A backend may compute a built-in optimizer in a faster way; tests compare the results with the
formulas. To define a new optimizer, write a subclass with `slots` and `update`.

Weight decay is decoupled from the gradient (Loshchilov & Hutter 2019)::

    values <- values * (1 - learning_rate * weight_decay), then the update,

Biases and normalization parameters do not decay unless `decay_all` is set. A layer can multiply the
learning rate and the weight decay by factors (`Layer.learning_rate_factor`, `weight_decay_factor`).
An L2 penalty applies to all parameters W whose decay factor is not 0. The factors do not change the
penalty, which is part of the loss, and therefore of the gradient::

    L = (sum_i w_i l_i + l2_penalty / 2 * ||W||^2) / sum_i w_i.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar

from gpunn.configurable import (
    Configurable,
    flag,
    missing_class,
    number,
)
from gpunn.schedules import Schedule, as_schedule, setting
from gpunn.typing import Array, Namespace

__all__ = [
    "SGD",
    "AdaBelief",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lamb",
    "Lars",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
]


@dataclass(eq=False)
class Optimizer(Configurable):
    """Base of all optimizers.

    Parameters
    ----------
    learning_rate : float or Schedule
        The learning rate, at least 0: a constant, or a schedule by epoch.
    weight_decay : float or Schedule
        Strength of the decay, at least 0. In addition to the step along the gradient, each update
        multiplies the parameters by 1 - learning_rate * weight_decay.
    decay_all : bool
        Whether biases, scales and shifts also decay. The decay factor is 1, unless a layer's
        mapping `weight_decay_factor` sets another factor.
    max_norm : float or None
        If set, gradients are clipped to this global norm: g <- g * min(1, max_norm / ||g||). See
        Pascanu et al. 2013, "On the Difficulty of Training Recurrent Neural Networks", algorithm 1.
    l2_penalty : float
        Adds l2_penalty / 2 * ||W||^2 to the sum of an update's weighted losses. So l2_penalty * W /
        sum_i w_i is added to the gradient, with the sample weights w_i of the update's rows.
        scikit-learn calls this parameter `alpha`. The log "loss" includes the penalty; "val_loss"
        and `Trainer.evaluate` do not.

    Attributes
    ----------
    slots : tuple of str
        Names of the state vectors, such as moments. Each state vector has the parameters' shape and
        starts at zero.
    by_parameter : bool
        Whether each call of `update` gets only one parameter, such as a layer's weights. Optimizers
        that use norms of parameters need this.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a number is out of its range, here or in a subclass.

    Examples
    --------
    >>> class SignDescent(gpunn.optimizers.Optimizer):
    ...     name = "sign_descent"
    ...
    ...     def update(self, xp, values, gradients, slots, learning_rate, step) -> None:
    ...         values -= learning_rate * xp.sign(gradients)
    >>> layer = gpunn.layers.Dense(1, bias=False, initializer="zeros")
    >>> model = gpunn.Sequential([layer], 1, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "mean_squared_error", SignDescent(0.5))
    >>> history = trainer.fit([[1.0]], [1.0], progress=False)
    >>> print(layer.values["weights"])
    [[0.5]]
    """

    learning_rate: float | Schedule = 0.01
    weight_decay: float | Schedule = setting(0.0, at_least=0)
    decay_all: bool = flag(False)
    max_norm: float | None = number(None, above=0)
    _: KW_ONLY
    l2_penalty: float = number(0.0, at_least=0)

    slots: ClassVar[tuple[str, ...]] = ()
    by_parameter: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.learning_rate = as_schedule(self.learning_rate)

    @property
    def schedule(self) -> Schedule:
        """The learning rate as a function of the epoch."""
        return as_schedule(self.learning_rate)

    def update(
        self,
        xp: Namespace,
        values: Array,
        gradients: Array,
        slots: Mapping[str, Array],
        learning_rate: Array,
        step: Array,
    ) -> None:
        """Update `values` and `slots` in place.

        Parameters
        ----------
        xp : module
            The namespace of array functions, by the array-API standard.
        values, gradients : array, shape (parameters,)
            Parameters and their gradients: all with the same learning-rate factor, or only one
            parameter if `by_parameter` is set. As padding, zeros may follow each parameter.
        slots : mapping of str to array of shape (parameters,)
            The state vectors by name.
        learning_rate : array, shape (1,)
            The learning rate of this update, in the dtype of `values`.
        step : array of int, shape (1,)
            The number of this update, from 1.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update")


@dataclass(eq=False)
class SGD(Optimizer):
    """Stochastic gradient descent, with or without momentum.

    Momentum is defined as in Sutskever et al. 2013, "On the Importance of Initialization and
    Momentum in Deep Learning", equations 1 to 4. Each update computes::

        velocity ← momentum * velocity - learning_rate * g
        values   ← values + velocity

    With `nesterov`, the second line is values <- values + momentum * velocity - learning_rate * g,
    where velocity is the new velocity.

    Parameters
    ----------
    momentum : float
        Weight of the old velocity, in [0, 1]; 0 by default.
    nesterov : bool
        Whether to use Nesterov's momentum, which evaluates the gradient one step ahead.

    Examples
    --------
    The gradient of (w - 1)^2 at w = 0 is -2:

    >>> layer = gpunn.layers.Dense(1, bias=False, initializer="zeros")
    >>> model = gpunn.Sequential([layer], 1, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.SGD(0.1))
    >>> history = trainer.fit([[1.0]], [1.0], progress=False)
    >>> print(layer.values["weights"])
    [[0.2]]
    """

    momentum: float = number(0.0, at_least=0, at_most=1)
    nesterov: bool = flag(False)

    name = "sgd"

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The state vectors: ("velocity",), or () without momentum."""
        return ("velocity",) if self.momentum else ()

    def update(self, xp, values, gradients, slots, learning_rate, step) -> None:
        change = -learning_rate * gradients
        if self.momentum:
            velocity = slots["velocity"]
            velocity[...] = self.momentum * velocity + change
            change = self.momentum * velocity + change if self.nesterov else velocity
        values += change


@dataclass(eq=False)
class RMSprop(Optimizer):
    """RMSprop: divide the gradient by its running root mean square.

    From Tieleman & Hinton 2012, "Neural Networks for Machine Learning", lecture 6e. Each update
    computes::

        square ← rho * square + (1 - rho) * g^2
        values ← values - learning_rate * g / (sqrt(square) + epsilon)

    Parameters
    ----------
    rho : float
        Weight of the old mean square, in [0, 1); 0.9 by default.
    epsilon : float
        Small positive number that keeps the division finite.

    Examples
    --------
    >>> gpunn.optimizers.RMSprop(0.01).slots
    ('square',)
    """

    learning_rate: float | Schedule = 0.001
    rho: float = number(0.9, at_least=0, below=1)
    epsilon: float = number(1e-8, above=0)

    name = "rmsprop"
    slots: ClassVar[tuple[str, ...]] = ("square",)

    def update(self, xp, values, gradients, slots, learning_rate, step) -> None:
        square = slots["square"]
        square[...] = self.rho * square + (1 - self.rho) * gradients * gradients
        values -= learning_rate * gradients / (xp.sqrt(square) + self.epsilon)


@dataclass(eq=False)
class Adagrad(Optimizer):
    """Adagrad: divide the gradient by the root of the sum of all squared gradients.

    From Duchi et al. 2011, "Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization". Each update computes::

        square ← square + g^2
        values ← values - learning_rate * g / (sqrt(square) + epsilon)

    Parameters
    ----------
    epsilon : float
        Small positive number that keeps the division finite.

    Examples
    --------
    The first update moves each parameter by the learning rate:

    >>> layer = gpunn.layers.Dense(1, bias=False, initializer="zeros")
    >>> model = gpunn.Sequential([layer], 1, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.Adagrad(0.125))
    >>> history = trainer.fit([[1.0]], [1.0], progress=False)
    >>> print(layer.values["weights"])
    [[0.125]]
    """

    epsilon: float = number(1e-10, above=0)

    name = "adagrad"
    slots: ClassVar[tuple[str, ...]] = ("square",)

    def update(self, xp, values, gradients, slots, learning_rate, step) -> None:
        square = slots["square"]
        square += gradients * gradients
        values -= learning_rate * gradients / (xp.sqrt(square) + self.epsilon)


@dataclass(eq=False)
class Adadelta(Optimizer):
    """Adadelta: scale the gradient by the ratio of two running root mean squares.

    From Zeiler 2012, "ADADELTA: An Adaptive Learning Rate Method", algorithm 1, with a learning
    rate. Each update computes::

        square ← rho * square + (1 - rho) * g^2
        change = g * sqrt(squared_change + epsilon) / sqrt(square + epsilon)
        squared_change ← rho * squared_change + (1 - rho) * change^2
        values ← values - learning_rate * change

    Parameters
    ----------
    rho : float
        Weight of the old mean squares, in [0, 1); 0.9 by default.
    epsilon : float
        Small positive number that makes the first changes possible, and keeps the division finite.

    Examples
    --------
    >>> gpunn.optimizers.Adadelta().slots
    ('square', 'squared_change')
    """

    learning_rate: float | Schedule = 1.0
    rho: float = number(0.9, at_least=0, below=1)
    epsilon: float = number(1e-6, above=0)

    name = "adadelta"
    slots: ClassVar[tuple[str, ...]] = ("square", "squared_change")

    def update(self, xp, values, gradients, slots, learning_rate, step) -> None:
        square, squared_change = slots["square"], slots["squared_change"]
        square[...] = self.rho * square + (1 - self.rho) * gradients * gradients
        ratio = xp.sqrt(squared_change + self.epsilon) / xp.sqrt(square + self.epsilon)
        change = gradients * ratio
        squared_change[...] = self.rho * squared_change + (1 - self.rho) * change * change
        values -= learning_rate * change


@dataclass(eq=False)
class WithMoments(Optimizer):
    """Base of Adam and its variants.

    Parameters
    ----------
    beta1, beta2 : float
        beta1 is the weight of the old mean. beta2 is the weight of the old square, maximum or
        variance. Both are in [0, 1), by default 0.9 and 0.999.
    epsilon : float
        Small positive number that keeps the division finite.
    """

    learning_rate: float | Schedule = 0.001
    beta1: float = number(0.9, at_least=0, below=1)
    beta2: float = number(0.999, at_least=0, below=1)
    epsilon: float = number(1e-8, above=0)

    slots: ClassVar[tuple[str, ...]] = ("mean", "square")


@dataclass(eq=False)
class Adam(WithMoments):
    """Adam: adaptive moment estimation with bias correction.

    From Kingma & Ba 2015, "Adam: A Method for Stochastic Optimization", algorithm 1. Update t
    computes::

        mean   ← beta1 * mean   + (1 - beta1) * g
        square ← beta2 * square + (1 - beta2) * g^2
        values ← values - learning_rate * m / (sqrt(s) + epsilon)

    with m = mean / (1 - beta1^t) and s = square / (1 - beta2^t).

    With `epsilon_hat` (end of the paper's section 2, and scikit-learn), the last line is::

        values ← values - learning_rate * m / (sqrt(s) + epsilon / sqrt(1 - beta2^t))

    Parameters
    ----------
    epsilon_hat : bool
        Whether epsilon is added to sqrt(square), before bias correction. False by default.

    Examples
    --------
    The first update moves each parameter by the learning rate:

    >>> layer = gpunn.layers.Dense(1, bias=False, initializer="zeros")
    >>> model = gpunn.Sequential([layer], 1, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.Adam(0.125))
    >>> history = trainer.fit([[1.0]], [1.0], progress=False)
    >>> print(layer.values["weights"])
    [[0.125]]
    """

    epsilon_hat: bool = flag(False)

    name = "adam"

    def update(self, xp, values, gradients, slots, learning_rate, step) -> None:
        mean, square = slots["mean"], slots["square"]
        mean[...] = self.beta1 * mean + (1 - self.beta1) * gradients
        square[...] = self.beta2 * square + (1 - self.beta2) * gradients * gradients
        t = xp.astype(step, values.dtype)
        m = mean / one_minus_power(xp, self.beta1, t)
        correction = one_minus_power(xp, self.beta2, t)
        s = square / correction
        epsilon = self.epsilon / xp.sqrt(correction) if self.epsilon_hat else self.epsilon
        values -= learning_rate * m / (xp.sqrt(s) + epsilon)


@dataclass(eq=False)
class AdamW(Adam):
    """AdamW: Adam with decoupled weight decay by default.

    From Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2. Each update
    multiplies the parameters by 1 - learning_rate * weight_decay, then does the update of `Adam`.

    Examples
    --------
    >>> gpunn.optimizers.AdamW(1e-3).weight_decay
    0.01
    """

    weight_decay: float | Schedule = 0.01

    name = "adamw"


@dataclass(eq=False)
class Adamax(WithMoments):
    """Adamax: Adam with a running maximum of the gradients' absolute values.

    From Kingma & Ba 2015, "Adam: A Method for Stochastic Optimization", algorithm 2. Update t
    computes::

        mean    ← beta1 * mean + (1 - beta1) * g
        largest ← max(beta2 * largest, |g| + epsilon)
        values  ← values - learning_rate / (1 - beta1^t) * mean / largest

    Examples
    --------
    The first update moves each parameter by the learning rate:

    >>> layer = gpunn.layers.Dense(1, bias=False, initializer="zeros")
    >>> model = gpunn.Sequential([layer], 1, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.Adamax(0.125))
    >>> history = trainer.fit([[1.0]], [1.0], progress=False)
    >>> print(layer.values["weights"])
    [[0.125]]
    """

    learning_rate: float | Schedule = 0.002

    name = "adamax"
    slots: ClassVar[tuple[str, ...]] = ("mean", "largest")

    def update(self, xp, values, gradients, slots, learning_rate, step) -> None:
        mean, largest = slots["mean"], slots["largest"]
        mean[...] = self.beta1 * mean + (1 - self.beta1) * gradients
        largest[...] = xp.maximum(self.beta2 * largest, xp.abs(gradients) + self.epsilon)
        correction = one_minus_power(xp, self.beta1, xp.astype(step, values.dtype))
        values -= learning_rate / correction * mean / largest


@dataclass(eq=False)
class NAdam(WithMoments):
    """NAdam: Adam with Nesterov's momentum.

    From Dozat 2016, "Incorporating Nesterov Momentum into Adam", with a constant beta1. Update t
    computes::

        mean   ← beta1 * mean   + (1 - beta1) * g
        square ← beta2 * square + (1 - beta2) * g^2
        values ← values - learning_rate * m / (sqrt(s) + epsilon)

    with m = beta1 * mean / (1 - beta1^(t + 1)) + (1 - beta1) * g / (1 - beta1^t) and s = square /
    (1 - beta2^t).

    Examples
    --------
    >>> gpunn.optimizers.NAdam().slots
    ('mean', 'square')
    """

    learning_rate: float | Schedule = 0.002

    name = "nadam"

    def update(self, xp, values, gradients, slots, learning_rate, step) -> None:
        mean, square = slots["mean"], slots["square"]
        mean[...] = self.beta1 * mean + (1 - self.beta1) * gradients
        square[...] = self.beta2 * square + (1 - self.beta2) * gradients * gradients
        t = xp.astype(step, values.dtype)
        ahead = self.beta1 / one_minus_power(xp, self.beta1, t + 1) * mean
        m = ahead + (1 - self.beta1) / one_minus_power(xp, self.beta1, t) * gradients
        s = square / one_minus_power(xp, self.beta2, t)
        values -= learning_rate * m / (xp.sqrt(s) + self.epsilon)


@dataclass(eq=False)
class RAdam(WithMoments):
    """RAdam: Adam that adapts the learning rates only after the first updates.

    From Liu et al. 2020, "On the Variance of the Adaptive Learning Rate and Beyond", algorithm 2.
    Update t computes::

        mean   ← beta1 * mean   + (1 - beta1) * g
        square ← beta2 * square + (1 - beta2) * g^2
        values ← values - learning_rate * m * (r * sqrt(1 - beta2^t) / (sqrt(square) + epsilon))

    with m = mean / (1 - beta1^t) and::

        limit = 2 / (1 - beta2) - 1
        rho = limit - 2 t beta2^t / (1 - beta2^t)
        r^2 = (rho - 4) (rho - 2) limit / ((limit - 4) (limit - 2) rho)

    While rho <= 5 (by default, in the first five updates), the factor in parentheses is 1. The
    paper's threshold is 4; the authors' code and PyTorch use 5.

    Examples
    --------
    >>> gpunn.optimizers.RAdam().slots
    ('mean', 'square')
    """

    name = "radam"

    def update(self, xp, values, gradients, slots, learning_rate, step) -> None:
        mean, square = slots["mean"], slots["square"]
        mean[...] = self.beta1 * mean + (1 - self.beta1) * gradients
        square[...] = self.beta2 * square + (1 - self.beta2) * gradients * gradients
        t = xp.astype(step, values.dtype)
        correction = one_minus_power(xp, self.beta2, t)
        limit = 2 / (1 - self.beta2) - 1
        rho = limit - 2 * t * (1 - correction) / correction
        low, high = xp.maximum(rho, 5.0), max(limit, 5.0)
        r = xp.sqrt((low - 4) * (low - 2) / low * (high / ((high - 4) * (high - 2))))
        factor = r * xp.sqrt(correction) / (xp.sqrt(square) + self.epsilon)
        m = mean / one_minus_power(xp, self.beta1, t)
        values -= learning_rate * m * xp.where(rho > 5, factor, xp.ones_like(factor))


@dataclass(eq=False)
class AdaBelief(WithMoments):
    """AdaBelief: Adam with the variance of the gradients instead of their mean square.

    From Zhuang et al. 2020, "AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed
    Gradients", algorithm 2. Update t computes::

        mean     ← beta1 * mean     + (1 - beta1) * g
        variance ← beta2 * variance + (1 - beta2) * (g - mean)^2 + epsilon
        values   ← values - learning_rate * m / (sqrt(s) + epsilon)

    with m = mean / (1 - beta1^t) and s = variance / (1 - beta2^t).

    Examples
    --------
    >>> gpunn.optimizers.AdaBelief().slots
    ('mean', 'variance')
    """

    epsilon: float = number(1e-16, above=0)

    name = "adabelief"
    slots: ClassVar[tuple[str, ...]] = ("mean", "variance")

    def update(self, xp, values, gradients, slots, learning_rate, step) -> None:
        mean, variance = slots["mean"], slots["variance"]
        mean[...] = self.beta1 * mean + (1 - self.beta1) * gradients
        surprise = gradients - mean
        new = (1 - self.beta2) * surprise * surprise + self.epsilon
        variance[...] = self.beta2 * variance + new
        t = xp.astype(step, values.dtype)
        m = mean / one_minus_power(xp, self.beta1, t)
        s = variance / one_minus_power(xp, self.beta2, t)
        values -= learning_rate * m / (xp.sqrt(s) + self.epsilon)


@dataclass(eq=False)
class Lion(Optimizer):
    """Lion: update by the sign of an interpolated momentum.

    From Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", algorithm 2. Each update
    computes::

        values ← values - learning_rate * sign(beta1 * mean + (1 - beta1) * g)
        mean   ← beta2 * mean + (1 - beta2) * g

    Parameters
    ----------
    beta1, beta2 : float
        Weights of the old mean, in [0, 1). The step uses beta1, 0.9 by default; the new mean uses
        beta2, 0.99 by default.

    Examples
    --------
    Every parameter with a gradient moves by the learning rate:

    >>> layer = gpunn.layers.Dense(1, bias=False, initializer="zeros")
    >>> model = gpunn.Sequential([layer], 1, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.Lion(0.125))
    >>> history = trainer.fit([[1.0]], [1.0], progress=False)
    >>> print(layer.values["weights"])
    [[0.125]]
    """

    learning_rate: float | Schedule = 0.0001
    beta1: float = number(0.9, at_least=0, below=1)
    beta2: float = number(0.99, at_least=0, below=1)

    name = "lion"
    slots: ClassVar[tuple[str, ...]] = ("mean",)

    def update(self, xp, values, gradients, slots, learning_rate, step) -> None:
        mean = slots["mean"]
        values -= learning_rate * xp.sign(self.beta1 * mean + (1 - self.beta1) * gradients)
        mean[...] = self.beta2 * mean + (1 - self.beta2) * gradients


@dataclass(eq=False)
class Lamb(WithMoments):
    """LAMB: Adam, with each parameter's change scaled to the parameter's norm.

    For large batches, from You et al. 2020, "Large Batch Optimization for Deep Learning: Training
    BERT in 76 Minutes", algorithm 2. Update t computes, for each layer's weights, biases, ...::

        mean   ← beta1 * mean   + (1 - beta1) * g
        square ← beta2 * square + (1 - beta2) * g^2
        values ← values - learning_rate * ||values|| / ||r|| * r

    with r = m / (sqrt(s) + epsilon), m = mean / (1 - beta1^t) and s = square / (1 - beta2^t). If a
    norm is 0, the factor ||values|| / ||r|| is 1. As in Keras, weight decay is separate; in the
    paper, it is a part of r.

    Examples
    --------
    The first update changes a parameter by the learning rate times the parameter's norm:

    >>> layer = gpunn.layers.Dense(1, bias=False, initializer="ones")
    >>> model = gpunn.Sequential([layer], 1, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.Lamb(0.125))
    >>> history = trainer.fit([[1.0]], [2.0], progress=False)
    >>> print(layer.values["weights"])
    [[1.125]]
    """

    epsilon: float = number(1e-6, above=0)

    name = "lamb"
    by_parameter: ClassVar[bool] = True

    def update(self, xp, values, gradients, slots, learning_rate, step) -> None:
        mean, square = slots["mean"], slots["square"]
        mean[...] = self.beta1 * mean + (1 - self.beta1) * gradients
        square[...] = self.beta2 * square + (1 - self.beta2) * gradients * gradients
        t = xp.astype(step, values.dtype)
        m = mean / one_minus_power(xp, self.beta1, t)
        r = m / (xp.sqrt(square / one_minus_power(xp, self.beta2, t)) + self.epsilon)
        values -= learning_rate * ratio_of_norms(xp, values, r) * r


@dataclass(eq=False)
class Lars(Optimizer):
    """LARS: gradient descent with momentum, and a learning rate that fits each parameter's norm.

    For large batches, from You et al. 2017, "Large Batch Training of Convolutional Networks",
    algorithm 1. Each update computes, for each layer's weights, biases, ...::

        velocity ← momentum * velocity + learning_rate * trust * ||values|| / ||g|| * g
        values   ← values - velocity

    If a norm is 0, the factor ||values|| / ||g|| is 1. Weight decay is separate; in the paper, it
    is a part of the gradient.

    Parameters
    ----------
    momentum : float
        Weight of the old velocity, in [0, 1]; 0.9 by default.
    trust : float
        Ratio of the change's norm to the parameter's norm, for a learning rate of 1. Positive,
        0.001 by default.

    Examples
    --------
    >>> gpunn.optimizers.Lars().slots
    ('velocity',)
    """

    learning_rate: float | Schedule = 1.0
    momentum: float = number(0.9, at_least=0, at_most=1)
    trust: float = number(0.001, above=0)

    name = "lars"
    slots: ClassVar[tuple[str, ...]] = ("velocity",)
    by_parameter: ClassVar[bool] = True

    def update(self, xp, values, gradients, slots, learning_rate, step) -> None:
        velocity = slots["velocity"]
        rate = learning_rate * self.trust * ratio_of_norms(xp, values, gradients)
        velocity[...] = rate * gradients + self.momentum * velocity
        values -= velocity


def ratio_of_norms(xp: Namespace, a: Array, b: Array) -> Array:
    above, below = xp.sum(a * a), xp.sum(b * b)
    both = (above > 0) & (below > 0)
    one = xp.ones_like(below)
    return xp.sqrt(xp.where(both, above, one)) / xp.sqrt(xp.where(both, below, one))


def one_minus_power(xp: Namespace, beta: float, t: Array) -> Array:
    """Return 1 - beta^t. A plain subtraction would lose four digits in float32 at t = 1."""
    return -xp.expm1(t * math.log(beta)) if beta else xp.ones_like(t)


if not TYPE_CHECKING:  # otherwise mypy would accept any name from this module

    def __getattr__(name: str) -> None:
        raise missing_class(__name__, Optimizer, name)
