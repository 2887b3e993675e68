"""Temperature scaling recovers the temperature by which probabilities are wrong."""

import numpy as np
import pytest

import gpunn
from gpunn.initializers import Normal
from gpunn.layers import Dense, MeanOverMembers, MemberDense, Members
from gpunn.meaning import probabilities
from gpunn.tabular import scale_temperature

ROWS = 4000
X = np.random.default_rng(0).normal(size=(ROWS, 4)).astype("float32")


def network(activation, members):
    layers = [Dense(3, initializer=Normal(1.0))]
    if members:
        each = MemberDense(3, separate=True, initializer=Normal(2.0))
        layers = [Members(3, "ones"), each, MeanOverMembers(activation)]
    return gpunn.Sequential(layers, 4, backend="numpy", seed=0)


def drawn(p, activation, seed=1):
    random = np.random.default_rng(seed)
    if activation == "sigmoid":
        return (random.random(p.shape) < p).astype(int)
    return (random.random((len(p), 1)) > p.cumsum(axis=1)).sum(axis=1)


@pytest.mark.parametrize(
    ("activation", "members", "temperature"),
    [("softmax", False, 0.4), ("softmax", True, 3), ("sigmoid", False, 3), ("sigmoid", True, 0.4)],
)
def test_the_temperature_is_found(activation, members, temperature):
    model = network(activation, members)
    expected = probabilities(model.predict(X), activation)
    targets = drawn(expected, activation)
    label = model.labels[-2 if members else -1]
    for name in (f"{label}.weights", f"{label}.biases"):  # too large, so overconfident
        model.parameters[name] = model.parameters.to_host()[name] * temperature
    outputs = model.predict(X)
    found = scale_temperature(model, X, targets)
    assert found == pytest.approx(temperature, rel=0.1)
    np.testing.assert_allclose(probabilities(model.predict(X), activation), expected, atol=0.03)
    if not members:
        np.testing.assert_allclose(model.predict(X), outputs / found, rtol=1e-5, atol=1e-6)


def test_good_probabilities_are_usually_kept():
    """If T = 1, twice the gain has a chi-squared distribution, so 84 % of the gains are below 1."""
    model = network("softmax", False)
    p, kept = probabilities(model.predict(X), "softmax"), 0
    for seed in range(20):
        kept += scale_temperature(network("softmax", False), X, drawn(p, "softmax", seed)) == 1
    assert 12 <= kept < 20


def test_rows_without_errors_do_not_make_the_network_certain():
    model = gpunn.Sequential([Dense(2)], 4, backend="numpy", seed=0)
    rows = np.repeat(X[:1], 50, axis=0)
    assert scale_temperature(model, rows, model.predict(rows).argmax(axis=1)) < 1
    error = 1 - probabilities(model.predict(X[:1]), "softmax").max()
    assert error == pytest.approx(0.5 / 51, rel=0.01)


def test_weights():
    model = network("softmax", False)
    halved = probabilities(model.predict(X) / 2, "softmax")
    targets, weights = drawn(halved, "softmax"), np.r_[np.ones(3000), np.zeros(1000)]
    targets[3000:] = 0  # wrong, but without weight
    first, second, third = (network("softmax", False) for _ in range(3))
    found = scale_temperature(first, X[:3000], targets[:3000])
    assert found == pytest.approx(2, rel=0.1)
    assert scale_temperature(second, X, targets, weights) == pytest.approx(found, rel=1e-6)
    assert scale_temperature(third, X, targets, 7 * weights) == pytest.approx(found, rel=1e-6)
