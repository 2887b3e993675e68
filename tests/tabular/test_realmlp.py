"""RealMLP, as in its paper and its authors' program."""

from functools import partial

import numpy as np
import pytest
from tabular.example import FRAME, network, trained

import gpunn
from gpunn.errors import ArgumentError
from gpunn.tables import Schema
from gpunn.tabular import realmlp, tabm

SCHEMA = Schema.fit(FRAME)
X = SCHEMA.encode(FRAME)


def test_td():
    recipe = realmlp(SCHEMA, X, 3, "classification", hidden_layer_sizes=(8, 7))
    block = ["dense", "parametric_activation", "dropout"]
    names = [layer.name for layer in recipe.layers]
    assert names == ["column_groups", "scale", *block, *block, "dense"]
    # 2 numbers as 4 each, an indicator, an output for each color, a town as 8 numbers, and a sign.
    assert network(recipe, SCHEMA).shapes[0] == (2 * 4 + 1 + 3 + 8 + 1,)
    assert recipe.layers[3].f.name == "selu"
    assert recipe.loss.label_smoothing == 0
    assert recipe.optimizer.learning_rate.rate == 0.04
    assert recipe.options["callbacks"][0].monitor == "val_log_loss"
    assert recipe.options["callbacks"][0].ties == "last"
    assert recipe.options["drop_last"]


def test_accuracy_instead_of_log_loss():
    recipe = realmlp(SCHEMA, X, 3, "classification", metric="accuracy")
    assert recipe.options["callbacks"][0].monitor == "val_accuracy"
    assert recipe.loss.label_smoothing == 0.1


@pytest.mark.parametrize(
    ("task", "metric", "metrics", "validation_metrics"),
    [
        ("classification", None, ["accuracy"], ["log_loss", "auc"]),
        ("classification", "accuracy", ["accuracy"], ["log_loss", "auc"]),
        ("classification", "brier_score", ["brier_score", "accuracy"], ["log_loss", "auc"]),
        ("multilabel", None, ["binary_accuracy"], ["log_loss", "auc"]),
        ("regression", None, ["r2"], []),
    ],
)
def test_metrics(task, metric, metrics, validation_metrics):
    recipe = realmlp(SCHEMA, X, 2, task, metric=metric)
    assert (recipe.metrics, recipe.validation_metrics) == (metrics, validation_metrics)


def test_td_for_regression():
    recipe = realmlp(SCHEMA, X, 2, "regression")
    assert recipe.layers[3].f.name == "mish"
    assert recipe.layers[-1].name == "target_scaling"
    assert recipe.layers[-1].clip
    assert recipe.optimizer.learning_rate.rate == 0.2
    assert recipe.metric == "r2"
    assert realmlp(SCHEMA, X, 1, "regression").metric == "root_mean_squared_error"
    recipe = realmlp(SCHEMA, X, 1, "regression", target_transform="log")
    assert (recipe.metric, recipe.metrics, recipe.layers[-1].log) == ("loss", ["r2"], True)


def test_simplified():
    recipe = realmlp(SCHEMA, X, 1, "regression", simplified=True, hidden_layer_sizes=(8,))
    names = [layer.name for layer in recipe.layers]
    assert names == ["column_groups", "scale", "dense", "dense", "target_scaling"]
    model = network(recipe, SCHEMA)
    assert model.shapes[0] == (3 + 3 + 12 + 1,)
    assert recipe.optimizer.learning_rate.rate == 0.07
    assert recipe.optimizer.weight_decay == 0
    values = model.parameters.to_host()
    assert not values["dense_2.weights"].any()
    assert not values["dense_2.biases"].any()
    assert abs(values["dense_1.weights"].std() - 1) < 0.2


@pytest.mark.parametrize(
    ("end", "rate", "decay"),
    [
        ("scale_1.factors", 6, 36),
        ("dense_1.weights", 1, 1),
        ("dense_1.biases", 0.1, 0),
        ("parametric_activation_1.alpha", 0.1, 0.01),
        ("frequencies", 0.1, 0.01),
        ("phases", 0.1, 0.01),
        ("periodic_embedding_1.biases", 0.1, 0.01),
        ("table", 1, 1),
    ],
)
def test_factors(end, rate, decay):
    """The decay of an update is rate factor * decay factor * learning rate * weight decay."""
    recipe = realmlp(SCHEMA, X, 3, "classification", hidden_layer_sizes=(8,))
    specs = network(recipe, SCHEMA).parameters.specs
    (spec,) = [spec for name, spec in specs.items() if name.endswith(end)]
    factors = spec.factors(decay_all=False)
    assert factors[0] == pytest.approx(rate)
    assert factors[0] * factors[1] == pytest.approx(decay)


def test_schedules():
    optimizer = realmlp(SCHEMA, X, 3, "classification").optimizer
    progress = np.arange(4) / 4
    schedules = (optimizer.learning_rate, optimizer.weight_decay)
    rates, decays = (schedule.over_epoch(0, 4, 1) for schedule in schedules)
    bumps = 0.5 - 0.5 * np.cos(2 * np.pi * np.log2(1 + 15 * progress))
    np.testing.assert_allclose(rates, 0.04 * bumps, atol=1e-12)
    fading = np.where(progress < 0.5, 1, 0.5 * (1 + np.cos(np.pi * (2 * progress - 1))))
    np.testing.assert_allclose(decays, 0.02 * fading)


def test_one_hot_outputs_are_scaled_as_numbers_are():
    """By median and quartiles (by the range where these are equal), then the smooth limit."""
    recipe = realmlp(SCHEMA, X, 3, "classification", hidden_layer_sizes=(8,))
    values = network(recipe, SCHEMA).parameters.to_host()
    (levels,) = [
        value for name, value in values.items() if name.endswith("levels") and value.shape == (3, 3)
    ]
    codes = X[:, SCHEMA.names.index("color")]
    for category in (1, 2, 3):
        column = (codes == category).astype(float)
        q25, median, q75 = np.quantile(column, [0.25, 0.5, 0.75])
        factor = 1 / (q75 - q25) if q75 > q25 else 2.0
        z = (np.array([0, 1]) - median) * factor
        expected = z / np.sqrt(1 + (z / 3) ** 2)
        np.testing.assert_allclose(levels[:2, category - 1], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"number_embedding": "waves"}, "number_embedding: .*'waves'"),
        ({"outputs": 1}, "outputs"),
        ({"task": "ranking"}, "task"),
        ({"X": X[:, 1:]}, "X: expected the training rows as schema.encode"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes"),
        ({"metric": "roc_auc"}, "metric: there is no metric 'roc_auc'; use 'auc'"),
        ({"metric": "r2"}, "metric: 'r2' evaluates numbers, so it does not fit classification"),
        ({"metric": "binary_accuracy"}, "metric: 'binary_accuracy' evaluates numbers"),
        ({"metric": "f1", "outputs": 3}, "metric: 'f1' evaluates one of two classes, but .* 3"),
        ({"metric": "accuracy", "task": "regression"}, "metric: 'accuracy' evaluates classes"),
        ({"target_transform": "log"}, "target_transform: needs the task 'regression'; got"),
        ({"target_transform": "sqrt"}, "target_transform: there is no target_transform 'sqrt'"),
    ],
)
def test_invalid_arguments(options, message):
    given = {"schema": SCHEMA, "X": X, "outputs": 3, "task": "classification", **options}
    with pytest.raises(ArgumentError, match=message):
        realmlp(**given)


@pytest.mark.parametrize("simplified", [False, True])
def test_it_learns(simplified):
    y = (FRAME["size"] > 0).astype(int)
    options = {"hidden_layer_sizes": (16,), "epochs": 8, "batch_size": 16}
    recipe = realmlp(SCHEMA, X, 2, "classification", simplified=simplified, **options)
    assert trained(recipe, SCHEMA, y).evaluate(FRAME, y)["accuracy"] > 0.9


@pytest.mark.parametrize("make", [realmlp, partial(tabm, members=2)])
def test_quantiles(make):
    recipe = make(SCHEMA, X, 1, "regression", quantiles=[0.1, 0.5, 0.9], hidden_layer_sizes=[8])
    assert recipe.loss == gpunn.losses.Quantiles([0.1, 0.5, 0.9])
    assert recipe.options["callbacks"][0].monitor == "val_loss"
    assert [layer.name for layer in recipe.layers[-2:]] == ["sorted_outputs", "target_scaling"]
    for task, outputs in (("regression", 2), ("classification", 2)):
        with pytest.raises(ArgumentError, match="quantiles: needs regression with one target"):
            make(SCHEMA, X, outputs, task, quantiles=[0.5])
