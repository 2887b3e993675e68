"""Optimizers: one kernel over the flat vectors does the whole update, weight decay included.

The statements update `value` and the slots of one parameter from its gradient g, the learning rate
`rate` and the update's number `t`. The mathematics is in `gpunn.optimizers`. With a scaled loss the
kernels are others, which look at a flag of the device first.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cupy

from gpunn import optimizers
from gpunn.backends.cupy.kernels.functions import FUNCTIONS
from gpunn.typing import Array

__all__ = ["RULES", "update", "update_if_finite"]


@dataclass(frozen=True)
class Rule:
    """One update; constants and slots are numbers T in the statements."""

    name: str
    constants: tuple[str, ...]
    slots: tuple[str, ...]
    statements: str


DESCENT = Rule("sgd", (), (), "value -= rate * g;")
MOMENTUM = Rule(
    "sgd_momentum",
    ("momentum",),
    ("velocity",),
    "velocity = momentum * velocity - rate * g; value += velocity;",
)
NESTEROV = Rule(
    "sgd_nesterov",
    ("momentum",),
    ("velocity",),
    """velocity = momentum * velocity - rate * g;
       value += momentum * velocity - rate * g;""",
)
RMSPROP = Rule(
    "rmsprop",
    ("rho", "rest", "epsilon"),
    ("square",),
    """square = rho * square + rest * g * g;
       value -= rate * g / (sqrt(square) + epsilon);""",
)
ADAM = Rule(
    "adam",
    ("beta1", "rest1", "log1", "beta2", "rest2", "log2", "epsilon", "log_hat"),
    ("mean", "square"),
    """mean = beta1 * mean + rest1 * g;
       square = beta2 * square + rest2 * g * g;
       const T m = mean / -expm1(t * log1), s = square / -expm1(t * log2);
       value -= rate * m / (sqrt(s) + epsilon / sqrt(-expm1(t * log_hat)));""",
)
LION = Rule(
    "lion",
    ("beta1", "rest1", "beta2", "rest2"),
    ("mean",),
    """value -= rate * signum(beta1 * mean + rest1 * g);
       mean = beta2 * mean + rest2 * g;""",
)

# For each optimizer, its rule and the values of the rule's constants. What is left of 1 is
# computed here, in double precision: in float32, 1 - 0.999 is off by 1e-5 of itself.
Choice = Callable[[Any], tuple[Rule, tuple[float, ...]]]


def sgd(o: Any) -> tuple[Rule, tuple[float, ...]]:
    if not o.momentum:
        return DESCENT, ()
    return NESTEROV if o.nesterov else MOMENTUM, (o.momentum,)


def rmsprop(o: Any) -> tuple[Rule, tuple[float, ...]]:
    return RMSPROP, (o.rho, 1 - o.rho, o.epsilon)


def adam(o: Any) -> tuple[Rule, tuple[float, ...]]:
    first = o.beta1, 1 - o.beta1, logarithm(o.beta1)
    second = o.beta2, 1 - o.beta2, logarithm(o.beta2)
    # Without `epsilon_hat`, epsilon is divided by sqrt(-expm1(-infinity)) = 1.
    return ADAM, (*first, *second, o.epsilon, logarithm(o.beta2 if o.epsilon_hat else 0.0))


def logarithm(beta: float) -> float:
    """Return log(beta); at 0 minus infinity, with which 1 - beta^t = -expm1(t log(beta)) is 1."""
    return math.log(beta) if beta else -math.inf


def lion(o: Any) -> tuple[Rule, tuple[float, ...]]:
    return LION, (o.beta1, 1 - o.beta1, o.beta2, 1 - o.beta2)


RULES: dict[type[optimizers.Optimizer], Choice] = {
    optimizers.SGD: sgd,
    optimizers.RMSprop: rmsprop,
    optimizers.Adam: adam,
    optimizers.AdamW: adam,
    optimizers.Lion: lion,
}


def update(
    optimizer: Any,
    values: Array,
    gradients: Array,
    slots: Mapping[str, Array],
    learning_rate: Array,
    step: Array,
    decayed: int,
) -> None:
    """Decay the first `decayed` values and do one update."""
    rule, *arguments = prepared(optimizer, values, gradients, slots, learning_rate, step, decayed)
    update_kernel(rule)(*arguments)


def update_if_finite(
    finite: Array,
    optimizer: Any,
    values: Array,
    gradients: Array,
    slots: Mapping[str, Array],
    learning_rate: Array,
    step: Array,
    decayed: int,
) -> None:
    """Do as `update` if finite = 1, else nothing."""
    rule, *arguments = prepared(optimizer, values, gradients, slots, learning_rate, step, decayed)
    conditional_kernel(rule)(finite, *arguments)


def prepared(
    optimizer: Any,
    values: Array,
    gradients: Array,
    slots: Mapping[str, Array],
    learning_rate: Array,
    step: Array,
    decayed: int,
) -> list[Any]:
    """Return an optimizer's rule, and the arguments of its kernel."""
    rule, constants = RULES[type(optimizer)](optimizer)
    decay = optimizer.weight_decay
    given = gradients, learning_rate, step, decayed if decay else 0, decay, *constants
    return [rule, *given, values, *(slots[name] for name in rule.slots)]


@functools.cache
def update_kernel(rule: Rule) -> Any:
    return cupy.ElementwiseKernel(
        *parameters(rule), statements(rule), f"gpunn_{rule.name}", preamble=FUNCTIONS
    )


@functools.cache
def conditional_kernel(rule: Rule) -> Any:
    given, changed = parameters(rule)
    return cupy.ElementwiseKernel(
        f"raw int64 finite, {given}",
        changed,
        f"if (finite[0]) {{ {statements(rule)} }}",
        f"gpunn_{rule.name}_if_finite",
        preamble=FUNCTIONS,
    )


def parameters(rule: Rule) -> tuple[str, str]:
    """Return what a kernel takes, and what it changes."""
    constants = "".join(f", T {name}" for name in rule.constants)
    given = f"T g, raw T learning_rate, raw int64 step, int64 decayed, T decay{constants}"
    return given, "T value" + "".join(f", T {name}" for name in rule.slots)


def statements(rule: Rule) -> str:
    return f"""const T rate = learning_rate[0], t = (T)step[0];
            if (i < decayed) value *= 1 - rate * decay;
            {rule.statements}"""
