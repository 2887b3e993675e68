"""Trained networks that are combined into one, and separated again."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest

import gpunn
from gpunn import layers
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.interchange.steps import steps_of
from gpunn.losses import MeanSquaredError
from gpunn.tables import Schema
from gpunn.tabular import combined, separated

RANDOM = np.random.default_rng(0)
TABLE = {"age": RANDOM.normal(40, 9, 60).tolist(), "city": RANDOM.choice(["Oslo", "Rome"], 60)}
TARGETS = {"softmax": 3, "sigmoid": 2, "identity": 1}
LOSSES = {
    "softmax": "softmax_cross_entropy",
    "sigmoid": "binary_cross_entropy",
    "identity": "mean_squared_error",
}


def network(rows, seed, of, width=4):
    part = {name: np.asarray(cells)[rows] for name, cells in TABLE.items()}
    schema = Schema.fit(part, every=TABLE)
    last = [layers.TargetScaling()] if of == "identity" else []
    made = gpunn.Sequential(
        [layers.Dense(width, "tanh"), layers.Dense(TARGETS[of], label="last"), *last],
        *(schema.width, "numpy", seed),
    )
    made.schema, made.output_activation = schema, of
    if last:
        made.parameters["target_scaling_1.deviation"] = [20.0]
        made.parameters["target_scaling_1.largest"] = [5.0]
    return made


@pytest.mark.parametrize("counts", [None, (3, 1, 2)])
@pytest.mark.parametrize("of", TARGETS)
def test_predictions_are_means(of, counts, tmp_path):
    first = network(slice(40), 0, of)
    networks = [first, network(slice(20, 60), 1, of, width=7), first]
    made = combined(networks, counts)
    outputs = [each.predict(TABLE) for each in networks]
    if of != "identity":
        outputs = [each.predict_proba(TABLE) for each in networks]
        np.testing.assert_allclose(made.predict_proba(TABLE), np.average(outputs, 0, counts), 1e-5)
    else:
        np.testing.assert_allclose(made.predict(TABLE), np.average(outputs, 0, counts), 1e-5, 1e-5)
        assert outputs[0].max() == 5, "else nothing is clipped"
    assert made.input_shape == (2 * first.schema.width,), "two networks share a schema"
    made.save(tmp_path / "a")
    assert gpunn.load_model(tmp_path / "a").layers[0].counts == counts
    for again in (gpunn.load_model(tmp_path / "a", "numpy"), pickle.loads(pickle.dumps(made))):
        np.testing.assert_array_equal(again.predict(TABLE), made.predict(TABLE))
        for one, other in zip(separated(again), networks, strict=True):
            assert one.schema == other.schema
            assert one.output_activation == of
            np.testing.assert_array_equal(one.predict(TABLE), other.predict(TABLE))


def test_one_network_stays_as_it_is():
    only = network(slice(40), 0, "softmax")
    assert combined([only]) is only
    assert separated(only) == [only]


def test_memory_of_a_row():
    networks = [network(slice(40), seed, "softmax", width=50) for seed in range(4)]  # one schema
    inside = 4 * (2 + 50 + 3)
    assert combined(networks).bytes_per_row == 4 * (2 + inside + 3)


DIFFERENT = network(slice(20, 60), 0, "softmax")


def without(name):
    changed = network(slice(40), 0, "softmax")
    setattr(changed, name, None)
    return changed


@pytest.mark.parametrize(
    ("networks", "problem"),
    [
        ([], "networks: expected at least one network"),
        ([network(slice(40), 0, "softmax"), without("schema")], r"networks\[1\]: expected a train"),
        ([DIFFERENT, combined([DIFFERENT, network(slice(40), 0, "softmax")])], "with one schema"),
        ([without("output_activation")] * 2, r"networks\[0\]: expected a trained network"),
        ([network(slice(40), 0, of) for of in TARGETS], r"networks\[1\]: expected output_act"),
    ],
)
def test_networks_that_do_not_fit(networks, problem):
    with pytest.raises(ArgumentError, match=problem):
        combined(networks)


def test_estimators_are_no_networks():
    estimator = SimpleNamespace(network_=DIFFERENT)
    message = r"networks\[1\]: expected .*; got SimpleNamespace; pass its attribute network_"
    with pytest.raises(ArgumentTypeError, match=message):
        combined([DIFFERENT, estimator])


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        ([layers.Dense(2), layers.Dense(3)], r"vectors of the same size; got \[\(2,\), \(3,\)\]"),
        ([layers.Members(2), layers.Members(2)], r"vectors of the same size; got \[\(2, 3\)"),
    ],
)
def test_outputs_that_do_not_fit(outputs, problem):
    groups = [{"columns": [0, 3], "layers": [layer]} for layer in outputs]
    with pytest.raises(ArgumentError, match=problem):
        gpunn.Sequential([layers.Ensemble(groups)], 3, "numpy")


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        ([1], r"counts: expected one count for each of the 2 networks; got 1"),
        ([1, 0], r"counts\[1"),
    ],
)
def test_counts_that_do_not_fit(counts, problem):
    with pytest.raises(ArgumentError, match=problem):
        combined([network(slice(40), seed, "softmax") for seed in range(2)], counts)


@pytest.mark.parametrize("of", TARGETS)
def test_the_loss_is_that_of_the_mean(of):
    made = combined([network(slice(40), seed, of) for seed in range(2)])
    targets = np.arange(60) % 3 if of == "softmax" else np.eye(3)[:, : TARGETS[of]].repeat(20, 0)
    loss = LOSSES[of]
    expected = gpunn.Sequential([layers.Flatten()], TARGETS[of], "numpy")
    logs = gpunn.Trainer(expected, loss).evaluate(made.predict(TABLE), targets)
    assert gpunn.Trainer(made, loss).evaluate(TABLE, targets) == pytest.approx(logs)


def test_a_network_is_computed_once():
    made = combined([network(slice(40), seed, "softmax") for seed in range(2)], [3, 1])
    steps = steps_of(made).steps
    assert [step.function for step in steps].count("dense") == 4
    assert "columns 0 to 1, 3 times" in made.plot().svg


def test_an_ensemble_is_not_trained():
    made = combined([network(slice(40), seed, "identity") for seed in range(2)])
    trainer = gpunn.Trainer(made, MeanSquaredError())
    with pytest.raises(ArgumentError, match=r"'ensemble_1': .* train its networks separately"):
        trainer.fit(TABLE, np.zeros((60, 1)), epochs=1)


def test_a_damaged_file():
    made = combined([network(slice(40), 0, "softmax"), network(slice(20, 60), 1, "softmax")])
    group = {"columns": [1, 3], "layers": [layers.Dense(3)]}
    other = gpunn.Sequential([layers.Ensemble([group])], made.input_shape, "numpy")
    other.schema = made.schema
    with pytest.raises(ArgumentError, match="'group_1' starts at column 1, but no schema starts"):
        separated(other)
