"""Warnings about probable mistakes, and no false warnings."""

import warnings

import numpy as np
import pytest

import gpunn
from gpunn.data.splits import split_rows
from gpunn.errors import ArgumentError, GpunnWarning
from gpunn.layers import (
    Activation,
    BatchNorm,
    Chain,
    Dense,
    Flatten,
    LayerNorm,
    MeanOverMembers,
    MemberDense,
    Members,
    Rescaling,
)

random = np.random.default_rng(0)
X = random.normal(size=(200, 3))
LABELS = (X[:, 0] > 0).astype(int)
NUMBERS = X[:, 0] + 0.1 * random.normal(size=200)


def fit(layers, loss, y, metrics=(), **options):
    model = gpunn.Sequential(layers, 3, backend="numpy", seed=0)
    trainer = gpunn.Trainer(model, loss, "sgd", metrics)
    trainer.fit(X, y, epochs=0, progress=False, **options)
    return trainer


@pytest.mark.parametrize(
    "activation", ["sigmoid", "relu", "tanh", "softplus", "elu", "gelu", "exact_gelu"]
)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "binary_cross_entropy", "poisson"])
def test_an_activation_before_a_loss_that_takes_any_number(activation, loss):
    units = 2 if loss.startswith("softmax") else 1
    expected = rf"layer 'dense_1': with its activation '{activation}', .*'{loss}' expects .*Remove"
    with pytest.warns(GpunnWarning, match=expected):
        fit([Dense(units, activation)], loss, LABELS)
    with pytest.warns(GpunnWarning, match="layer 'activation_1'"):
        fit([Dense(units), Activation(activation)], loss, LABELS)
    with pytest.warns(GpunnWarning, match="layer 'last'"):
        fit([Dense(units, activation, label="last"), Rescaling(2.0)], loss, LABELS)


@pytest.mark.parametrize(
    ("activation", "y"),
    [("relu", NUMBERS), ("sigmoid", 3 * LABELS), ("tanh", NUMBERS * 2), ("softplus", NUMBERS)],
)
def test_targets_that_the_last_layer_cannot_give(activation, y):
    with pytest.warns(GpunnWarning, match=f"'{activation}', outputs are .* the targets are from"):
        fit([Dense(1, activation)], "mean_squared_error", y)


@pytest.mark.parametrize("metric", ["mean_absolute_error", "root_mean_squared_error", "r2"])
def test_a_metric_that_compares_targets_with_logarithms(metric):
    with pytest.warns(GpunnWarning, match=f"'{metric}' .* the loss 'gamma' are logarithms"):
        fit([Dense(1)], "gamma", LABELS + 1.0, [metric])


@pytest.mark.parametrize(
    ("metric", "problem"),
    [
        ("binary_accuracy", "has a threshold, 0, that puts all"),
        ("f1", "has a threshold, 0, that puts all"),
        (gpunn.metrics.Recall(threshold=1.0), "has a threshold, 1, that"),
        ("log_loss", "expects logits"),
        ("brier_score", "expects logits"),
    ],
)
def test_a_metric_that_takes_logits_after_a_sigmoid(metric, problem):
    with pytest.warns(GpunnWarning, match=f"'sigmoid', outputs are from 0 to 1, but .*{problem}"):
        fit([Dense(1, "sigmoid")], "mean_squared_error", LABELS, [metric])


FAR = [(1e6, 1.0), (0.0, 1e3), (0.0, 0.01), (10.0, 1.0), (-300.0, 80.0), (1e6, 0.0)]


@pytest.mark.parametrize("loss", ["mean_squared_error", "mean_absolute_error", "huber", "quantile"])
@pytest.mark.parametrize(("mean", "deviation"), FAR)
def test_targets_of_another_scale(loss, mean, deviation):
    expected = r"^y: the targets have a mean of .* Standardize targets: .*predictions \* "
    with pytest.warns(GpunnWarning, match=expected):
        fit([Dense(1)], loss, mean + deviation * NUMBERS)


USUAL = [
    *(mean + deviation * NUMBERS for mean, deviation in [(0, 1), (2, 1.2), (22, 9), (50, 60)]),
    *(np.eye(200)[:, 0], np.eye(10)[np.arange(200) % 10], np.zeros(200), np.full(200, 3.0)),
]
"""Targets of a usual scale."""


@pytest.mark.parametrize(
    ("layers", "loss", "y", "metrics"),
    [
        # Outputs that may be any number.
        ([Dense(4, "relu"), Dense(2)], "softmax_cross_entropy", LABELS, []),
        ([Dense(2, "leaky_relu")], "softmax_cross_entropy", LABELS, []),
        ([Dense(2, "relu"), BatchNorm()], "softmax_cross_entropy", LABELS, []),
        (
            [Dense(4, "sigmoid"), Dense(2), Activation("identity"), Rescaling(3.0)],
            *("softmax_cross_entropy", LABELS, []),
        ),
        # Targets that a bounded last layer can give.
        ([Dense(1, "sigmoid")], "mean_squared_error", LABELS, []),
        ([Dense(1, "relu")], "huber", np.abs(NUMBERS), []),
        ([Dense(1, "sigmoid"), Rescaling(10.0, -5.0)], "mean_squared_error", NUMBERS, []),
        # Metrics that can judge it.
        (
            *([Dense(1, "sigmoid")], "mean_squared_error", LABELS),
            [gpunn.metrics.BinaryAccuracy(0.5), gpunn.metrics.F1(threshold=0.5), "auc"],
        ),
        ([Dense(1, "tanh")], "mean_squared_error", LABELS, ["binary_accuracy", "f1"]),
        ([Dense(1, "relu")], "mean_squared_error", LABELS, ["binary_accuracy"]),
        ([Dense(2, "sigmoid")], "mean_squared_error", np.eye(2)[LABELS], ["f1", "accuracy"]),
        *(([Dense(y[0].size)], "mean_squared_error", y, []) for y in USUAL),
        # A last layer that scales.
        ([Dense(1), Rescaling(1.0, 1e6)], "mean_squared_error", 1e6 + NUMBERS, []),
        ([Dense(1), Rescaling(700.0, 5e4)], "mean_squared_error", 5e4 + 700 * NUMBERS, []),
    ],
)
def test_what_can_be_meant_is_not_warned_of(layers, loss, y, metrics):
    fit(layers, loss, y, metrics)  # warnings are errors


def test_a_scale_of_the_last_layer_that_the_targets_do_not_have():
    with pytest.warns(GpunnWarning, match="standard deviation"):
        fit([Dense(1), Rescaling(700.0)], "mean_squared_error", NUMBERS)


def test_the_figures_are_those_of_the_training_rows():
    y = np.stack([NUMBERS, 5e4 + 700 * NUMBERS], axis=1)
    with pytest.warns(GpunnWarning) as caught:
        fit([Dense(2)], "mean_squared_error", y, validation_split=0.25)
    rows, _ = split_rows(200, 0.25, 0)
    message = str(caught[0].message)
    assert f"of output 1 have a mean of {y[rows, 1].mean():.4g} " in message
    assert f"standard deviation of {y[rows, 1].std():.4g}." in message


def test_the_warning_is_where_fit_was_called():
    with pytest.warns(GpunnWarning) as caught:
        fit([Dense(1)], "mean_squared_error", 1e6 + NUMBERS)
    assert caught[0].filename == __file__


def test_a_network_that_was_trained_before_is_not_warned_of_again():
    with pytest.warns(GpunnWarning):
        trainer = fit([Dense(1)], "mean_squared_error", 1e6 + NUMBERS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer.fit(X, 1e6 + NUMBERS, epochs=0, progress=False)


def test_targets_in_a_memory_map(tmp_path):
    np.save(tmp_path / "y.npy", 1e6 + NUMBERS)
    with pytest.warns(GpunnWarning, match=r"mean of 1e\+06"):
        fit([Dense(1)], "mean_squared_error", np.load(tmp_path / "y.npy", mmap_mode="r"))


def normalized(rows, layers=None, given=None, settings=None, **options):
    """Train two epochs with a layer that normalizes over the rows of a batch."""
    layers = layers or [Dense(4), BatchNorm(), Dense(1)]
    model = gpunn.Sequential(layers, options.pop("shape", 3), "numpy", seed=0)
    trainer = gpunn.Trainer(model, "mean_squared_error", **(settings or {}))
    arrays = (X[:rows], NUMBERS[:rows]) if given is None else (given,)
    trainer.fit(*arrays, epochs=options.pop("epochs", 2), progress=False, **options)


LOCAL = {"shards": 4, "batch_norm": "local"}


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (20, {"batch_size": 1}, r"each batch has one row.* Give batch_size=2 or more, or replace"),
        (20, {"batch_size": 1, "settings": {"gradient_accumulation": 4}}, "each batch has one"),
        (1, {}, "each batch has one row.* Give more rows, and batch_size=2 or more, or replace"),
        (20, {"batch_size": 1, "layers": [Chain([Dense(4), BatchNorm()]), Dense(1)]}, "'chain_1'"),
        (24, {"batch_size": 6, "settings": LOCAL}, r"a shard of each batch \(4 shards\) has one"),
        (0, {"given": [(X[:1], NUMBERS[:1])] * 3, "batch_size": 1}, "each batch has one row"),
    ],
)
def test_batches_of_one_row_can_not_be_normalized(rows, options, message):
    with pytest.raises(ArgumentError, match=f"(?=.*{message})batch_size: layer .* normalizes"):
        normalized(rows, **options)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (21, {"batch_size": 5}, r"21 rows in batches of 5 leave one row for the last batch of an"),
        (21, {"batch_size": 5, "settings": {"gradient_accumulation": 3}}, "21 rows in batches"),
        (27, {"batch_size": 5, "validation_split": 0.22}, "21 rows in batches of 5 leave one row"),
        (21, {"batch_size": 8, "settings": LOCAL}, r"for a shard of the last .* \(4 shards\)"),
        (0, {"given": [(X[:4], NUMBERS[:4]), (X[:1], NUMBERS[:1])]}, "a batch of X has one row"),
        (
            0,
            {
                "given": [(X[:4], NUMBERS[:4]), (X[:1], NUMBERS[:1])] * 2,
                "settings": {"gradient_accumulation": 2},
            },
            "a batch of X has one row.*Yield batches of two rows",
        ),
    ],
)
def test_a_last_batch_of_one_row_is_warned_of_once(rows, options, message):
    with pytest.warns(GpunnWarning, match=f"layer 'batch_norm_1': normalizes .*{message}") as all:
        normalized(rows, **options)
    assert [warning.filename for warning in all] == [__file__]


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (22, {"batch_size": 5}),
        (21, {"batch_size": 5, "drop_last": True}),
        (1, {"epochs": 0}),
        (20, {"batch_size": 1, "layers": [Dense(4), LayerNorm(), Dense(1)]}),
        (21, {"batch_size": 5, "layers": [BatchNorm(trainable=False), Dense(1)]}),
        (24, {"batch_size": 8, "settings": LOCAL}),
        (0, {"given": [(X[:4], NUMBERS[:4]), (X[:2], NUMBERS[:2])]}),
        (0, {"given": [(X[:1], NUMBERS[:1])], "layers": [Dense(1)], "batch_size": 1}),
        (
            0,
            {
                "given": [(X[:1, :, None], NUMBERS[:1])],
                "batch_size": 1,
                "shape": (3, 1),
                "layers": [BatchNorm(), Flatten(), Dense(1)],
            },
        ),
        (
            21,
            {
                "batch_size": 5,
                "shuffle_members": True,
                "layers": [
                    *(BatchNorm(), Members(3)),
                    *(MemberDense(1, separate=True), MeanOverMembers()),
                ],
            },
        ),
    ],
)
def test_what_has_several_rows_trains_quietly(rows, options):
    normalized(rows, **options)
