"""Names from data and loss that a network stores, and data frames with reordered columns."""

import copy
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from equality import assert_same_bits
from safetensors import safe_open

import gpunn
from gpunn.errors import ArgumentError, ArgumentTypeError, DataError
from gpunn.meaning import probabilities

random = np.random.default_rng(0)
FRAME = pd.DataFrame(random.normal(size=(60, 3)) * [1, 10, 100], columns=["a", "b", "c"])
MOVED = FRAME[["c", "a", "b"]]
LABELS = (FRAME["a"] > 0).to_numpy().astype(int)


def network(outputs=2, inputs=3):
    layers = [gpunn.layers.Standardization(), gpunn.layers.Dense(outputs)]
    return gpunn.Sequential(layers, inputs, backend="numpy", seed=0)


def trained(X=FRAME, y=LABELS, loss="softmax_cross_entropy", outputs=2, **options):
    trainer = gpunn.Trainer(network(outputs), loss)
    trainer.fit(X, y, epochs=2, progress=False, **options)
    return trainer


def test_columns_are_matched_by_name_in_every_method(tmp_path):
    trainer = trained(validation_data=(MOVED, LABELS))
    model = trainer.model
    assert model.feature_names == ["a", "b", "c"]
    expected = model.predict(FRAME.to_numpy())
    np.testing.assert_array_equal(model.predict(FRAME), expected)
    np.testing.assert_array_equal(model.predict(MOVED), expected)
    np.testing.assert_array_equal(model.predict_proba(MOVED), model.predict_proba(FRAME))
    assert trainer.evaluate(MOVED, LABELS) == trainer.evaluate(FRAME, LABELS)
    # In batches of another size, so the sums round otherwise.
    last = trainer.history.rows[-1]["val_loss"]
    assert last == pytest.approx(trainer.evaluate(FRAME, LABELS)["loss"], rel=1e-6)
    model.save(tmp_path / "model.safetensors")
    loaded = gpunn.load_model(tmp_path / "model.safetensors", "numpy")
    assert loaded.feature_names == ["a", "b", "c"]
    np.testing.assert_array_equal(loaded.predict(MOVED), expected)


def test_further_training_takes_columns_by_name():
    one, other = trained(), trained()
    one.fit(FRAME, LABELS, progress=False)
    other.fit(MOVED, LABELS, progress=False)
    assert one.history.rows[-1]["loss"] == other.history.rows[-1]["loss"]


def test_missing_and_unknown_columns_are_refused_by_name():
    trainer = trained()
    renamed = FRAME.rename(columns={"b": "z"})
    for use in (
        lambda: trainer.model.predict(renamed),
        lambda: trainer.evaluate(renamed, LABELS),
        lambda: trainer.fit(renamed, LABELS, progress=False),
    ):
        with pytest.raises(DataError, match=r"^X: .*missing: 'b'; unknown: 'z'"):
            use()
    with pytest.raises(DataError, match=r"^validation X: .*missing: 'b'; unknown: 'z'"):
        trained(validation_data=(renamed, LABELS))


def test_nothing_is_remembered_of_a_refused_call():
    trainer = gpunn.Trainer(network(), "softmax_cross_entropy")
    with pytest.raises(DataError):
        trainer.fit(FRAME, LABELS + 5, progress=False)
    assert trainer.model.metadata == {}


def test_a_resumed_call_has_to_have_the_same_columns(tmp_path):
    trained().save_checkpoint(tmp_path / "a.safetensors")
    for frame, problem in (
        (MOVED, r"other columns of X: they were in the order 'a', 'b', 'c'"),
        (FRAME.rename(columns={"b": "z"}), "missing: 'b'; unknown: 'z'"),
    ):
        trainer = gpunn.Trainer(network(), "softmax_cross_entropy")
        with pytest.raises(ArgumentError, match=f"^resume_from: .*{problem}"):
            trainer.fit(
                frame, LABELS, epochs=3, progress=False, resume_from=tmp_path / "a.safetensors"
            )
        assert trainer.epoch == 0
    trainer.load_checkpoint(tmp_path / "a.safetensors")
    trainer.fit(MOVED, LABELS, progress=False)  # which is another call


def test_targets_are_matched_by_name():
    y = pd.DataFrame({"p": FRAME["a"], "q": FRAME["b"] / 10})
    trainer = trained(y=y, loss="mean_squared_error", validation_data=(FRAME, y[["q", "p"]]))
    assert trainer.model.target_names == ["p", "q"]
    assert trainer.model.classes is None
    figures = trainer.evaluate(FRAME, y)
    assert trainer.evaluate(FRAME, y[["q", "p"]]) == figures
    # In batches of another size, so the sums round otherwise.
    assert trainer.history.rows[-1]["val_loss"] == pytest.approx(figures["loss"], rel=1e-6)
    with pytest.raises(DataError, match=r"^y: .*missing: 'q'; unknown: 'r'"):
        trainer.evaluate(FRAME, y.rename(columns={"q": "r"}))


def test_adapt_takes_columns_by_name():
    one, other = network(), network()
    one.adapt(FRAME)
    other.feature_names = list(FRAME)
    other.adapt(MOVED)
    assert_same_bits(one.parameters.to_host(), other.parameters.to_host())


def test_one_hot_columns_may_be_next_to_numbers():
    table = pd.get_dummies(
        pd.DataFrame({"size": np.float32([1.5, 2, 3, 4]), "color": ["red", "blue"] * 2})
    )
    assert list(table.dtypes.astype(str)) == ["float32", "bool", "bool"]
    model = gpunn.Sequential([gpunn.layers.Dense(2)], 3, backend="numpy", seed=0)
    numbers = np.column_stack([table[name] for name in table.columns])
    assert numbers.dtype == "float32"
    np.testing.assert_array_equal(model.predict(table), model.predict(numbers))


def test_a_column_of_text_is_named():
    frame = FRAME.assign(b="Rome")
    for use in (lambda: network().predict(frame), lambda: trained(frame)):
        with pytest.raises(DataError, match=r"Python objects \(columns 'b' \(such as 'Rome'\)\)"):
            use()
    dates = pd.DataFrame({"a": pd.to_datetime([0, 1])})
    with pytest.raises(DataError, match=r"dtype datetime64.* in column 'a' \(such as "):
        network(inputs=1).predict(dates)


def test_numbers_of_columns_are_no_names(tmp_path):
    """Names as after training on a CSV file without a header."""
    model = network()
    model.metadata = {"header": False, "features": ["0", "1", "2"]}
    assert model.feature_names is None
    model.predict(FRAME)


def test_other_metadata_is_unchanged():
    model = network()
    model.metadata = {"features": 3, "targets": {}, "output_activation": ["softmax"]}
    assert (model.feature_names, model.target_names, model.output_activation) == (None,) * 3
    model.predict(FRAME)
    model.metadata = {"features": ["a", "b"]}
    assert model.feature_names is None


def test_probabilities_of_classes():
    trainer = trained()
    logits = trainer.model.predict(FRAME).astype("f8")
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    actual = trainer.model.predict_proba(FRAME)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_probabilities_of_yes_and_no():
    model = trained(loss="binary_cross_entropy", outputs=1).model
    p = 1 / (1 + np.exp(-model.predict(FRAME).astype("f8")))
    np.testing.assert_allclose(model.predict_proba(FRAME), np.hstack([1 - p, p]), rtol=1e-5)
    y = np.stack([LABELS, 1 - LABELS], axis=1)
    model = trained(y=y, loss="binary_cross_entropy").model
    p = 1 / (1 + np.exp(-model.predict(FRAME).astype("f8")))
    np.testing.assert_allclose(model.predict_proba(FRAME), p, rtol=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_probabilities_of_large_logits_are_finite(activation):
    actual = probabilities(np.array([[1000.0, -1000.0], [-1000.0, 1000.0]]), activation)
    np.testing.assert_array_equal(actual, np.eye(2))


def test_a_model_from_a_file_knows_its_probabilities_and_classes(tmp_path):
    model = trained().model
    model.classes = ["no", "yes"]
    model.save(tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", "numpy") as file:
        kept = json.loads(file.metadata()["gpunn"])["metadata"]
    assert kept["classes"] == ["no", "yes"]
    for again in (
        gpunn.load_model(tmp_path / "model.safetensors", "numpy"),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
    ):
        assert again.classes == ["no", "yes"]
        np.testing.assert_array_equal(again.predict_proba(FRAME), model.predict_proba(FRAME))


def test_networks_without_probabilities():
    with pytest.raises(ArgumentError, match=r"output_activation: unknown.*'softmax' for"):
        network().predict_proba(FRAME)
    model = trained(y=FRAME["a"], loss="mean_squared_error", outputs=1).model
    with pytest.raises(ArgumentError, match="a loss that gives no probabilities"):
        model.predict_proba(FRAME)
    with pytest.raises(ArgumentError, match="there is no 'softmx'; did you mean 'softmax'"):
        model.output_activation = "softmx"


def test_one_hot_columns_name_the_classes():
    y = pd.get_dummies(pd.Series(np.array(["oak", "elm", "fir"])[np.arange(60) % 3]))
    model = trained(y=y.astype(float), outputs=3).model
    assert model.classes == ["elm", "fir", "oak"]


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["a", "b", "c"], DataError, "2 outputs is for 2 classes; got 3: 'a', 'b', 'c'.*=3"),
        (["a", "a"], ArgumentError, "a name occurs twice"),
        ("ab", ArgumentTypeError, "expected a list of strings; got 'ab'"),
        ([0, 1], ArgumentTypeError, "expected a list of strings"),
    ],
)
def test_impossible_classes(names, error, message):
    model = network()
    with pytest.raises(error, match=message):
        model.classes = names
    assert model.classes is None


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "binary_cross_entropy"])
def test_more_outputs_than_named_classes_do_not_train(loss):
    """Class numbers as targets have classes; several yes-or-no outputs have none."""
    model = network(3 if loss.startswith("softmax") else 1)
    names = ["no", "yes"] if loss.startswith("softmax") else ["no", "yes", "maybe"]
    model.metadata["classes"] = names
    with pytest.raises(DataError, match=r"classes: a network with . outputs? is for"):
        gpunn.Trainer(model, loss).fit(FRAME, LABELS, progress=False)
    assert model.metadata == {"classes": names}


def test_feature_names_that_do_not_fit():
    with pytest.raises(ArgumentError, match=r"one name per input, for inputs of shape \(3,\)"):
        network().feature_names = ["a", "b"]


@pytest.mark.parametrize(
    ("outputs", "activation"), [(3, "softmax"), (2, "sigmoid"), (1, "identity"), (3, None)]
)
def test_a_network_without_two_classes_has_no_threshold(outputs, activation):
    model = network(outputs)
    model.output_activation = activation
    with pytest.raises(ArgumentError, match=r"^threshold: needs a network with two"):
        model.threshold = 0.3
    assert model.threshold is None


@pytest.mark.parametrize("value", [True, "0.3", 1.5, float("nan")])
def test_a_threshold_is_a_number_from_0_to_1(value):
    model = network(2)
    with pytest.raises(ArgumentError, match="threshold: expected a number from 0 to 1; got"):
        model.threshold = value
    assert model.threshold is None


@pytest.mark.parametrize(
    ("key", "outputs", "value"),
    [
        *(("threshold", 2, True), ("threshold", 2, "0.3"), ("threshold", 2, 1.5)),
        *(("classes", 2, 5), ("classes", 2, "ab")),
        ("classes", 2, [["a"], ["b"]]),
    ],
)
def test_metadata_of_a_file_is_checked(key, outputs, value):
    model = network(outputs)
    model.metadata[key] = value
    expected = {"threshold": "a number from 0 to 1", "classes": "a list of names"}[key]
    with pytest.raises(DataError, match=rf"^metadata\['{key}'\]: expected {expected}"):
        getattr(model, key)


def test_a_file_has_a_threshold_only_with_two_classes():
    model = network(3)
    model.metadata["threshold"] = 0.3
    with pytest.raises(DataError, match=r"^metadata\['threshold'\]: needs a network with two"):
        model.threshold  # noqa: B018
