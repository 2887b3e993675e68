"""Functions whose derivatives the tests check, and points where they are smooth."""

import math

from gpunn import activations
from gpunn.expressions import expression_of, gradients
from gpunn.expressions.stand_ins import StandIn

FUNCTIONS = {
    "softsign": lambda xp, x: x / (1 + xp.abs(x)),
    "hard_swish": lambda xp, x: x * xp.clip(x + 3, 0, 6) / 6,
    "hard_sigmoid": lambda xp, x: xp.clip(x / 6 + 0.5, 0, 1),
    "hard_tanh": lambda xp, x: xp.maximum(xp.minimum(x, 1), -1),
    "celu": lambda xp, x: xp.maximum(x, 0) + xp.minimum(0.0, 0.5 * (xp.exp(x / 0.5) - 1)),
    "elu": lambda xp, x: xp.where(x > 0, x, xp.exp(x) - 1),
    "snake": lambda xp, x: x + xp.sin(2 * x) ** 2 / 2,
    "squareplus": lambda xp, x: (x + xp.sqrt(x * x + 4)) / 2,
    "log_cosh": lambda xp, x: xp.abs(x) + xp.log1p(xp.exp(-2 * xp.abs(x))) - math.log(2),
    "log_sigmoid": lambda xp, x: -xp.log1p(xp.exp(-x)),
    "softplus": lambda xp, x: xp.log(1 + xp.exp(x)),
    "gelu": lambda xp, x: 0.5 * x * (1 + xp.tanh(0.7978845608 * (x + 0.044715 * x**3))),
    "quick_gelu": lambda xp, x: x / (1 + xp.exp(-1.702 * x)),
    "swish": lambda xp, x: x * (0.5 * xp.tanh(0.5 * x) + 0.5),
    "mish": lambda xp, x: x * xp.tanh(xp.log(1 + xp.exp(x))),
    "exact_gelu": activations.ExactGELU().value,
    "hinge": lambda xp, x: xp.maximum(0.0, 1 - x),
    "squared_relu": lambda xp, x: xp.maximum(x, 0) ** 2,
    "tanh_shrink": lambda xp, x: x - xp.tanh(x),
    "soft_shrink": lambda xp, x: xp.sign(x) * xp.maximum(xp.abs(x) - 0.5, 0.0),
    "hard_shrink": lambda xp, x: xp.where(xp.abs(x) > 0.5, x, 0.0),
    "leaky": lambda xp, x: xp.maximum(x, 0.1 * x),
    "relu6": lambda xp, x: xp.minimum(xp.maximum(x, 0), 6),
    "bent_identity": lambda xp, x: (xp.sqrt(x**2 + 1) - 1) / 2 + x,
    "gaussian": lambda xp, x: xp.exp(-x * x),
    "sinc": lambda xp, x: xp.where(x == 0, 1.0, xp.sin(x) / xp.where(x == 0, 1.0, x)),
    "signed_root": lambda xp, x: xp.sign(x) * (xp.sqrt(xp.abs(x) + 1) - 1),
    "root_if_positive": lambda xp, x: xp.where(x > 0, xp.sqrt(xp.maximum(x, 0.0)), 0.0),
    "log_if_positive": lambda xp, x: xp.where(x > 1, xp.log(xp.abs(x)), 0.0),
    "isru": lambda xp, x: x / xp.sqrt(1 + 0.5 * x * x),
    "tan": lambda xp, x: xp.tan(x / 8),
    "inverse_hyperbolic": lambda xp, x: (
        xp.asinh(x) + xp.acosh(1.5 + xp.abs(x)) + xp.atanh(x / (2 + xp.abs(x)))
    ),
    "elish": lambda xp, x: xp.where(x >= 0, x, xp.exp(x) - 1) / (1 + xp.exp(-x)),
    "logish": lambda xp, x: x * xp.log1p(1 / (1 + xp.exp(-x))),
    "log_of_cosh": lambda xp, x: xp.logaddexp(x, -x),
    "power": lambda xp, x: (x * x + 1) ** 0.7 + xp.maximum(x, 0.0) ** 1.5,
    "cosine": lambda xp, x: xp.cos(x) * x,
    "square_of_softmax": lambda xp, x: activations.softmax(xp, x) ** 2,
    "standardized": lambda xp, x: (
        (x - xp.mean(x, axis=1, keepdims=True)) / xp.sqrt(xp.var(x, axis=1, keepdims=True) + 1)
    ),
    "shares": lambda xp, x: x / xp.sum(xp.abs(x) + 1, axis=-1)[:, None],
    "joined": lambda xp, x: xp.concat([x[:, 1:] ** 2, xp.sum(x, axis=1)[:, None]], axis=1) * x,
    "lists": lambda xp, x: xp.sum(x**2 * xp.asarray([0.5] * x.shape[1]), axis=1)[:, None] * x,
    "pairs": lambda xp, x: xp.sum(xp.tanh(x)[:, None, :] * x[:, :, None], axis=1),
    "stacked": lambda xp, x: xp.stack([x, x**2], axis=1)[:, 1, :] * x,
    "chosen": lambda xp, x: (
        x * xp.take_along_axis(x, xp.argmin(x, axis=1)[:, None] // 2 - 1, axis=1)
    ),
    "range": lambda xp, x: xp.max(x, axis=1)[:, None] - xp.min(x, axis=1)[:, None] + x,
}
"""Functions of an array of shape (rows, columns), each row alone."""


def gradient_of(function, shapes, dtype="float64"):
    """Return the expression of d(sum of the results) / d(arguments), for arrays of some shapes."""

    def gradient(xp, *arrays):
        graph, node_of = xp.tracer.graph, xp.tracer.node_of
        result = node_of(function(xp, *arrays))
        inputs = [array.node for array in arrays]
        found = gradients(graph, [result], [graph.number(1.0)], inputs)
        return [
            xp.zeros_like(array) if each is None else StandIn(xp.tracer, each)
            for array, each in zip(arrays, found, strict=True)
        ]

    named = {f"array {k}": (shape, "float") for k, shape in enumerate(shapes)}
    return expression_of(gradient, named, dtype)
