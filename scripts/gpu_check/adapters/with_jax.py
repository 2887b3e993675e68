"""JAX: a whole epoch as one jitted lax.scan, which is its fastest variant.

Data are arguments, because a jitted function turns captured arrays into constants. The state is
donated, so it is updated in place. `jax.default_matmul_precision` selects the precision of
products. The mode "defaults" leaves it unset; JAX then computes in TF32 on GPUs that support it.
For bfloat16, parameters and inputs are converted, so activations and gradients between layers are
bfloat16. The loss, the parameters and the optimizer's state stay float32.
"""

import functools
import os
from types import SimpleNamespace
from typing import Any

import elsewhere
import numpy as np
import training
from cell import Cell
from libraries import Ask, stretches
from process import SkipError

os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # other libraries also use the device
try:
    import jax
    import jax.numpy as jnp
except ImportError:
    raise SkipError("JAX is not installed") from None

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
MATMUL_PRECISION = {"float32": "float32", "tf32": "tensorfloat32", "bfloat16": "default"}


def start(mode: str) -> str:
    if jax.default_backend() != "gpu":
        raise SkipError(f"this JAX, {jax.__version__}, finds no CUDA device")
    return f"jax {jax.__version__}"


def functions(key: Any) -> SimpleNamespace:
    """Return JAX's functions for `elsewhere`; dropout draws from a key."""

    def dropout(x: Any, rate: float) -> Any:
        nonlocal key
        key, own = jax.random.split(key)
        return jnp.where(jax.random.bernoulli(own, 1 - rate, x.shape), x / (1 - rate), 0)

    def layer_norm(x: Any, scale: Any, shift: Any, epsilon: float) -> Any:
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(variance + epsilon) * scale + shift

    def cross_entropy(outputs: Any, labels: Any) -> Any:
        scores = jax.nn.log_softmax(outputs)
        return -jnp.take_along_axis(scores, labels[:, None], 1).mean()

    def convolution(x: Any, W: Any, b: Any, patch: tuple[int, int, int]) -> Any:
        kernels, order = W.reshape(*patch, -1), ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernels, (1, 1), "SAME", None, None, order) + b

    def max_pool(x: Any, size: tuple[int, int]) -> Any:
        window = 1, *size, 1
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "SAME")

    return SimpleNamespace(
        **{name: getattr(jnp, name) for name in ("concatenate", "cos", "einsum", "exp", "log1p")},
        **{name: getattr(jax.nn, name) for name in ("gelu", "identity", "mish", "relu")},
        linear=lambda x, W, b: x @ W + b,
        embed=lambda codes, table: table[codes.astype(jnp.int32)],
        squared_error=lambda outputs, targets: ((outputs - targets) ** 2).mean(),
        convolution=convolution,
        dropout=dropout,
        max_pool=max_pool,
        layer_norm=layer_norm,
        cross_entropy=cross_entropy,
    )


def train(mode: str, cell: Cell, ask: Ask) -> None:
    precision = None if mode == "defaults" else MATMUL_PRECISION[cell.precision]
    jax.config.update("jax_default_matmul_precision", precision)
    task, rule = training.network(cell), training.RULES[cell.optimizer]
    X, y = jnp.asarray(task.X), jnp.asarray(task.y)
    initial = training.initial_parameters(task)
    parameters = {name: jnp.asarray(each) for name, (each, _) in initial.items()}
    decays = {name: rule.decay * decays for name, (_, decays) in initial.items()}
    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    state = parameters, zeros(parameters), zeros(parameters), jnp.zeros((), jnp.int32)
    narrow = jnp.bfloat16 if cell.precision == "bfloat16" else jnp.float32

    def forward(parameters: Any, x: Any, key: Any) -> Any:
        parameters = jax.tree.map(lambda each: each.astype(narrow), parameters)
        outputs = elsewhere.forward_of(task.layers, functions(key))(parameters, x.astype(narrow))
        return outputs.astype(jnp.float32)

    def mean_loss(parameters: Any, x: Any, t: Any, key: Any) -> Any:
        return elsewhere.loss_of(task.loss, functions(key))(forward(parameters, x, key), t)

    def adam(state: Any, gradients: Any) -> Any:
        values, means, squares, count = state
        count = count + 1
        means = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, means, gradients)
        squares = jax.tree.map(lambda s, g: BETA2 * s + (1 - BETA2) * g * g, squares, gradients)
        first, second = 1 - BETA1**count, 1 - BETA2**count

        def moved(value: Any, m: Any, s: Any, decay: float) -> Any:
            return value - rule.rate * (
                (m / first) / (jnp.sqrt(s / second) + EPSILON) + decay * value
            )

        return jax.tree.map(moved, values, means, squares, decays), means, squares, count

    def sgd(state: Any, gradients: Any) -> Any:
        values, *rest = state
        return jax.tree.map(lambda value, g: value - rule.rate * g, values, gradients), *rest

    def update(state: Any, gradients: Any) -> Any:
        if rule.max_norm is not None:
            norm = jnp.sqrt(sum((g * g).sum() for g in jax.tree.leaves(gradients)))
            factor = jnp.minimum(1, rule.max_norm / norm)
            gradients = jax.tree.map(lambda g: g * factor, gradients)
        return (sgd if cell.optimizer == "sgd" else adam)(state, gradients)

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(state: Any, order: Any, number: int, X: Any, y: Any) -> Any:
        keys = jax.random.split(jax.random.key(number), len(order))

        def step(state: Any, drawn: Any) -> Any:
            rows, key = drawn
            loss, gradients = jax.value_and_grad(mean_loss)(state[0], X[rows], y[rows], key)
            return update(state, gradients), loss

        state, losses = jax.lax.scan(step, state, (order, keys))
        return state, losses.mean()

    def trained(number: int) -> tuple[float, None]:
        nonlocal state
        order = training.order(number, len(X)).astype(np.int32).reshape(-1, cell.batch)
        state, mean = epoch(state, order, number, X, y)
        return float(mean), None

    def predict(X: Any) -> Any:
        return np.asarray(jax.jit(forward)(state[0], X, jax.random.key(0))).argmax(1)

    stretches(ask, trained, predict)
