"""Optimizers: one kernel over the flat vectors does the whole update, weight decay included.

The statements update `value` and the slots of one parameter from its gradient g, the learning rate
`rate` and the update's number `t`. The mathematics is in `gpunn.optimizers`.
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

__all__ = ["RULES", "update"]


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
    ("beta1", "rest1", "log1", "beta2", "rest2", "log2", "epsilon"),
    ("mean", "square"),
    """mean = beta1 * mean + rest1 * g;
       square = beta2 * square + rest2 * g * g;
       const T m = mean / -expm1(t * log1), s = square / -expm1(t * log2);
       value -= rate * m / (sqrt(s) + epsilon);""",
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
    return ADAM, (*first, *second, o.epsilon)


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
    rule, constants = RULES[type(optimizer)](optimizer)
    state = [slots[name] for name in rule.slots]
    decay = optimizer.weight_decay
    update_kernel(rule)(
        gradients, learning_rate, step, decayed if decay else 0, decay, *constants, values, *state
    )


@functools.cache
def update_kernel(rule: Rule) -> Any:
    constants = "".join(f", T {name}" for name in rule.constants)
    return cupy.ElementwiseKernel(
        f"T g, raw T learning_rate, raw int64 step, int64 decayed, T decay{constants}",
        "T value" + "".join(f", T {name}" for name in rule.slots),
        f"""const T rate = learning_rate[0], t = (T)step[0];
            if (i < decayed) value *= 1 - rate * decay;
            {rule.statements}""",
        f"gpunn_{rule.name}",
        preamble=FUNCTIONS,
    )
