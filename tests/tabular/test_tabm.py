"""TabM, as in its paper and in the package `tabm`."""

import numpy as np
import pytest
from tabular.example import FRAME, network, trained

from gpunn.errors import ArgumentError
from gpunn.tables import Schema
from gpunn.tabular import quantile_edges, tabm
from gpunn.tabular.columns import default_bins

SCHEMA = Schema.fit(FRAME, scaling="quantile")
X = SCHEMA.encode(FRAME)
SMALL = {"members": 3, "hidden_layer_sizes": (8, 8), "bins": 4, "embedding_size": 2}


def arrays(recipe):
    values = network(recipe, SCHEMA).parameters.to_host()
    return {name: value for name, value in values.items() if "group" not in name}


def shapes(values):
    return {name: value.shape for name, value in values.items()}


def test_mini():
    recipe = tabm(SCHEMA, X, 4, "classification", **SMALL)
    # Two numbers as 2 each, an indicator, and an output for each of 3, 12 and 2 categories.
    width = 2 * 2 + 1 + 3 + 12 + 2
    values = arrays(recipe)
    assert shapes(values) == {
        "members_1.factors": (3, width),
        "member_dense_1.weights": (width, 8),
        "member_dense_1.biases": (8,),
        "member_dense_2.weights": (8, 8),
        "member_dense_2.biases": (8,),
        "member_dense_3.weights": (3, 8, 4),
        "member_dense_3.biases": (3, 4),
    }
    assert recipe.layers[-1].of == "softmax"
    assert recipe.options["batch_size"] == 60
    factors = values["members_1.factors"]
    starts = [0, 2, 4, 5, 8, 20]  # start of each column
    for start, stop in zip(starts, [*starts[1:], width], strict=True):
        assert (factors[:, start:stop] == factors[:, start : start + 1]).all()
    assert len(np.unique(factors[0])) == len(starts)


def test_full():
    recipe = tabm(SCHEMA, X, 1, "regression", kind="full", number_embedding="none", **SMALL)
    width = 2 + 1 + 3 + 12 + 2
    values = arrays(recipe)
    assert shapes(values) == {
        "members_1.factors": (3, width),
        "member_dense_1.weights": (width, 8),
        "member_dense_1.output_adapter": (3, 8),
        "member_dense_1.biases": (3, 8),
        "member_dense_2.weights": (8, 8),
        "member_dense_2.input_adapter": (3, 8),
        "member_dense_2.output_adapter": (3, 8),
        "member_dense_2.biases": (3, 8),
        "member_dense_3.weights": (3, 8, 1),
        "member_dense_3.biases": (3, 1),
        **{f"target_scaling_1.{name}": (1,) for name in ("mean", "deviation", "least", "largest")},
    }
    assert set(np.unique(values["members_1.factors"])) == {-1, 1}


def test_packed():
    recipe = tabm(SCHEMA, X, 1, "regression", kind="packed", **SMALL)
    specs = network(recipe, SCHEMA).parameters.specs
    assert specs["member_dense_2.weights"].shape == (3, 8, 8)
    assert not specs["members_1.factors"].trainable


def test_defaults():
    def units(recipe):
        return [layer.units for layer in recipe.layers if hasattr(layer, "units")]

    recipe = tabm(SCHEMA, X, 1, "regression")
    assert units(recipe) == [512, 512, 1]
    assert units(tabm(SCHEMA, X, 1, "regression", number_embedding="none")) == [512] * 3 + [1]
    optimizer = recipe.optimizer
    assert (optimizer.learning_rate.rate, optimizer.weight_decay) == (0.002, 0.0003)
    assert optimizer.max_norm == 1
    assert not recipe.layers[-1].clip


@pytest.mark.parametrize(("rows", "bins"), [(640, 48), (16_000, 100), (64_000, 128)])
def test_large_tables_have_more_bins(rows, bins):
    numbers = {"income": np.arange(float(rows))}
    schema = Schema.fit(numbers, scaling="quantile")
    (edges,) = tabm(schema, schema.encode(numbers), 1, "regression").layers[0].edges
    assert len(edges) == bins + 1


@pytest.mark.parametrize(
    ("counts", "bins"), [((8, 8), 249), ((7, 7), 198), ((4, 4), 48), ((3, 3), 48), ((2, 14), 48)]
)
def test_numbers_that_occur_equally_often_are_edges(counts, bins):
    """The columns before and after have fewer bins, so they have separate layers."""
    days = np.repeat(np.arange(250.0), counts * 125)
    income = np.arange(float(len(days)))
    table = {"income": income, "day": days, "price": income}
    schema = Schema.fit(table, scaling="quantile")
    recipe = tabm(schema, schema.encode(table), 1, "regression")
    first, *_ = network(recipe, schema).layers
    layers = [each for part in first.parts for each in part.chain] if bins > 48 else [first]
    assert [len(edges) - 1 for layer in layers for edges in layer.edges] == [48, bins, 48]


def test_each_of_100_numbers_is_an_edge_of_100_bins():
    """By chance, some numbers have less than a hundredth of the rows."""
    x = np.random.default_rng(0).integers(0, 100, 16_000).astype(float)
    assert quantile_edges(x, default_bins(x)) == list(range(100))
    assert len(quantile_edges(x, bins=100)) < 100


def test_a_frequent_number_does_not_take_the_edges_of_the_others():
    """Missing values all become one number."""
    x = np.random.default_rng(0).integers(0, 200, 3_000).astype(float)
    x[::20] = 99.5
    assert quantile_edges(x, default_bins(x)) == sorted({*range(200), 99.5})


@pytest.mark.parametrize(
    ("rows", "task", "patience"),
    [
        (60, "regression", 256),
        (700, "classification", 86),
        (6400, "regression", 32),
        (20_000, "regression", 32),
        (20_000, "classification", 24),
    ],
)
def test_patience_is_in_epochs_and_updates(rows, task, patience):
    """A table of 700 rows has 3 updates an epoch, so 86 epochs have 256."""
    recipe = tabm(SCHEMA, np.resize(X, (rows, SCHEMA.width)), 2, task)
    assert recipe.options["callbacks"][0].patience == patience


def test_edges_are_quantiles():
    recipe = tabm(SCHEMA, X, 1, "regression", **SMALL)
    embedding = next(iter(recipe.layers[0].children().values())).layers[0]
    expected = np.quantile(X[:, 0].astype(float), [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(embedding.edges[0], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "maxi"}, "kind: .*'maxi'"),
        ({"members": 0}, "count"),
        ({"number_embedding": "waves"}, "number_embedding"),
        ({"patience": 0}, "patience"),
        ({"metric": "binary_accuracy"}, "metric: 'binary_accuracy' evaluates classes"),
    ],
)
def test_invalid_arguments(options, message):
    with pytest.raises(ArgumentError, match=message):
        tabm(SCHEMA, X, 1, "regression", **options)


@pytest.mark.parametrize(
    ("kind", "own_order"), [("mini", False), ("mini", True), ("full", False), ("packed", True)]
)
def test_it_learns(kind, own_order):
    y = 100 + 10 * FRAME["size"]
    options = {**SMALL, "learning_rate": 0.02, "dropout": 0.0, "batch_size": 16}
    options["shuffle_members"] = own_order
    recipe = tabm(SCHEMA, X, 1, "regression", kind=kind, epochs=20, **options)
    assert trained(recipe, SCHEMA, y).evaluate(FRAME, y)["root_mean_squared_error"] < 3
