import numpy as np
import pytest
from layers.checking import prepared, run

import gpunn
from gpunn.errors import DataError
from gpunn.layers import BatchNorm, LayerNorm, Standardization


def example(backend, rows=64, features=6):
    x = 3 * np.random.default_rng(0).standard_normal((rows, features)) + 10
    return backend.from_host(x, "float32"), x.astype("float32")


def test_batch_norm_in_training(backend):
    layer = BatchNorm(momentum=0.75, epsilon=1e-3)
    parameters, workspace = prepared(backend, layer, (6,))
    parameters["it.running_mean"], parameters["it.running_variance"] = np.ones(6), np.full(6, 2.0)
    x, host = example(backend)
    y = run(layer, x, workspace)
    given = parameters.to_host()
    normal = (host - host.mean(0)) / np.sqrt(host.var(0) + 1e-3)
    expected = given["it.scale"] * normal + given["it.shift"]
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)
    mean, variance = given["it.running_mean"], given["it.running_variance"]
    np.testing.assert_allclose(mean, 0.75 + 0.25 * host.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, 0.75 * 2 + 0.25 * host.var(0), rtol=1e-5)


@pytest.mark.parametrize("rows", [64, 8192, 70_001])
def test_a_large_mean_costs_few_digits_of_the_variance(backend, rows):
    layer = BatchNorm(momentum=0.0)  # so that the averages are those of the batch
    parameters, workspace = prepared(backend, layer, (3,))
    x = np.random.default_rng(0).normal(1e6, 1.0, (rows, 3)).astype("float32")
    x[:, 0] = 1e6 + 1  # a constant column
    batch, moments = backend.from_host(x, "float32"), backend.from_host(np.zeros(7), "float32")
    run(layer, batch, workspace)
    backend.column_moments(batch, moments)
    averages, expected = parameters.to_host(), x.astype("float64")
    of_ranks = backend.to_host(moments)[1:].reshape(2, 3)
    for mean, variance in (
        (averages["it.running_mean"], averages["it.running_variance"]),
        (of_ranks[0], of_ranks[1] / rows),
    ):
        np.testing.assert_allclose(mean, expected.mean(0), rtol=1e-7)
        np.testing.assert_allclose(variance, expected.var(0), rtol=2e-3, atol=0)


def test_an_outlier_in_the_first_row_costs_few_digits_of_the_mean(backend):
    layer = BatchNorm(momentum=0.0)
    parameters, workspace = prepared(backend, layer, (3,))
    x = np.random.default_rng(0).normal(size=(8192, 3)).astype("float32")
    x[0] = 1000
    batch, moments = backend.from_host(x, "float32"), backend.from_host(np.zeros(7), "float32")
    run(layer, batch, workspace)
    backend.column_moments(batch, moments)
    for means in (parameters.to_host()["it.running_mean"], backend.to_host(moments)[1:4]):
        np.testing.assert_allclose(means, x.astype("float64").mean(0), rtol=0, atol=1e-4)


def test_batch_norm_outside_training(backend):
    layer = BatchNorm()
    parameters, workspace = prepared(backend, layer, (6,), training=False)
    before = parameters.to_host()
    x, host = example(backend)
    y = run(layer, x, workspace)
    deviation = np.sqrt(before["it.running_variance"] + 1e-5)
    normal = (host - before["it.running_mean"]) / deviation
    expected = before["it.scale"] * normal + before["it.shift"]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    for name, value in parameters.to_host().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("training", [True, False])
def test_layer_norm(backend, training):
    layer = LayerNorm(epsilon=1e-3)
    parameters, workspace = prepared(backend, layer, (6,), training=training)
    x, host = example(backend)
    given = parameters.to_host()
    deviation = np.sqrt(host.var(1, keepdims=True) + 1e-3)
    normal = (host - host.mean(1, keepdims=True)) / deviation
    expected = given["it.scale"] * normal + given["it.shift"]
    np.testing.assert_allclose(run(layer, x, workspace), expected, rtol=0, atol=1e-5)


def test_constant_features_do_not_divide_by_zero(backend):
    for layer in (BatchNorm(), LayerNorm()):
        _, workspace = prepared(backend, layer, (3,))
        x = backend.from_host(np.full((4, 3), 2.0), "float32")
        y = layer.forward(x, workspace)
        gradient = backend.from_host(np.ones((4, 3)), "float32")
        dx = layer.backward(x, y, gradient, workspace, True)
        assert np.isfinite(backend.to_host(y)).all()
        assert np.isfinite(backend.to_host(dx)).all()


def test_standardization_learns_from_the_inputs(backend):
    layer = Standardization()
    parameters, workspace = prepared(backend, layer, (3,))
    X = np.array([[1.0, 5.0, 0.0], [3.0, 5.0, 10.0], [5.0, 5.0, 50.0]])
    for name, value in layer.adapt(X).items():
        parameters[f"it.{name}"] = value
    y = run(layer, backend.from_host(X, "float32"), workspace)
    expected = (X - X.mean(0)) / np.where(X.std(0) == 0, 1, X.std(0))
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6)
    assert Standardization.adapts


@pytest.mark.parametrize("exponent", [-25, -20, 0, 20, 25])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_standardization_at_every_scale(exponent, dtype, backend):
    """This also holds if the variance overflows float32."""
    if dtype == "float64" and "no_float64" in backend.name:
        pytest.skip("has no float64")
    X = np.random.default_rng(0).normal(2, 3, size=(50, 4))
    model = gpunn.Sequential([Standardization()], 4, backend, dtype=dtype)
    model.adapt(X * 10.0**exponent)
    actual = model.predict(X * 10.0**exponent)
    np.testing.assert_allclose(actual, (X - X.mean(0)) / X.std(0), rtol=0, atol=2e-6)


@pytest.mark.parametrize("scale", [1e-40, 1e-100])
def test_standardization_refuses_overflow_and_underflow(scale):
    X = np.random.default_rng(0).normal(size=(50, 3)) * [1, scale, 1]
    model = gpunn.Sequential([Standardization()], 3, "numpy")
    with pytest.raises(DataError, match=r"column 1 .*too small.*rescale it or use .*float64"):
        model.adapt(X)
    assert not model.adapted
    np.testing.assert_array_equal(model.parameters["standardization_1.deviation"], 1)
    gpunn.Sequential([Standardization()], 3, "numpy", dtype="float64").adapt(X)
