"""Temperature scaling: divide a classifier's logits by one number, to improve its probabilities."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np

from gpunn.layers import MeanOverMembers
from gpunn.network import Sequential

RANGE = math.log(16)

STEPS = 20
"""Steps of golden-section search. The last interval of log(T) is shorter than 0.001."""

GOLDEN = (math.sqrt(5) - 1) / 2


def scale_temperature(
    network: Sequential, X: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Divide the logits of a trained tabular classifier by the best temperature T; return T.

    T minimizes the log loss of held-out rows (Guo et al. 2017, "On Calibration of Modern Neural
    Networks"). The output layer's weights and biases are divided by T, so files and exports need
    nothing else. For TabM, each member's logits are divided by T before the members' probabilities
    are averaged.

    If every held-out row is predicted correctly, the smallest T has the smallest log loss. To
    prevent such a T, the sum of the losses l has one more term: the mean of l over all rows i and
    all possible targets j. This term has the same effect as one more row with a random target.
    Platt 1999, "Probabilistic Outputs for Support Vector Machines", uses a similar method::

        minimize over T   sum_i l(z_i / T, t_i) + mean_ij l(z_i / T, j)

    T stays 1 unless this sum decreases by more than 1. Only then does Akaike's information
    criterion (1974) predict that one fitted number decreases the loss of new rows.

    Parameters
    ----------
    network : Sequential
        A network of `realmlp` or `tabm` for classes or labels.
    X : ndarray
        Encoded held-out rows. If these rows also selected the best epoch, the network's loss on
        them is too small, so T is slightly too low.
    targets : ndarray, shape (rows,) or (rows, labels)
        The index of each row's class; for labels, 0 or 1 for each row and label.
    weights : ndarray or None
        The rows' weights, of which only the ratios matter.

    Returns
    -------
    float
        The temperature: above 1 if the network was overconfident, below 1 if it was underconfident.

    Examples
    --------
    >>> layer = gpunn.layers.Dense(2, initializer="ones", bias_initializer="zeros")
    >>> model = gpunn.Sequential([layer], 1, backend="numpy")
    >>> model.parameters["dense_1.weights"] = np.array([[-4.0, 4.0]], "float32")
    >>> targets = np.arange(1000) % 4 == 0  # a quarter
    >>> X = -np.ones((1000, 1))
    >>> temperature = gpunn.tabular.scale_temperature(model, X, targets.astype(int))
    >>> model.output_activation = "softmax"
    >>> model.predict_proba(X[:1]).round(2)
    array([[0.75, 0.25]], dtype=float32)
    """
    temperature = best_temperature(
        logits_of(network, X), targets, weights, averages_members(network)
    )
    divide_logits(network, temperature)
    return temperature


def best_temperature(
    logits: np.ndarray, targets: np.ndarray, weights: np.ndarray | None, average: bool
) -> float:
    labels = targets.ndim > 1
    weights = np.ones(len(logits)) if weights is None else weights.astype(np.float64)
    share = weights / weights.sum()
    rows = np.count_nonzero(weights)
    codes = targets if labels else targets[:, None]

    def loss(logarithm: float) -> float:
        values = losses_of(logits * math.exp(-logarithm), labels, average)
        true = np.take_along_axis(values, codes[..., None], axis=-1)[..., 0]
        return float(share @ (rows * true + values.mean(axis=-1)).sum(axis=1))

    best = minimum(loss, -RANGE, RANGE)
    return math.exp(best) if loss(0.0) - loss(best) > 1 else 1.0


def divide_logits(network: Sequential, temperature: float) -> None:
    if temperature == 1:
        return
    label = network.labels[-2 if averages_members(network) else -1]
    for name, values in network.parameters.to_host().items():
        if name in (f"{label}.weights", f"{label}.biases"):
            network.parameters[name] = values / values.dtype.type(temperature)


def averages_members(network: Sequential) -> bool:
    return isinstance(network.layers[-1], MeanOverMembers)


def logits_of(network: Sequential, X: np.ndarray) -> np.ndarray:
    layers = [copy.deepcopy(layer) for layer in network.layers if not layer.after_loss]
    labels = tuple(f"{label}." for label in network.labels[: len(layers)])
    values = network.parameters.to_host()
    values = {name: array for name, array in values.items() if name.startswith(labels)}
    shape, backend = network.input_shape, network.backend
    inner = Sequential(layers, shape, backend, network.seed, network.dtype, values)
    return inner.predict_encoded(X).astype(np.float64)


def losses_of(logits: np.ndarray, labels: bool, average: bool) -> np.ndarray:
    # The shape is (rows, 1 or labels, targets). With `average`, probabilities are averaged over the
    # members, the second axis of the logits.
    if labels:
        logarithms = -np.logaddexp(0, np.stack([logits, -logits], axis=-1))
    else:
        shifted = logits - logits.max(axis=-1, keepdims=True)
        logarithms = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        logarithms = logarithms[..., None, :]
    if average:
        logarithms = np.logaddexp.reduce(logarithms, axis=1) - math.log(logits.shape[1])
    losses: np.ndarray = -logarithms
    return losses


def minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """Return the minimizer of function(x) in [low, high]: golden-section search (Kiefer 1953)."""
    a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_a, at_b = function(a), function(b)
    for _ in range(STEPS):
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - GOLDEN * (high - low)
            at_a = function(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + GOLDEN * (high - low)
            at_b = function(b)
    return (low + high) / 2
