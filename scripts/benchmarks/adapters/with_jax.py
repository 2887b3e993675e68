"""JAX and optax: the step jitted with donated buffers, in a loop or a scan over the epoch."""

from __future__ import annotations

import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.adapters import AfterEpoch, checked
from benchmarks.work import Task, initial_weights

OPTIMIZERS = {"sgd": optax.sgd, "adam": optax.adam}


class Compiled(NamedTuple):
    """The functions of an optimizer; each shape of network that they meet is compiled once."""

    start: Any
    step: Any
    epoch: Any
    predict: Any


class Scan:
    """The whole epoch in one call, over data on the device."""

    def run_epoch(
        self, compiled: Compiled, state: Any, X: Any, y: Any, order: np.ndarray
    ) -> tuple[Any, Any]:
        """Return the state after an epoch, and the epoch's loss."""
        return compiled.epoch(state, X, y, order)

    def train(
        self, task: Task, X: np.ndarray, y: np.ndarray, seed: int, after_epoch: AfterEpoch
    ) -> None:
        compiled = functions(task.optimizer, task.learning_rate)
        parameters = [
            (jnp.asarray(weights), jnp.zeros(weights.shape[1]))
            for weights in initial_weights(task.sizes, seed)
        ]
        state = parameters, compiled.start(parameters)
        inputs, labels = jnp.asarray(X), jnp.asarray(y, jnp.int32)

        def predict(rows: np.ndarray) -> np.ndarray:
            return np.asarray(compiled.predict(state[0], rows))

        generator = np.random.default_rng(seed)
        while True:
            began = time.perf_counter()
            order = generator.permutation(len(X)).astype(np.int32).reshape(-1, task.batch_size)
            state, loss = self.run_epoch(compiled, state, inputs, labels, order)
            checked(float(loss))
            if after_epoch(time.perf_counter() - began, predict):
                return


class Loop(Scan):
    """A Python loop around the step."""

    def run_epoch(
        self, compiled: Compiled, state: Any, X: Any, y: Any, order: np.ndarray
    ) -> tuple[Any, Any]:
        total = jnp.zeros(())
        for rows in order:
            state, total = compiled.step(state, total, X, y, rows)
        return state, total / len(order)


@functools.cache
def functions(optimizer: str, learning_rate: float) -> Compiled:
    """Return the jitted functions, the same ones for a second network."""
    transformation = OPTIMIZERS[optimizer](learning_rate)

    def forward(parameters: Any, x: Any) -> Any:
        *hidden, (W, b) = parameters
        for weights, biases in hidden:
            x = jax.nn.relu(x @ weights + biases)
        return x @ W + b

    def loss_of(parameters: Any, x: Any, t: Any) -> Any:
        logits = forward(parameters, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, t).mean()

    def update(state: Any, X: Any, y: Any, rows: Any) -> tuple[Any, Any]:
        parameters, slots = state
        # The order is a permutation: nothing has to be checked or clipped.
        x, t = (array.at[rows].get(mode="promise_in_bounds") for array in (X, y))
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, t)
        changes, slots = transformation.update(gradients, slots, parameters)
        return (optax.apply_updates(parameters, changes), slots), loss

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(state: Any, total: Any, X: Any, y: Any, rows: Any) -> tuple[Any, Any]:
        state, loss = update(state, X, y, rows)
        return state, total + loss

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(state: Any, X: Any, y: Any, order: Any) -> tuple[Any, Any]:
        state, losses = jax.lax.scan(lambda s, rows: update(s, X, y, rows), state, order)
        return state, losses.mean()

    predict = jax.jit(lambda parameters, x: forward(parameters, x).argmax(1))
    return Compiled(transformation.init, step, epoch, predict)
