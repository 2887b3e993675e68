"""JAX at the same work, a whole epoch as one jitted lax.scan, which is its fastest form."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator
from typing import Any

import device
import numpy as np
from outcome import Outcome, SkipStepError
from steps import speed, work

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def run() -> Outcome:
    """Time JAX."""
    if device.REHEARSAL:
        raise SkipStepError("a rehearsal: JAX can't use the emulated device")
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # so that the peak says something
    try:
        import jax
    except ImportError:
        raise SkipStepError("JAX is not installed") from None
    if jax.default_backend() != "gpu":
        raise SkipStepError(f"this JAX, {jax.__version__}, finds no CUDA device")

    def peak() -> int | None:
        found = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        return None if found is None else int(found)

    return speed.measure(epochs, peak, library=f"jax {jax.__version__}")


def epochs(data: work.Work, batch: int) -> Iterator[speed.Epoch]:
    """Train, an epoch at a time."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_default_matmul_precision", "float32")  # the default is TF32 on a GPU
    host_X, host_y = data.cut(batch)
    X, y = jnp.asarray(host_X), jnp.asarray(host_y, jnp.int32)
    X_test = jnp.asarray(data.X_test)
    parameters = [
        (jnp.asarray(W), jnp.zeros(W.shape[1])) for W in work.initial_weights(data.sizes, work.SEED)
    ]
    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    state = parameters, zeros(parameters), zeros(parameters), jnp.zeros((), jnp.int32)

    def forward(parameters: Any, x: Any) -> Any:
        for W, b in parameters[:-1]:
            x = jax.nn.relu(x @ W + b)
        W, b = parameters[-1]
        return x @ W + b

    def loss_of(parameters: Any, x: Any, t: Any) -> Any:
        scores = jax.nn.log_softmax(forward(parameters, x))
        return -jnp.take_along_axis(scores, t[:, None], 1).mean()

    def step(state: Any, rows: Any) -> Any:
        values, means, squares, count = state
        loss, gradients = jax.value_and_grad(loss_of)(values, X[rows], y[rows])
        count = count + 1
        means = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, means, gradients)
        squares = jax.tree.map(lambda s, g: BETA2 * s + (1 - BETA2) * g * g, squares, gradients)
        first, second = 1 - BETA1**count, 1 - BETA2**count

        def moved(value: Any, m: Any, s: Any) -> Any:
            return value - work.RATE * (m / first) / (jnp.sqrt(s / second) + EPSILON)

        values = jax.tree.map(moved, values, means, squares)
        return (values, means, squares, count), loss

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(state: Any, order: Any) -> Any:
        state, losses = jax.lax.scan(step, state, order)
        return state, losses.mean()

    predict = jax.jit(lambda parameters, x: forward(parameters, x).argmax(1))
    number = 0
    while True:
        began = time.perf_counter()
        order = speed.permutation(number, len(X)).astype(np.int32).reshape(-1, batch)
        state, mean = epoch(state, order)
        loss = float(mean)
        seconds = time.perf_counter() - began
        accuracy = float((np.asarray(predict(state[0], X_test)) == data.y_test).mean())
        yield speed.Epoch(seconds, None, loss, accuracy)
        number += 1
