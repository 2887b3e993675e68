"""Keras 3 on JAX: compiled, with several steps per call, its fastest mode on a CPU."""

import time
from typing import Any

import jax
import keras
import numpy as np

from benchmarks.adapters import AfterEpoch, Epoch, checked
from benchmarks.work import ENDLESS, Rows, Task, initial_weights

STEPS_A_CALL = 20
METRICS = {
    "accuracy": keras.metrics.SparseCategoricalAccuracy,
    "binary_accuracy": lambda name: keras.metrics.BinaryAccuracy(name, threshold=0.0),
    "mean_absolute_error": keras.metrics.MeanAbsoluteError,
}


class Keras:
    def train(self, task: Task, rows: Rows, seed: int, after_epoch: AfterEpoch) -> None:
        keras.config.set_floatx(task.dtype)
        with jax.enable_x64(task.dtype == "float64"):
            self.train_in_dtype(task, rows, seed, after_epoch)

    def train_in_dtype(self, task: Task, rows: Rows, seed: int, after_epoch: AfterEpoch) -> None:
        keras.utils.set_random_seed(seed)
        model = network(task, seed)
        steps = len(rows.X) // task.batch_size
        one_hot = task.label_smoothing > 0
        y = np.eye(task.sizes[-1], dtype=task.dtype)[rows.y] if one_hot else rows.y
        makers = METRICS | ({"accuracy": keras.metrics.CategoricalAccuracy} if one_hot else {})
        metrics = [makers[name](name=name) for name in task.metrics]
        model.compile(
            optimizer=optimizer(task, steps),
            loss=loss(task),
            jit_compile=True,
            steps_per_execution=min(STEPS_A_CALL, steps),
            **{"weighted_metrics" if task.weighted else "metrics": metrics},
        )
        model.fit(
            *(rows.X, y),
            sample_weight=rows.weights,
            batch_size=task.batch_size,
            epochs=ENDLESS,
            verbose=0,
            callbacks=[Clock(after_epoch)],
        )


def network(task: Task, seed: int) -> keras.Sequential:
    inputs, *hidden, outputs = task.sizes
    # An L2 penalty on the mean of the losses, assuming sample weights with mean 1.
    penalty = task.l2_penalty / 2 / task.batch_size
    regularizer = keras.regularizers.L2(penalty) if penalty else None
    normalizations = {
        "batch_norm": lambda: keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
        "layer_norm": lambda: keras.layers.LayerNormalization(epsilon=1e-5),
    }
    activations = {
        "gelu": lambda x: keras.activations.gelu(x, approximate=True),
        "leaky_relu": lambda x: keras.activations.leaky_relu(x, negative_slope=0.01),
    }
    activation = activations.get(task.activation, task.activation)
    layers: list[Any] = [keras.Input((inputs,))]
    for units in hidden:
        if task.normalization:
            layers += [
                keras.layers.Dense(units, kernel_regularizer=regularizer),
                normalizations[task.normalization](),
                keras.layers.Activation(activation),
            ]
        else:
            dense = keras.layers.Dense(units, activation, kernel_regularizer=regularizer)
            layers.append(dense)
        if task.dropout:
            layers.append(keras.layers.Dropout(task.dropout))
    layers.append(keras.layers.Dense(outputs, kernel_regularizer=regularizer))
    model = keras.Sequential(layers)
    dense_layers = [each for each in model.layers if isinstance(each, keras.layers.Dense)]
    for layer, weights in zip(dense_layers, initial_weights(task, seed), strict=True):
        layer.set_weights([weights, np.zeros_like(weights[0])])
    return model


def loss(task: Task) -> Any:
    """Return the loss; with weights, it is divided by their sum, not by the number of rows."""
    reduction = "mean_with_sample_weight" if task.weighted else "sum_over_batch_size"
    options = {"reduction": reduction}
    if task.loss == "softmax_cross_entropy":
        if task.label_smoothing:
            smoothing = task.label_smoothing
            return keras.losses.CategoricalCrossentropy(True, smoothing, **options)
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **options)
    if task.loss == "binary_cross_entropy":
        return keras.losses.BinaryCrossentropy(from_logits=True, **options)
    if task.loss == "huber":
        return keras.losses.Huber(**options)
    if task.loss == "half_squared_error":
        return lambda t, p: keras.ops.mean(keras.ops.square(p - t), axis=-1) / 2
    return keras.losses.MeanSquaredError(**options)


class Rate(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    def __init__(self, task: Task, steps: int) -> None:
        self.task, self.steps = task, steps

    def __call__(self, step: Any) -> Any:
        time = (keras.ops.cast(step, self.task.dtype) + 0.5) / self.steps
        return self.task.rate(time, keras.ops)

    def get_config(self) -> dict[str, Any]:
        return {"task": self.task, "steps": self.steps}


def optimizer(task: Task, steps: int) -> Any:
    """Return the optimizer; Keras' default epsilon is 1e-7."""
    rate = task.learning_rate if task.schedule == "constant" else Rate(task, steps)
    clipping = {"global_clipnorm": task.max_norm}
    if task.optimizer == "sgd":
        momentum = task.momentum
        return keras.optimizers.SGD(rate, momentum, nesterov=momentum > 0, **clipping)
    if task.optimizer == "rmsprop":
        # Keras adds epsilon to the mean of squares; its root is 1e-8.
        return keras.optimizers.RMSprop(rate, rho=0.9, epsilon=1e-16, **clipping)
    if task.optimizer == "adam":
        return keras.optimizers.Adam(rate, epsilon=1e-8, **clipping)
    decay = task.weight_decay
    adamw = keras.optimizers.AdamW(rate, weight_decay=decay, epsilon=1e-8, **clipping)
    adamw.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return adamw


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, after_epoch: AfterEpoch) -> None:
        super().__init__()
        self.after_epoch = after_epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = checked({name: float(value) for name, value in logs.items()})
        seconds = time.perf_counter() - self.began
        self.model.jax_state_sync()  # so that predictions use the trained parameters

        def predict(rows: np.ndarray) -> np.ndarray:
            return np.asarray(self.model.predict_on_batch(rows)).argmax(1)

        if self.after_epoch(Epoch(seconds, logs, predict)):
            self.model.stop_training = True
