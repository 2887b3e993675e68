"""Compare tabular layers with the authors' PyTorch modules, if these are installed."""

from functools import partial

import numpy as np
import pytest
from layers.checking import attached
from layers.test_every_layer import EDGES

from gpunn import layers
from gpunn.backends.numpy import NumpyBackend
from gpunn.workspace import Workspace

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

ROWS, COLUMNS, TOLERANCE = 23, 4, 1e-9
RANDOM = np.random.default_rng(0)


def trained_arrays(layer, shape):
    parameters = attached(layer, shape, NumpyBackend())
    for spec in layer.parameters(shape):
        if not spec.trainable:
            parameters[f"it.{spec.name}"] = spec.initializer.sample(RANDOM, spec.shape)
    return parameters


def compare(layer, module, shape, pairs):
    for name, parameter, arranged in pairs:
        parameter.data = torch.from_numpy(np.array(arranged(layer.values[name])))
    x = 2 * RANDOM.standard_normal((ROWS, *shape))
    workspace = Workspace(NumpyBackend(), "float64", ROWS, training=True)
    y = layer.forward(x, workspace)
    given = torch.from_numpy(x).requires_grad_()
    expected = module(given)
    expected = expected.reshape(y.shape)
    np.testing.assert_allclose(y, expected.detach().numpy(), TOLERANCE, TOLERANCE)
    gradient = RANDOM.standard_normal(y.shape)
    expected.backward(torch.from_numpy(gradient))
    dx = layer.backward(x, y, gradient.copy(), workspace, True)
    np.testing.assert_allclose(dx, given.grad.numpy(), TOLERANCE, TOLERANCE)
    for name, parameter, arranged in pairs:
        actual = arranged(layer.gradients[name])
        np.testing.assert_allclose(actual, parameter.grad.numpy(), TOLERANCE, TOLERANCE)


def parameters_like(layer, names):
    own = {
        name: torch.nn.Parameter(torch.zeros(layer.values[name].shape, dtype=torch.float64))
        for name in names
    }
    return own, [(name, parameter, same) for name, parameter in own.items()]


def same(array):
    return array


def transposed(array):
    return array.T


@pytest.fixture
def embeddings():
    return pytest.importorskip("rtdl_num_embeddings", reason="it is not installed")


@pytest.fixture
def tabm():
    return pytest.importorskip("tabm", reason="it is not installed")


@pytest.mark.parametrize(
    ("kind", "lite"), [("pl", False), ("plr", False), ("plr", True)], ids=["pl", "plr", "lite"]
)
def test_periodic_embeddings(embeddings, kind, lite):
    layer = layers.PeriodicEmbedding(6, 5, 0.3, kind, lite)
    trained_arrays(layer, (COLUMNS,))
    module = embeddings.PeriodicEmbeddings(
        COLUMNS, 5, n_frequencies=6, activation=kind == "plr", lite=lite
    )
    compare(
        layer,
        module.double(),
        (COLUMNS,),
        [
            ("frequencies", module.periodic.weight, same),
            ("weights", module.linear.weight, transposed if lite else same),
            ("biases", module.linear.bias, same),
        ],
    )


@pytest.mark.filterwarnings("ignore:The 1-th feature has just two bin edges")
@pytest.mark.parametrize("activation", [False, True])
@pytest.mark.parametrize("version", ["A", "B"])
def test_piecewise_linear_embeddings(embeddings, version, activation):
    layer = layers.PiecewiseLinearEmbedding(EDGES, 5, version, "relu" if activation else "identity")
    trained_arrays(layer, (COLUMNS,))
    bins = [torch.tensor(edges, dtype=torch.float64) for edges in EDGES]
    module = embeddings.PiecewiseLinearEmbeddings(bins, 5, activation=activation, version=version)

    def last_bin_last(array):
        """Arrange weights as in the module, where the last bin of each column comes last."""
        result = np.zeros_like(array)
        for column, edges in enumerate(EDGES):
            last = len(edges) - 2
            result[column, :last], result[column, -1] = array[column, :last], array[column, last]
        return result

    module.double()
    for column, edges in enumerate(bins):  # the module rounds them to float32
        width = edges.diff()
        last = len(width) - 1
        for target, values in (
            (module.impl.weight, 1 / width),
            (module.impl.bias, -edges[:-1] / width),
        ):
            target[column, :last], target[column, -1] = values[:-1], values[-1]
    pairs = [("weights", module.linear.weight, last_bin_last)]
    if version == "A":
        pairs.append(("biases", module.linear.bias, same))
    else:
        pairs.append(("linear_weights", module.linear0.weight, same))
        pairs.append(("biases", module.linear0.bias, same))
    compare(layer, module, (COLUMNS,), pairs)


def test_pbld():
    """RealMLP's embedding, by its formula."""
    layer = layers.PeriodicEmbedding(6, 3, 0.3)
    trained_arrays(layer, (COLUMNS,))
    own, pairs = parameters_like(layer, ("frequencies", "phases", "weights", "biases"))

    def embedding(x):
        angle = 2 * torch.pi * own["frequencies"] * x[:, :, None] + own["phases"]
        linear = torch.einsum("rck,cko->rco", torch.cos(angle), own["weights"]) + own["biases"]
        return torch.cat([linear, x[:, :, None]], dim=2)

    compare(layer, embedding, (COLUMNS,), pairs)


@pytest.mark.parametrize("activation", ["selu", "mish"])
def test_blocks_of_realmlp(activation):
    f = getattr(torch.nn.functional, activation)
    scale, dense = layers.Scale(), layers.Dense(5, parametrization="ntp")
    parametric = layers.ParametricActivation(activation)
    for layer, names, formula in (
        (scale, ("factors",), lambda x, factors: factors * x),
        (dense, ("weights", "biases"), lambda x, W, b: x @ W / COLUMNS**0.5 + b),
        (parametric, ("alpha",), lambda x, alpha: x + alpha * (f(x) - x)),
    ):
        trained_arrays(layer, (COLUMNS,))
        own, pairs = parameters_like(layer, names)
        compare(layer, partial(with_arrays, formula, own), (COLUMNS,), pairs)


def with_arrays(formula, own, x):
    return formula(x, *own.values())


MEMBERS = {
    "factors": (
        lambda: layers.Members(3, "normal"),
        lambda tabm: tabm.ElementwiseAffine((3, 5), bias=False, scaling_init="normal"),
        {"factors": ("weight", same)},
    ),
    "adapters": (
        lambda: layers.MemberDense(4),
        lambda tabm: tabm.LinearBatchEnsemble(5, 4, k=3, scaling_init="ones"),
        {
            "weights": ("weight", transposed),
            "input_adapter": ("r", same),
            "output_adapter": ("s", same),
            "biases": ("bias", same),
        },
    ),
    "of their own": (
        lambda: layers.MemberDense(4, "relu", separate=True),
        lambda tabm: tabm.LinearEnsemble(5, 4, k=3),
        {"weights": ("weight", same), "biases": ("bias", same)},
    ),
    "shared": (
        lambda: layers.MemberDense(4, "relu", adapters=False),
        lambda tabm: torch.nn.Linear(5, 4),
        {"weights": ("weight", transposed), "biases": ("bias", same)},
    ),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_members(tabm, name):
    make, make_module, arrays = MEMBERS[name]
    layer, module = make(), make_module(tabm).double()
    trained_arrays(layer, (3, 5))
    pairs = [(own, getattr(module, its), arranged) for own, (its, arranged) in arrays.items()]
    f = torch.relu if "ReLU" in repr(layer) else same
    compare(layer, lambda x: f(module(x)), (3, 5), pairs)
