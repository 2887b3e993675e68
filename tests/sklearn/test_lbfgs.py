import numpy as np
import pytest

import gpunn
from gpunn import layers, losses
from gpunn.data.batches import Dataset
from gpunn.sklearn import lbfgs
from gpunn.sklearn.lbfgs import Objective
from gpunn.sklearn.losses import HalfPoissonDeviance, SummedBinaryCrossEntropy
from gpunn.training.batches.dataset import Subset

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(11, 3))


def objective(backend, loss, targets, weights=None, penalty=0.7, stream=False, layer_norm=False):
    norm = [layers.LayerNorm()] if layer_norm else []
    parts = [layers.Dense(4, "tanh"), *norm, layers.Dense(2)]
    model = gpunn.Sequential(parts, 3, backend, seed=1, dtype="float64")
    source = Dataset(model.backend, X, targets, weights, ("float64", "float64"), stream)
    return model, Objective(model, loss, penalty, Subset(source))


CASES = {
    "squares": (losses.MeanSquaredError("half_sum"), RANDOM.normal(size=(11, 2))),
    "classes": (losses.SoftmaxCrossEntropy(), RANDOM.integers(0, 2, 11)),
    "labels": (SummedBinaryCrossEntropy(), RANDOM.integers(0, 2, (11, 2)).astype(float)),
    "counts": (HalfPoissonDeviance(), RANDOM.poisson(2.0, (11, 2)).astype(float)),
}


WEIGHTS = RANDOM.random(11)


@pytest.mark.parametrize(
    ("case", "weights", "layer_norm"),
    [
        ("squares", None, True),
        ("classes", WEIGHTS, False),
        ("labels", WEIGHTS, True),
        ("counts", None, False),
    ],
)
def test_the_gradient_is_that_of_the_loss(host_backend, case, weights, layer_norm):
    model, f = objective(host_backend, *CASES[case], weights, layer_norm=layer_norm)
    vector = model.backend.to_host(model.parameters.values)
    _, gradient = f(vector)
    used = np.zeros(len(vector), bool)
    for name in model.parameters:
        before = model.backend.to_host(model.parameters.values)
        model.parameters[name] = np.full(model.parameters.specs[name].shape, np.pi)
        used |= model.backend.to_host(model.parameters.values) != before
    for index in np.flatnonzero(used):
        step = np.zeros(len(vector))
        step[index] = 1e-6
        difference = (f(vector + step)[0] - f(vector - step)[0]) / 2e-6
        assert gradient[index] == pytest.approx(difference, abs=1e-8)
    assert not gradient[~used].any()  # the space between parameters


@pytest.mark.parametrize("stream", [False, True], ids=["resident", "streamed"])
def test_chunks_do_not_matter(monkeypatch, stream):
    model, whole = objective("numpy", *CASES["classes"], np.linspace(0, 1, 11))
    vector = model.backend.to_host(model.parameters.values)
    value, gradient = whole(vector)
    monkeypatch.setattr(lbfgs, "CHUNK_ROWS", 3)
    monkeypatch.setattr("gpunn.data.batches.STREAM_BYTES", 300)
    _, parts = objective("numpy", *CASES["classes"], np.linspace(0, 1, 11), stream=stream)
    for _ in range(2):
        assert parts(vector)[0] == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(parts(vector)[1], gradient, atol=1e-14)


def test_progress_is_printed(capsys):
    model, f = objective("numpy", *CASES["squares"])
    start = model.backend.to_host(model.parameters.values)
    _, loss, iterations = lbfgs.minimize(
        f, start, max_iter=200, max_fun=1000, tol=1e-5, verbose=True
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"Iteration {iterations}, loss = {loss:.8f}"
    assert len(lines) == iterations
