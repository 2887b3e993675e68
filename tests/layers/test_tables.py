"""The layers of tabular models: values, derivatives, files, errors."""

import copy
import math

import numpy as np
import pytest
from layers.checking import attached, run
from layers.test_every_layer import EDGES, groups

import gpunn
from gpunn import initializers
from gpunn.errors import ArgumentError
from gpunn.layers import (
    BatchNorm,
    ColumnGroups,
    Dense,
    Embedding,
    LayerNorm,
    MemberDense,
    Members,
    OneHot,
    ParametricActivation,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    Scale,
    Standardization,
)
from gpunn.workspace import Workspace


def output(backend, layer, x):
    x = np.asarray(x, dtype="float32")
    model = gpunn.Sequential([layer], x.shape[1:], backend)
    return model.predict(x)


CODES = [[0, 2, 1], [3, 1, 0], [1, 0, 2], [7, -1, 5]]


@pytest.mark.parametrize(
    ("layer", "codes", "expected"),
    [
        (
            OneHot([4, 3, 3]),
            CODES,
            [[0, 0, 0, -1, 1], [0, 0, 1, 1, 0], [1, 0, 0, 0, -1], [0, 0, 0, 0, 0]],
        ),
        (
            OneHot([4, 3, 2], binary_as_sign=False),
            CODES,
            [[0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]],
        ),
        (
            OneHot([3, 3], off=[0.5, 0.25], on=2.0, second=[-3.0, -4.0]),
            [[0, 1], [1, 2], [2, 0]],
            [[0.5, 2.0], [2.0, -4.0], [-3.0, 0.25]],
        ),
    ],
)
def test_one_hot(backend, layer, codes, expected):
    assert output(backend, copy.deepcopy(layer), codes).tolist() == expected


def test_codes_have_no_derivative(backend):
    for layer in (OneHot([4, 3, 3]), Embedding([4, 3, 3], 2)):
        attached(layer, (3,), backend, "float32")
        workspace = Workspace(backend, "float32", 4, training=True)
        x = backend.from_host(np.array(CODES, "float32"))
        y = layer.forward(x, workspace)
        dx = layer.backward(x, y, backend.from_host(np.ones(y.shape, "float32")), workspace, True)
        assert not backend.to_host(dx).any()


def test_embedding_looks_up_and_adds_up(target):
    backend, dtype = target
    sizes, dimension, rows = [4, 3, 6], 2, 50
    layer = Embedding(sizes, dimension)
    table = attached(layer, (3,), backend, dtype).to_host()["it.table"]
    g = np.random.default_rng(3)
    codes = np.stack([g.integers(-1, size + 1, rows) for size in sizes], 1)
    known = np.where((codes >= 0) & (codes < sizes), codes, 0) + np.array([0, 4, 7])
    workspace = Workspace(backend, dtype, rows, training=True)
    x = backend.from_host(codes.astype(dtype))
    y = layer.forward(x, workspace)
    np.testing.assert_array_equal(backend.to_host(y), table[known].reshape(rows, -1))
    gradient = g.standard_normal((rows, 3 * dimension)).astype(dtype)
    layer.backward(x, y, backend.from_host(gradient.copy()), workspace, False)
    expected = np.zeros(table.shape)
    np.add.at(expected, known, gradient.astype("float64").reshape(rows, 3, dimension))
    actual = backend.to_host(layer.gradients["table"])
    np.testing.assert_allclose(actual, expected, 0, 30 * np.finfo(dtype).eps)


def test_groups_stand_side_by_side(backend):
    layer = ColumnGroups(
        [
            {"columns": [2, 4]},
            {"columns": [0, 2], "layers": [OneHot([3, 4]), Members(2, "ones")]},
        ]
    )
    y = output(backend, layer, [[1, 3, 0.5, 0.25], [2, 0, 7.0, 8.0]])
    assert y.tolist() == [
        [0.5, 0.25, 1, 0, 0, 1, 1, 0, 0, 1],
        [7.0, 8.0, -1, 0, 0, 0, -1, 0, 0, 0],
    ]


def test_names_of_the_parameters_of_groups():
    model = gpunn.Sequential([groups()], 7, "numpy")
    assert list(model.parameters) == [
        "column_groups_1.group_1.dense_1.weights",
        "column_groups_1.group_1.dense_1.biases",
        "column_groups_1.waves.periodic_embedding_1.frequencies",
        "column_groups_1.waves.periodic_embedding_1.phases",
        "column_groups_1.waves.periodic_embedding_1.weights",
        "column_groups_1.waves.periodic_embedding_1.biases",
    ]


def encoded(edges, x):
    """Return a column's encoding, component by component, as defined in the paper."""
    last = len(edges) - 2
    result = []
    for t in range(last + 1):
        p = (x - edges[t]) / (edges[t + 1] - edges[t])
        p = p if t == 0 else max(p, 0.0)
        result.append(p if t == last else min(p, 1.0))
    return result


@pytest.mark.parametrize("version", ["A", "B"])
def test_piecewise_linear_embedding(backend, version):
    layer = PiecewiseLinearEmbedding(EDGES, 2, version, "relu")
    values = attached(layer, (4,), backend, "float32").to_host()
    restored = {spec.name: spec for spec in layer.parameters((4,)) if not spec.trainable}
    for name, spec in restored.items():
        drawn = spec.initializer.sample(np.random.default_rng(0), spec.shape)
        backend.copy_from_host(drawn, layer.values[name])
    x = np.random.default_rng(0).uniform(-4, 4, (9, 4)).astype("float32")
    y = run(layer, backend.from_host(x), Workspace(backend, "float32", 9)).reshape(9, 4, 2)
    V, b = values["it.weights"], values["it.biases"]
    for row, column in np.ndindex(9, 4):
        p = np.array(encoded(EDGES[column], x[row, column]))
        z = p @ V[column, : len(p)]
        if version == "A":
            expected = np.maximum(z + b[column], 0)
        else:
            w = values["it.linear_weights"][column]
            expected = w * x[row, column] + b[column] + np.maximum(z, 0)
        np.testing.assert_allclose(y[row, column], expected, 1e-5, 1e-5)


def test_version_b_starts_as_a_linear_function(backend):
    x = np.array([[-5.0], [0.0], [5.0]])
    y = output(backend, PiecewiseLinearEmbedding([[-2.0, 0.0, 1.0]], 4), x)
    np.testing.assert_allclose(y[0] - y[1], y[1] - y[2], rtol=1e-5)


def test_initial_values():
    def drawn(layer, shape):
        return {spec.name: spec.initializer for spec in layer.parameters(shape)}

    uniform, normal = initializers.Uniform, initializers.Normal
    assert drawn(Embedding([3, 5], 4), (2,)) == {"table": normal(1.0)}
    pbld = drawn(PeriodicEmbedding(16, 3, 0.1), (4,))
    assert pbld == {
        "frequencies": normal(0.1),
        "phases": uniform(math.pi),
        "weights": uniform(0.25),
        "biases": uniform(0.25),
    }
    plr = drawn(PeriodicEmbedding(8, 3, 0.1, "plr"), (4,))
    assert plr["frequencies"] == initializers.TruncatedNormal(0.1)
    assert plr["weights"] == uniform(0.25)
    ntp = drawn(Dense(3, "selu", parametrization="ntp"), (4,))
    assert ntp == {"weights": normal(1.0), "biases": normal(1.0)}
    chunked = drawn(Members(2, "normal", [1, 3]), (4,))["factors"]
    assert chunked == initializers.Repeated(normal(1.0), (1, 3))
    adapted = drawn(MemberDense(3), (2, 16))
    assert adapted["biases"] == initializers.Repeated(uniform(0.25))
    assert adapted["weights"] == uniform(0.25)


def test_trained_and_decayed_parameters():
    def decays(layer, shape):
        return {spec.name: spec.decay for spec in layer.parameters(shape) if spec.trainable}

    assert decays(BatchNorm(), (4,)) == {"scale": False, "shift": False}
    assert decays(LayerNorm(), (4,)) == {"scale": False, "shift": False}
    assert decays(Standardization(), (4,)) == {}
    assert decays(Scale(), (3,)) == {"factors": False}
    assert decays(Embedding([3, 5], 4), (2,)) == {"table": True}
    assert decays(ParametricActivation(), (3,)) == {"alpha": False}
    assert decays(OneHot([3]), (1,)) == decays(Members(2, "fixed"), (3,)) == {}
    assert decays(PiecewiseLinearEmbedding(EDGES), (4,)) == {
        "linear_weights": True,
        "biases": False,
        "weights": True,
    }


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (OneHot([3, 4]), (3,), "one_hot: sizes has length 2; expected 3, one size"),
        (PiecewiseLinearEmbedding(EDGES), (3,), "edges has length 4; expected 3, one list"),
        (PeriodicEmbedding(), (2, 3), "periodic_embedding: expected rows of shape \\(features"),
        (Members(3), (2, 4), r"members: expected rows of shape \(features,\) or \(3, features\)"),
        (Members(3, chunks=[1, 2]), (4,), "chunks: the sum must be 4, the number of features"),
        (MemberDense(3), (4,), r"member_dense: .* Insert gpunn.layers.Members\(...\) before"),
        (groups(), (5,), "group 'waves' has columns 4 to 5, but a row has only columns 0 to 4"),
        (
            ColumnGroups([{"columns": [0, 2], "layers": [Dense(3), OneHot([3])]}]),
            (5,),
            "group 'group_1': layer 'one_hot_1': one_hot: sizes has length 1; expected 3, one",
        ),
    ],
)
def test_rows_that_do_not_fit(layer, shape, message):
    with pytest.raises(ArgumentError, match=message):
        gpunn.Sequential([layer], shape, "numpy")
