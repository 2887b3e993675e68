"""Convert an estimator's parameters to layers, and its `coefs_` to or from a network's arrays."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpunn.activations import Activation
from gpunn.configurable import resolve
from gpunn.layers import Activation as ActivationLayer
from gpunn.layers import BatchNorm, Dense, Dropout, Layer, LayerNorm

NORMALIZATION = ("batch_norm_", "layer_norm_")

LOGISTIC = "logistic", "sigmoid"


def layers_of(estimator: Any, units: Sequence[int]) -> list[Layer]:
    # Batch normalization would cancel the bias of the dense layer before it. The bias's gradient
    # would consist of rounding errors, which Adam would scale up to full steps. So there is no
    # bias.
    name = "sigmoid" if estimator.activation == "logistic" else estimator.activation
    f = resolve(Activation, name, "activation")
    layers: list[Layer] = []
    for hidden in units[1:-1]:
        if estimator.batch_norm or estimator.layer_norm:
            norm = BatchNorm() if estimator.batch_norm else LayerNorm()
            layers += [Dense(hidden, bias=not estimator.batch_norm), norm, ActivationLayer(f)]
        else:
            layers.append(Dense(hidden, f))
        if estimator.dropout:
            layers.append(Dropout(float(estimator.dropout)))
    return [*layers, Dense(units[-1])]


def layer_units(coefs: Sequence[np.ndarray]) -> tuple[int, ...]:
    shapes = [np.shape(coef) for coef in coefs]
    return (shapes[0][0], *(shape[1] for shape in shapes))


def initial_values(
    estimator: Any, units: Sequence[int], random: np.random.RandomState
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    # The distribution is U(-b, b) with b = sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010), or
    # sqrt(2 / (fan_in + fan_out)) with the logistic activation.
    factor = 2.0 if estimator.activation in LOGISTIC else 6.0
    coefs, intercepts = [], []
    for fan_in, fan_out in itertools.pairwise(units):
        bound = math.sqrt(factor / (fan_in + fan_out))
        coefs.append(random.uniform(-bound, bound, (fan_in, fan_out)))
        intercepts.append(random.uniform(-bound, bound, fan_out))
    return coefs, intercepts


def initial_normalization(estimator: Any, units: Sequence[int]) -> dict[str, np.ndarray]:
    values: dict[str, np.ndarray] = {}
    for number, size in enumerate(units[1:-1], 1):
        if estimator.batch_norm:
            label = f"batch_norm_{number}"
            values[f"{label}.running_mean"] = np.zeros(size)
            values[f"{label}.running_variance"] = np.ones(size)
        elif estimator.layer_norm:
            label = f"layer_norm_{number}"
        else:
            continue
        values[f"{label}.scale"] = np.ones(size)
        values[f"{label}.shift"] = np.zeros(size)
    return values


def named_values(estimator: Any) -> dict[str, np.ndarray]:
    values = dict(getattr(estimator, "normalization_", {}))
    last = len(estimator.coefs_)
    for number, (coef, intercept) in enumerate(
        zip(estimator.coefs_, estimator.intercepts_, strict=True), 1
    ):
        values[f"dense_{number}.weights"] = np.asarray(coef)
        if number == last or not estimator.batch_norm:
            values[f"dense_{number}.biases"] = np.asarray(intercept)
    return values


def set_fitted_arrays(estimator: Any, values: Mapping[str, np.ndarray], dtype: np.dtype) -> None:
    coefs, intercepts = [], []
    for number in range(1, len(estimator.coefs_) + 1):
        coef = values[f"dense_{number}.weights"].astype(dtype, copy=False)
        bias = values.get(f"dense_{number}.biases", np.zeros(coef.shape[1]))
        coefs.append(coef)
        intercepts.append(bias.astype(dtype, copy=False))
    estimator.coefs_, estimator.intercepts_ = coefs, intercepts
    estimator.normalization_ = {
        name: array.astype(dtype, copy=False)
        for name, array in values.items()
        if name.startswith(NORMALIZATION)
    }
