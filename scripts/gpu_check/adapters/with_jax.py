"""JAX: a whole epoch as one jitted lax.scan, which is its fastest variant.

Data are arguments, because a jitted function turns captured arrays into constants. The state is
donated, so it is updated in place. `jax.default_matmul_precision` selects TF32, the default on a
GPU. For bfloat16, parameters and inputs are converted, so activations and gradients between layers
are bfloat16. The loss, the parameters and the optimizer's state stay float32.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
import training
from libraries import Ask, stretches
from process import SkipError
from training import Cell

os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # other libraries also use the device
try:
    import jax
    import jax.numpy as jnp
except ImportError:
    raise SkipError("JAX is not installed") from None

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
MATMUL_PRECISION = {"float32": "float32", "tf32": "tensorfloat32", "bfloat16": "default"}


def start(mode: str) -> str:
    """Return the library's name and version."""
    if jax.default_backend() != "gpu":
        raise SkipError(f"this JAX, {jax.__version__}, finds no CUDA device")
    return f"jax {jax.__version__}"


def train(mode: str, cell: Cell, ask: Ask) -> None:
    """Train a cell with JAX."""
    jax.config.update("jax_default_matmul_precision", MATMUL_PRECISION[cell.precision])
    host_X, host_y = training.whole_batches(cell)
    X, y = jnp.asarray(host_X), jnp.asarray(host_y, jnp.int32)
    parameters = [tuple(map(jnp.asarray, each)) for each in training.initial_parameters(cell.sizes)]
    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    state = parameters, zeros(parameters), zeros(parameters), jnp.zeros((), jnp.int32)
    narrow = jnp.bfloat16 if cell.precision == "bfloat16" else jnp.float32
    rate = training.RATES[cell.optimizer]

    def forward(parameters: Any, x: Any) -> Any:
        *hidden, (W, b) = jax.tree.map(lambda each: each.astype(narrow), parameters)
        x = x.astype(narrow)
        for V, c in hidden:
            x = jax.nn.relu(x @ V + c)
        return (x @ W + b).astype(jnp.float32)

    def loss_of(parameters: Any, x: Any, t: Any) -> Any:
        scores = jax.nn.log_softmax(forward(parameters, x))
        return -jnp.take_along_axis(scores, t[:, None], 1).mean()

    def adam(state: Any, gradients: Any) -> Any:
        values, means, squares, count = state
        count = count + 1
        means = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, means, gradients)
        squares = jax.tree.map(lambda s, g: BETA2 * s + (1 - BETA2) * g * g, squares, gradients)
        first, second = 1 - BETA1**count, 1 - BETA2**count

        def moved(value: Any, m: Any, s: Any) -> Any:
            return value - rate * (m / first) / (jnp.sqrt(s / second) + EPSILON)

        return jax.tree.map(moved, values, means, squares), means, squares, count

    def sgd(state: Any, gradients: Any) -> Any:
        values, *rest = state
        return jax.tree.map(lambda value, g: value - rate * g, values, gradients), *rest

    update = {"adam": adam, "sgd": sgd}[cell.optimizer]

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(state: Any, order: Any, X: Any, y: Any) -> Any:
        def step(state: Any, rows: Any) -> Any:
            loss, gradients = jax.value_and_grad(loss_of)(state[0], X[rows], y[rows])
            return update(state, gradients), loss

        state, losses = jax.lax.scan(step, state, order)
        return state, losses.mean()

    def trained(number: int) -> tuple[float, None]:
        nonlocal state
        order = training.order(number, len(X)).astype(np.int32).reshape(-1, cell.batch)
        state, mean = epoch(state, order, X, y)
        return float(mean), None

    stretches(ask, trained, lambda X: np.asarray(jax.jit(forward)(state[0], X)).argmax(1))
