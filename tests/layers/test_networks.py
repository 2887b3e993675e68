"""The chain rule through complete networks, including losses and weights."""

import numpy as np
import pytest
from numerical import assert_gradient

import gpunn
from gpunn import losses
from gpunn.layers import Activation, BatchNorm, Dense, Dropout, Flatten, LayerNorm, Rescaling
from gpunn.workspace import Workspace

NETWORKS = {
    "dense": lambda: [Dense(5, "tanh"), Dense(4, "gelu", bias=False), Dense(3)],
    "normalized": lambda: [Dense(5), BatchNorm(), Activation("silu"), LayerNorm(), Dense(3)],
    "dropout": lambda: [Dropout(0.2), Dense(6, "elu"), Dropout(0.5), Dense(3)],
    "images": lambda: [Rescaling(0.5, 0.1), Flatten(), Dense(5, "softplus"), Dense(3, "mish")],
}
ROWS = 7


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "loss", [losses.SoftmaxCrossEntropy(0.1), losses.MeanSquaredError(), losses.Poisson()], ids=repr
)
@pytest.mark.parametrize("network", NETWORKS)
def test_gradient_of_every_parameter(host_backend, network, loss, weighted):
    ops = host_backend
    shape = (2, 3) if network == "images" else (6,)
    model = gpunn.Sequential(NETWORKS[network](), shape, ops, seed=1, dtype="float64")
    g = np.random.default_rng(0)
    x, w = g.standard_normal((ROWS, *shape)), g.random(ROWS) if weighted else np.ones(ROWS)
    t = np.eye(3)[g.integers(0, 3, ROWS)]
    workspace = Workspace(ops, "float64", ROWS, training=True)
    normalizer, dp = np.array([w.sum()]), np.empty((ROWS, 3))

    def value() -> float:
        total = np.zeros(1)
        outputs = model.forward(x, workspace)
        ops.loss(loss, outputs[-1], t, w, normalizer, None, total)
        return total.item() / w.sum()

    outputs = model.forward(x, workspace)
    ops.loss(loss, outputs[-1], t, w, normalizer, dp, np.zeros(1))
    model.backward(outputs, dp, workspace)
    actual = model.parameters.gradients.copy()
    assert_gradient(actual, value, model.parameters.values)
    assert np.count_nonzero(actual) > model.parameters.count / 2
