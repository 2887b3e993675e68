"""JAX and optax: a jitted scan over the steps of an epoch, with donated buffers."""

import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.adapters import AfterEpoch, Epoch, logs_of
from benchmarks.work import Rows, Task, initial_weights

ACTIVATIONS = {
    "elu": jax.nn.elu,
    "gelu": functools.partial(jax.nn.gelu, approximate=True),
    "leaky_relu": functools.partial(jax.nn.leaky_relu, negative_slope=0.01),
    "mish": jax.nn.mish,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}
LOSSES = {  # of each row, or of each entry
    "binary_cross_entropy": optax.sigmoid_binary_cross_entropy,
    "half_squared_error": optax.l2_loss,
    "huber": optax.huber_loss,
    "mean_squared_error": optax.squared_error,
    "softmax_cross_entropy": optax.softmax_cross_entropy_with_integer_labels,
}
METRICS = {
    "accuracy": lambda p, t: p.argmax(1) == t,
    "binary_accuracy": lambda p, t: (p > 0) == (t > 0.5),
    "mean_absolute_error": lambda p, t: abs(p - t),
}
EPSILON = 1e-5
KEPT = 0.9
"""Share of the old running averages that a step keeps."""


class Compiled(NamedTuple):
    start: Any
    epoch: Any
    predict: Any


class Scan:
    def train(self, task: Task, rows: Rows, seed: int, after_epoch: AfterEpoch) -> None:
        with jax.enable_x64(task.dtype == "float64"):
            self.train_in_dtype(task, rows, seed, after_epoch)

    def train_in_dtype(self, task: Task, rows: Rows, seed: int, after_epoch: AfterEpoch) -> None:
        steps = len(rows.X) // task.batch_size
        compiled = functions(task, steps)
        state = compiled.start([jnp.asarray(each) for each in initial_weights(task, seed)])
        y = rows.y.astype(np.int32) if rows.y.ndim == 1 else rows.y
        data = jax.device_put(rows._replace(y=y))

        def predict(rows: np.ndarray) -> np.ndarray:
            return np.asarray(compiled.predict(state, rows))

        generator = np.random.default_rng(seed)
        key = jax.random.key(seed)
        while True:
            began = time.perf_counter()
            order = generator.permutation(len(rows.X)).astype(np.int32).reshape(steps, -1)
            key, own = jax.random.split(key)
            state, means = compiled.epoch(state, data, order, own)
            logs = logs_of(task, np.asarray(means).tolist())
            if after_epoch(Epoch(time.perf_counter() - began, logs, predict)):
                return


@functools.cache
def functions(task: Task, steps: int) -> Compiled:
    """Return the jitted functions, the same ones for a second network.

    A state consists of parameters, running averages and the optimizer's slots. A batch consists of
    the numbers of its rows and the key of its dropout masks.
    """
    transformation = optimizer(task, steps)

    def start(weights: list[Any]) -> Any:
        parameters, averages = [], []
        for number, each in enumerate(weights, start=1):
            zeros, ones = (functools.partial(jnp.full_like, each[0], value) for value in (0, 1))
            layer, average = {"weights": each, "biases": zeros()}, ()
            if task.normalization and number < len(weights):
                layer |= {"scale": ones(), "shift": zeros()}
                average = (zeros(), ones()) if task.normalization == "batch_norm" else ()
            parameters.append(layer)
            averages.append(average)
        return parameters, averages, transformation.init(parameters)

    def forward(parameters: Any, averages: Any, x: Any, key: Any) -> tuple[Any, Any]:
        """Return the outputs and the new averages; without a key, inference."""
        new = []
        for number, (layer, average) in enumerate(zip(parameters, averages, strict=True)):
            x = x @ layer["weights"] + layer["biases"]
            if number == len(parameters) - 1:
                break
            if task.normalization:
                x, average = normalize(task, x, average, key is not None)
                x = x * layer["scale"] + layer["shift"]
            x = ACTIVATIONS[task.activation](x)
            if task.dropout and key is not None:
                keep = 1 - task.dropout
                kept = jax.random.bernoulli(jax.random.fold_in(key, number), keep, x.shape)
                x = jnp.where(kept, x / keep, 0)
            new.append(average)
        return x, [*new, ()]

    def loss_of(parameters: Any, averages: Any, rows: Any, key: Any) -> tuple[Any, Any]:
        outputs, averages = forward(parameters, averages, rows.X, key)

        def mean(values: Any) -> Any:
            of_rows = values.reshape(len(values), -1).mean(1, dtype=outputs.dtype)
            if rows.weights is None:
                return of_rows.mean()
            return rows.weights @ of_rows / rows.weights.sum()

        if task.label_smoothing:
            t = optax.smooth_labels(jax.nn.one_hot(rows.y, outputs.shape[1]), task.label_smoothing)
            loss = mean(optax.softmax_cross_entropy(outputs, t))
        else:
            loss = mean(LOSSES[task.loss](outputs, rows.y))
        measured = [mean(METRICS[name](outputs, rows.y)) for name in task.metrics]
        return loss, (averages, jnp.stack([loss, *measured]))

    def update(state: Any, data: Any, batch: Any) -> tuple[Any, Any]:
        parameters, averages, slots = state
        indices, key = batch
        # The order is a permutation, so nothing has to be checked or clipped.
        rows = jax.tree.map(lambda a: a.at[indices].get(mode="promise_in_bounds"), data)
        gradients, (averages, measured) = jax.grad(loss_of, has_aux=True)(
            parameters, averages, rows, key
        )
        changes, slots = transformation.update(gradients, slots, parameters)
        return (optax.apply_updates(parameters, changes), averages, slots), measured

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(state: Any, data: Any, order: Any, key: Any) -> tuple[Any, Any]:
        batches = order, jax.random.split(key, len(order))
        state, measured = jax.lax.scan(lambda s, batch: update(s, data, batch), state, batches)
        return state, measured.mean(0)

    predict = jax.jit(lambda state, x: forward(state[0], state[1], x, None)[0].argmax(1))
    return Compiled(start, epoch, predict)


def normalize(task: Task, x: Any, average: Any, training: bool) -> tuple[Any, Any]:
    if task.normalization == "layer_norm":
        mean, variance = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    elif training:
        mean, variance = x.mean(0), x.var(0)
        average = jax.tree.map(
            lambda old, new: KEPT * old + (1 - KEPT) * new,
            average,
            jax.lax.stop_gradient((mean, variance)),
        )
    else:
        mean, variance = average
    return (x - mean) * jax.lax.rsqrt(variance + EPSILON), average


def optimizer(task: Task, steps: int) -> Any:
    """Return the gradient transformation; an L2 penalty assumes sample weights with mean 1."""

    def rate(count: Any) -> Any:
        return task.rate((count + 0.5) / steps, jnp)

    def only_weights(parameters: Any) -> Any:
        return [{name: name == "weights" for name in layer} for layer in parameters]

    if task.optimizer == "sgd":
        last = optax.sgd(rate, task.momentum or None, nesterov=task.momentum > 0)
    elif task.optimizer == "rmsprop":
        last = optax.rmsprop(rate, decay=0.9, eps=1e-8, eps_in_sqrt=False)
    elif task.optimizer == "adamw":
        last = optax.adamw(rate, weight_decay=task.weight_decay, mask=only_weights)
    else:
        last = optax.adam(rate)
    first = []
    if task.l2_penalty:
        penalty = task.l2_penalty / task.batch_size
        first.append(optax.add_decayed_weights(penalty, only_weights))
    if task.max_norm is not None:
        first.append(optax.clip_by_global_norm(task.max_norm))
    return optax.chain(*first, last)
