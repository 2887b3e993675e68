"""Whole runs: their results, how they continue, and how they end."""

import copy
import dataclasses
import gc
import math
import os
import pickle
import signal
import weakref
from unittest.mock import Mock

import numpy as np
import pytest
from calls import Calls
from equality import assert_arrays, assert_same, assert_same_weights
from memory import peak_below

import gpunn
from gpunn import layers
from gpunn.callbacks import Callback, EarlyStopping, ModelCheckpoint
from gpunn.data import batches, checks
from gpunn.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    DivergenceError,
    SettingError,
)
from gpunn.losses import SoftmaxCrossEntropy
from gpunn.metrics import Metric
from gpunn.optimizers import SGD, Adam, Lars
from gpunn.schedules import Cosine, ReduceOnPlateau, Schedule, WarmUp
from gpunn.training import sharing
from gpunn.training.checkpoints.checkpoint import read_checkpoint
from gpunn.training.step.statistics import Statistics
from gpunn.training.step.train_step import BatchPass, PassRecipe

ROWS = 50


def data(rows=ROWS, seed=0):
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, rows)
    return random.normal(size=(rows, 4)) + 2 * np.eye(3, 4)[y], y


def network(*parts, **options):
    return gpunn.Sequential(
        list(parts)
        or [layers.Dense(8, "relu"), layers.BatchNorm(), layers.Dropout(0.3), layers.Dense(3)],
        **{"input_shape": (4,), "backend": "numpy", **options},
    )


def smooth(**options):
    """A float64 network in which batches don't affect each other."""
    return network(layers.Dense(8, "tanh"), layers.Dense(3), dtype="float64", **options)


def trainer(model=None, optimizer=None, **options):
    return gpunn.Trainer(
        model or network(),
        "softmax_cross_entropy",
        optimizer or Adam(WarmUp(Cosine(0.01), 1.5)),
        ["accuracy"],
        **options,
    )


X, Y = data()
ONES = np.ones(ROWS)


def fit(this, X=X, y=Y, **options):
    options = {"epochs": 3, "batch_size": 8, "progress": False, **options}
    return this.fit(X, y, **options)


def assert_close(a, b, tolerance=1e-12):
    found, expected = b.model.parameters.to_host(), a.model.parameters.to_host()
    assert_arrays(found, expected, rtol=tolerance, atol=tolerance)


@dataclasses.dataclass(frozen=True)
class CalledSeconds(Metric):
    name = "seconds"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"loss": "cross"}, ArgumentError, "loss: there is no loss 'cross'"),
        ({"loss": 3}, ArgumentTypeError, "loss: expected a name"),
        ({"optimizer": "adm"}, ArgumentError, "optimizer: there is no optimizer 'adm'"),
        ({"metrics": ["accuracy", "acc"]}, ArgumentError, r"metrics\[1\]: there is no metric"),
        ({"metrics": [CalledSeconds()]}, ArgumentError, "expected distinct names other than"),
        ({"metrics": None}, ArgumentTypeError, "metrics: expected a list.*got None"),
        ({"metrics": "accuracy"}, ArgumentTypeError, "metrics: expected a list.*got 'accuracy'"),
        ({"communicator": "mpi"}, ArgumentTypeError, "communicator: expected a result of .*'mpi'"),
        ({"on_divergence": ["skip"]}, ArgumentError, "on_divergence: there is no choice"),
    ],
)
def test_construction_rejects(arguments, error, message):
    options = {"loss": "mean_squared_error", **arguments}
    with pytest.raises(error, match=message):
        gpunn.Trainer(network(), **options)


def test_the_model_must_be_a_network():
    with pytest.raises(ArgumentTypeError, match="model: expected a gpunn"):
        gpunn.Trainer("model", "mean_squared_error")


def test_outputs_must_be_a_vector():
    model = network(layers.Rescaling(), input_shape=(2, 3))
    with pytest.raises(ArgumentError, match=r"got the output shape \(2, 3\). Add"):
        gpunn.Trainer(model, "mean_squared_error")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": -1}, ArgumentError, "epochs: expected an integer >= 0; got -1"),
        ({"epochs": 1.5}, ArgumentTypeError, "epochs: expected an integer; got 1.5"),
        ({"batch_size": 0}, ArgumentError, "batch_size: expected an integer >= 1"),
        ({"shuffle": "no"}, ArgumentTypeError, "shuffle: expected True or False; got 'no'"),
        ({"progress": "no"}, ArgumentTypeError, "progress: expected True or False; got 'no'"),
        ({"stream": "no"}, ArgumentTypeError, "stream: expected True or False; got 'no'"),
        ({"callbacks": None}, ArgumentTypeError, "callbacks: expected a list.*got None"),
        ({"callbacks": EarlyStopping()}, ArgumentTypeError, "callbacks: expected a list"),
        ({"callbacks": ["early_stoping"]}, ArgumentError, r"callbacks\[0\]: .*'early_stopping'"),
        ({"validation_split": 1}, ArgumentError, "validation_split: expected a number >= 0 and <"),
        ({"validation_split": -0.1}, ArgumentError, "validation_split: expected a number >= 0"),
        ({"validation_split": 0.001, "X": X[:3], "y": Y[:3]}, DataError, "has only one row"),
        ({"validation_split": 0.99}, ArgumentError, "^validation_split: 0.99 of 50 rows would"),
        (
            {"validation_split": 0.1, "validation_data": (X, Y)},
            ArgumentError,
            "validation_split: can't be combined with validation_data",
        ),
        ({"validation_data": X}, ArgumentError, r"validation_data: expected a tuple \(X, y\)"),
        ({"validation_data": (X,)}, ArgumentError, r"expected a tuple \(X, y\).*got a tuple"),
        ({"validation_data": (X, Y, ONES, ONES)}, ArgumentError, "validation_data: expected"),
        ({"validation_data": (X[:, :2], Y)}, DataError, r"^validation X: this network expects"),
        ({"validation_data": (X, Y[:-1])}, DataError, "^validation y: expected 50 rows"),
        ({"validation_data": (X, Y + 1)}, DataError, "^validation y: labels must be from 0 to 2"),
        ({"validation_data": (X, Y, -ONES)}, DataError, "^validation sample_weight: expected num"),
        ({"validation_data": (X[:0], Y[:0])}, DataError, "^validation X: expected at least one"),
        ({"X": X[:0], "y": Y[:0]}, DataError, "X: expected at least one row; got none"),
        ({"X": X[:, :3]}, DataError, r"X: this network expects shape \(rows, 4\)"),
        ({"X": np.where(X[7, 2] == X, np.nan, X)}, DataError, r"X\[7, 2\] is nan"),
        ({"X": 1e-42 * X}, DataError, "too small to be standardized in float32"),
        ({"y": Y[:-1]}, DataError, "y: expected 50 rows, as many as X; got 49"),
        ({"y": Y + 1}, DataError, r"y: labels must be from 0 to 2"),
        ({"y": np.eye(3)[Y] * np.nan}, DataError, r"y: expected finite numbers; y\[0, 0\] is nan"),
        ({"sample_weight": ONES[1:]}, DataError, "sample_weight: expected 50 numbers"),
        ({"sample_weight": 0 * ONES}, DataError, "sample_weight: all weights are zero"),
        ({"sample_weight": np.nan * ONES}, DataError, r"sample_weight\[0\] is nan"),
        ({"metrics": ["r2"]}, DataError, "metric 'r2' compares numbers, but y holds class labels"),
        ({"class_weight": {5: 1}}, ArgumentError, "class_weight: there is no class 5"),
        ({"class_weight": {0: 0, 1: 0, 2: 0}}, DataError, "class_weight: together they give"),
        ({"class_weight": {0: 1e39}}, DataError, "class_weight: the sum is too large for float32"),
        (
            {"sample_weight": 1e-20 * ONES, "class_weight": {0: 1e-20, 1: 0, 2: 0}},
            DataError,
            "small",
        ),
        ({"callbacks": [EarlyStopping()]}, ArgumentError, "no value 'val_loss' without"),
        (
            {"optimizer": SGD(WarmUp(ReduceOnPlateau(0.1, "val_loss")))},
            ArgumentError,
            "no value 'val_loss' without validation data",
        ),
    ],
)
def test_a_fit_that_cannot_begin_changes_nothing(options, error, message):
    log, settings = [], {name: options[name] for name in options.keys() & {"metrics", "optimizer"}}
    arguments = {name: options[name] for name in options.keys() - settings}
    this = trainer(network(layers.Standardization(), layers.Dense(3)))
    before = copy.deepcopy(this)
    kept = {name: getattr(this, name) for name in settings}
    for name, value in settings.items():
        setattr(this, name, value)
    with pytest.raises(error, match=message):
        fit(this, **{"X": X, "y": Y, "callbacks": [Recorder(log)], **arguments})
    assert log == []
    for name, value in kept.items():
        setattr(this, name, value)
    assert_same(before, this)
    assert not any(value.any() for value in this.state().values())
    assert not this.model.adapted
    fit(this)
    fit(before)
    assert_same(this, before)


def test_all_rows_set_aside_weigh_nothing():
    this = trainer(seed := network(seed=0))
    _, held = gpunn.data.splits.split_rows(ROWS, 0.2, seed.seed, Y)
    weights = np.ones(ROWS)
    weights[held] = 0
    with pytest.raises(DataError, match="validation_split: every held-out row"):
        fit(this, X, Y, validation_split=0.2, sample_weight=weights)
    with pytest.raises(DataError, match="give every training row a weight of zero"):
        fit(this, X, Y, validation_split=0.2, sample_weight=1 - weights)


def test_history():
    this = trainer()
    rows, labels, weights = held_out = *data(20, 1), np.linspace(0, 1, 20)
    history = fit(this, validation_data=held_out, batch_size=16)
    assert history is this.history
    assert history.stopped == ""
    assert list(history) == this.log_names
    assert this.log_names == [
        "epoch",
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "learning_rate",
        "seconds",
        "samples_per_second",
    ]
    assert history["epoch"] == [1, 2, 3]
    assert (this.epoch, this.updates) == (3, 12)
    times = np.array([1, 2, 3]) - 0.5 / 4
    np.testing.assert_allclose(history["learning_rate"], this.optimizer.schedule.at(times, 3))
    np.testing.assert_allclose(history["samples_per_second"], ROWS / np.array(history["seconds"]))
    last = this.evaluate(rows, labels, sample_weight=weights)
    assert last["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-6)
    assert last["accuracy"] == pytest.approx(history["val_accuracy"][-1])
    assert last["loss"] != pytest.approx(this.evaluate(rows, labels)["loss"], rel=1e-3)


def test_the_loss_of_an_epoch_is_that_of_its_rows():
    """With a learning rate of zero, it is the weighted loss of the whole data set."""
    this = trainer(smooth(), SGD(0.0))
    untrained = this.evaluate(X, Y)["loss"]
    weights = np.random.default_rng(0).random(ROWS)
    history = fit(this, X, Y, epochs=1, batch_size=7, sample_weight=weights)
    expected = this.evaluate(X, Y, sample_weight=weights)
    assert history["loss"] == [pytest.approx(expected["loss"], rel=1e-12)]
    assert history["accuracy"] == [pytest.approx(expected["accuracy"], rel=1e-12)]
    logits = this.model.predict(X)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(ROWS), Y]
    assert expected["loss"] == pytest.approx(np.average(losses, weights=weights), rel=1e-12)
    assert untrained == pytest.approx(losses.mean(), rel=1e-12)
    correct = logits.argmax(axis=1) == Y
    assert expected["accuracy"] == pytest.approx(np.average(correct, weights=weights), rel=1e-12)


def test_a_further_call_goes_on():
    whole, parts = trainer(optimizer=Adam(0.01)), trainer(optimizer=Adam(0.01))
    fit(whole, epochs=5)
    fit(parts, epochs=2)
    history = fit(parts, epochs=3)
    assert history["epoch"] == [1, 2, 3, 4, 5]
    assert_same(whole, parts)


def look(trainer):
    assert trainer.can_checkpoint()


@pytest.mark.parametrize(
    "options",
    [
        {"progress": True},
        {"validation_data": data(20, 1)},
        *(
            {"callbacks": [callback]}
            for callback in (Callback(), Calls(every_updates=1, on_updates_end=look))
        ),
    ],
)
def test_what_only_looks_changes_nothing(options, capsys):
    looking, alone = trainer(), trainer()
    fit(looking, **options)
    fit(alone)
    looking.evaluate(X, Y)
    assert_same_weights(alone, looking)
    assert_arrays(looking.state(), alone.state())
    for name in ("loss", "accuracy"):
        assert looking.history[name] == alone.history[name]


@pytest.mark.parametrize(
    ("options", "pixels", "mapped"),
    [
        ({}, False, False),
        ({"shuffle": False}, True, True),
        ({"sample_weight": np.linspace(0, 1, ROWS)}, False, False),
        ({"validation_split": 0.3}, True, True),
        ({"validation_split": 0.3, "class_weight": "balanced"}, False, False),
        ({"validation_data": (X[:5], Y[:5])}, True, True),
        ({"y": np.eye(3)[Y]}, True, True),
    ],
)
def test_streaming_changes_nothing(options, mapped, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "STREAM_BYTES", 300)
    inputs = np.random.default_rng(0).integers(0, 256, X.shape, np.uint8) if pixels else X
    options = {"y": Y, **options}
    first = [{"name": "rescaling"}] if pixels else []
    model = network(*first, layers.Dense(8, "relu"), layers.Dense(3))
    runs = [trainer(copy.deepcopy(model)) for _ in range(2)]
    fit(runs[0], inputs, stream=False, **options)
    if mapped:
        np.save(tmp_path / "X.npy", inputs)
        inputs = np.load(tmp_path / "X.npy", mmap_mode="r")
    fit(runs[1], inputs, stream=None if mapped else True, **options)
    assert_same(*runs)


def test_streaming_takes_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "STREAM_BYTES", 1 << 16)
    monkeypatch.setattr(checks, "CHECK_BYTES", 1 << 16)
    rows, features = 1 << 13, 128
    inputs = np.lib.format.open_memmap(
        tmp_path / "X.npy", mode="w+", dtype="float32", shape=(rows, features)
    )
    inputs[:] = 1
    inputs.flush()
    inputs = np.load(tmp_path / "X.npy", mmap_mode="r")
    targets = np.arange(rows) % 3
    this = trainer(network(layers.Dense(4), layers.Dense(3), input_shape=(features,)))
    fit(this, inputs[:64], targets[:64], epochs=1)
    with peak_below(inputs.nbytes / 4):
        fit(this, inputs, targets, epochs=1, batch_size=32, validation_split=0.25)
        this.evaluate(inputs, targets, batch_size=64)
        this.model.predict(inputs, batch_size=64)
    assert inputs.nbytes == 1 << 22


@pytest.mark.parametrize("batch_size", [1, 7, 49, 50, 51, 1000])
def test_batches_that_do_not_divide_the_rows(batch_size):
    """Compare with explicit gradient descent: softmax regression, last batch smaller."""
    this = trainer(network(layers.Dense(3), dtype="float64"), SGD(0.1))
    W, b = this.model.parameters.to_host().values()
    fit(this, X, Y, epochs=2, batch_size=batch_size, shuffle=False)
    for _ in range(2):
        for start in range(0, ROWS, batch_size):
            x, t = X[start : start + batch_size], np.eye(3)[Y[start : start + batch_size]]
            exponential = np.exp(x @ W + b)
            gradient = (exponential / exponential.sum(axis=1, keepdims=True) - t) / len(x)
            W, b = W - 0.1 * x.T @ gradient, b - 0.1 * gradient.sum(axis=0)
    np.testing.assert_allclose(this.model.parameters["dense_1.weights"], W, rtol=1e-11)
    np.testing.assert_allclose(this.model.parameters["dense_1.biases"], b, rtol=1e-11)
    assert this.updates == 2 * math.ceil(ROWS / batch_size)


def test_epochs_visit_every_row_in_the_order_of_the_seed():
    """The mean of the first weights' gradients tells the rows: one-hot inputs, one row a batch."""
    rows = 6
    seen = []

    class Watch(SGD):
        name = "watch"

        def update(self, xp, values, gradients, slots, learning_rate, step):
            seen.append(int(np.flatnonzero(gradients[:rows])[0]))

    model = network(layers.Dense(1, bias=False), input_shape=rows)
    this = gpunn.Trainer(model, "mean_squared_error", Watch(0.0))
    fit(this, np.eye(rows), 5 + np.zeros(rows), epochs=3, batch_size=1)
    for epoch in range(3):
        part = seen[epoch * rows : (epoch + 1) * rows]
        assert part == gpunn.randomness.permutation(0, epoch, rows).tolist()
    assert len({tuple(seen[i : i + rows]) for i in range(0, 3 * rows, rows)}) == 3


@pytest.mark.parametrize(
    ("optimizer", "weighted", "stream"),
    [
        (SGD(0.1, momentum=0.9), False, True),
        (SGD(0.1, momentum=0.9), True, False),
        (Adam(0.01, max_norm=0.5), True, True),
        (Adam(0.01, max_norm=0.5), False, False),
    ],
)
def test_accumulation_equals_larger_batches(optimizer, weighted, stream, monkeypatch):
    monkeypatch.setattr(batches, "STREAM_BYTES", 600)
    weights = np.random.default_rng(3).random(ROWS) if weighted else None
    if weighted:
        weights[3:9] = 0
    runs = [trainer(smooth(), copy.deepcopy(optimizer), gradient_accumulation=k) for k in (1, 4)]
    for this, batch_size in zip(runs, (12, 3), strict=True):
        fit(this, batch_size=batch_size, sample_weight=weights, stream=stream)
    assert runs[0].updates == runs[1].updates == 3 * 5
    assert_close(*runs)
    np.testing.assert_allclose(runs[0].history["loss"], runs[1].history["loss"], rtol=1e-12)


def test_a_weight_counts_rows():
    counts = np.random.default_rng(3).integers(0, 4, ROWS)
    weighted, repeated = (trainer(smooth(), SGD(0.2, momentum=0.5)) for _ in range(2))
    fit(weighted, X, Y, batch_size=1000, sample_weight=counts)
    fit(repeated, np.repeat(X, counts, axis=0), np.repeat(Y, counts), batch_size=1000)
    assert_close(weighted, repeated)
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(weighted.history[name], repeated.history[name], rtol=1e-12)
    a = weighted.evaluate(X, Y, sample_weight=counts)
    b = repeated.evaluate(np.repeat(X, counts, axis=0), np.repeat(Y, counts))
    assert a == pytest.approx(b, rel=1e-12)


@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_only_the_ratios_of_weights_matter(factor):
    weights = np.random.default_rng(3).random(ROWS)
    runs = [trainer(smooth()) for _ in range(2)]
    fit(runs[0], sample_weight=weights)
    fit(runs[1], sample_weight=factor * weights)
    assert_close(*runs, tolerance=1e-11)


@pytest.mark.parametrize(
    ("class_weight", "factors"),
    [({1: 3.0}, [1, 3, 1]), ("balanced", ROWS / (3 * np.bincount(Y)))],
)
def test_class_weights_are_sample_weights(class_weight, factors):
    runs = [trainer(smooth()) for _ in range(2)]
    fit(runs[0], X, Y, class_weight=class_weight)
    fit(runs[1], X, Y, sample_weight=np.asarray(factors)[Y])
    assert runs[0].history["loss"] == runs[1].history["loss"]
    assert_same_weights(*runs)


@pytest.mark.parametrize(
    ("options", "accumulation"),
    [
        ({}, 2),
        ({"sample_weight": np.linspace(0, 1, ROWS)}, 1),
        ({"stream": True}, 2),
        ({"validation_split": 0.3, "sample_weight": np.linspace(0, 1, ROWS)}, 1),
    ],
    ids=["plain", "sample weights", "streamed", "validated"],
)
def test_class_weights_are_for_the_training_loss_alone(host_backend, options, accumulation):
    """Metrics weight rows like validation metrics, so that both can be compared."""
    this = gpunn.Trainer(
        smooth(backend=host_backend, seed=2),
        "softmax_cross_entropy",
        SGD(0.0),
        ["accuracy", "log_loss", {"name": "f1", "average": "macro"}],
        gradient_accumulation=accumulation,
        log_every=3,
    )
    factors = {0: 5.0, 1: 0.0, 2: 0.25}
    fit(this, X, Y, epochs=2, class_weight=factors, **options)
    kept = np.arange(ROWS)
    if "validation_split" in options:
        kept, _ = gpunn.data.splits.split_rows(ROWS, 0.3, 2, Y)
    weights = options.get("sample_weight", np.ones(ROWS))[kept]
    expected = this.evaluate(X[kept], Y[kept], sample_weight=weights)
    weighted = this.evaluate(
        X[kept], Y[kept], sample_weight=weights * np.array([5.0, 0.0, 0.25])[Y[kept]]
    )
    assert weighted["accuracy"] != pytest.approx(expected["accuracy"], abs=0.01)
    for row in this.history.rows:
        assert row["loss"] == pytest.approx(weighted["loss"], rel=1e-12)
        for name in ("accuracy", "log_loss", "f1"):
            assert row[name] == pytest.approx(expected[name], rel=1e-12)


def class_weighted(tmp_path, class_weight="balanced"):
    """Train with class weights, and write a checkpoint within the second epoch."""
    this = trainer(network(seed=2), log_every=4)
    keep = ModelCheckpoint(tmp_path / "{updates}.safetensors", resumable=True, every_updates=8)
    fit(this, epochs=2, class_weight=class_weight, callbacks=[keep])
    assert -(-ROWS // 8) == 7
    return this, tmp_path / "8.safetensors"


def test_an_epoch_goes_on_with_its_class_weights_alone(tmp_path):
    _, path = class_weighted(tmp_path)
    with pytest.raises(ArgumentError, match="in the middle of an epoch with a class_weight; this"):
        fit(trainer(network(seed=2)), epochs=2, resume_from=path)


def test_an_earlier_checkpoint_within_a_class_weighted_epoch(tmp_path, caplog):
    """It lacks the metrics' weights. The network is the same; the epoch's metrics are mixed."""
    whole, path = class_weighted(tmp_path)
    written = read_checkpoint(path)
    earlier = {
        name: array[:-1] if name.startswith("statistics.") else array
        for name, array in written.state.items()
    }
    resumed = trainer(network(seed=2), log_every=4)
    checkpoint = dataclasses.replace(written, state=earlier)
    fit(resumed, epochs=2, class_weight="balanced", resume_from=checkpoint)
    message = "Until update 8, metrics of the interrupted epoch include class_weight"
    assert message in caplog.text
    assert resumed.history["loss"] == whole.history["loss"]
    assert resumed.history["accuracy"][0] == whole.history["accuracy"][0]
    assert resumed.history["accuracy"][1] == pytest.approx(whole.history["accuracy"][1], abs=0.1)
    assert_same_weights(whole, resumed)


@pytest.mark.parametrize("weights", [(None, "balanced"), ("balanced", None)])
def test_other_class_weights_in_an_epoch_that_was_cut_short(tmp_path, weights, caplog):
    before, after = weights
    _, path = class_weighted(tmp_path, before)
    this = trainer(network(seed=2))
    this.load_checkpoint(path)
    fit(this, epochs=1, class_weight=after)
    assert this.epoch == 2
    assert 0 <= this.history["accuracy"][-1] <= 1
    assert ("starts again" in caplog.text) is (before is not None)


def test_a_batch_without_weight_moves_nothing():
    this = trainer(smooth(), SGD(0.1))
    before = this.model.parameters.to_host()
    weights = np.zeros(ROWS)
    weights[-1] = 1e-30
    fit(this, X[:-1], Y[:-1], epochs=1, shuffle=False, batch_size=49, sample_weight=weights[1:])
    np.testing.assert_array_less(
        0, np.abs(this.model.parameters["dense_2.weights"] - before["dense_2.weights"]).max()
    )
    this = trainer(smooth(), SGD(0.1))
    weights[:] = 0
    weights[0] = 1
    fit(this, X, Y, epochs=1, shuffle=False, batch_size=1, sample_weight=weights)
    other = trainer(smooth(), SGD(0.1))
    fit(other, X[:1], Y[:1], epochs=1, batch_size=1)
    assert_close(this, other)


def test_validation_split_is_that_of_the_rows_set_aside():
    kept, held = gpunn.data.splits.split_rows(ROWS, 0.3, 0, Y)
    weights = np.random.default_rng(0).random(ROWS)
    split, given = trainer(), trainer()
    options = {"class_weight": "balanced"}
    fit(split, X, Y, validation_split=0.3, sample_weight=weights, **options)
    fit(
        given,
        X[kept],
        Y[kept],
        sample_weight=weights[kept],
        validation_data=(X[held], Y[held], weights[held]),
        **options,
    )
    assert_same(split, given)
    shares = np.bincount(Y[held]) / np.bincount(Y)
    np.testing.assert_allclose(shares, 0.3, atol=1 / np.bincount(Y).min())


def test_figures_to_standardize_with_come_from_the_rows_to_train_on():
    kept, _ = gpunn.data.splits.split_rows(ROWS, 0.3, 0, Y)
    this = trainer(network(layers.Standardization(), layers.Dense(3), dtype="float64"))
    fit(this, X, Y, validation_split=0.3)
    expected = {"mean": X[kept].mean(axis=0), "deviation": X[kept].std(axis=0)}
    for data in (X, 2 * X):
        for name, value in expected.items():
            found = this.model.parameters[f"standardization_1.{name}"]
            np.testing.assert_allclose(found, value, rtol=1e-12)
        fit(this, 2 * data, Y)


@pytest.mark.parametrize(
    ("batch_size", "stream"), [(1, False), (7, True), (50, True), (1024, False), (1024, True)]
)
def test_evaluation_does_not_depend_on_chunks(batch_size, stream, monkeypatch):
    monkeypatch.setattr(batches, "STREAM_BYTES", 300)
    this = trainer(network(layers.BatchNorm(), layers.Dropout(0.5), layers.Dense(3)))
    fit(this)
    expected = this.evaluate(X, Y)
    found = this.evaluate(X, Y, batch_size=batch_size, stream=stream)
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("work", ["evaluate", "fit"])
def test_the_device_is_waited_for_at_report_points_alone(work, monkeypatch):
    this = trainer(smooth(), log_every=4)
    fit(this, epochs=0)
    reads = []
    collect = Statistics.collect
    monkeypatch.setattr(Statistics, "collect", lambda s: reads.append(s) or collect(s))
    if work == "fit":
        fit(this, epochs=1, batch_size=5)
        assert len(reads) == 3, "10 updates"
    else:
        this.evaluate(X, Y, batch_size=5)
        assert len(reads) == 3, "10 batches"


@pytest.mark.parametrize("epochs", [1, 6])
def test_a_validation_is_recorded_once_in_a_training(epochs, monkeypatch):
    # Also on a busy machine.
    monkeypatch.setattr("gpunn.training.epoch_blocks.MAX_SECONDS", math.inf)
    this = trainer(smooth())
    calls, recorded = [], this.model.backend.recorded
    monkeypatch.setattr(
        this.model.backend, "recorded", lambda *a, **n: calls.append(a) or recorded(*a, **n)
    )
    fit(this, epochs=epochs, validation_data=data(20, 1))
    batches = 4  # of batches of 8, and of the 2 and 4 rows that are left over
    assert len(calls) == (batches if epochs == 1 else batches + 3), "and what blocks of epochs log"


def test_evaluation_lets_go_of_its_rows():
    """Immediately, and not when garbage is collected."""

    def test(trainer, logs):
        figures.append(evaluated(lambda rows: trainer.evaluate(rows, Y, batch_size=20))["loss"])

    def evaluated(work):
        rows = X.copy()
        result, kept = work(rows), weakref.ref(rows)
        del rows
        assert kept() is None
        return result

    figures = []
    this = trainer(smooth())
    gc.disable()
    try:
        evaluated(lambda rows: this.evaluate(rows, Y))
        tested = [Calls(on_epoch_end=test)]
        evaluated(lambda rows: fit(this, validation_data=(rows, Y), callbacks=tested))
    finally:
        gc.enable()
    assert figures == pytest.approx(this.history["val_loss"], rel=1e-12)


@pytest.mark.parametrize(
    ("log_every", "expected"), [(100, [16, 16, 16, 1, 1]), (20, [16, 4, 16, 4, 9, 1])]
)
def test_an_evaluation_asks_for_few_batches_at_a_time(log_every, expected, monkeypatch):
    asked, evaluate = [], BatchPass.evaluate
    monkeypatch.setattr(
        BatchPass,
        "evaluate",
        lambda self, rows, times=1: asked.append(times) or evaluate(self, rows, times),
    )
    rows, labels = np.concatenate([X, X])[:99], np.concatenate([Y, Y])[:99]
    trainer(smooth(), log_every=log_every).evaluate(rows, labels, batch_size=2)
    assert asked == expected


def test_the_outputs_are_those_of_the_rows_loaded_last():
    this = trainer(smooth())
    evaluation = BatchPass(
        PassRecipe(model=this.model, loss=this.loss, metrics=this.metrics, batch_size=5)
    )
    for rows in (slice(0, 5), slice(5, 10), slice(0, 5)):
        source = batches.Dataset(this.model.backend, X[rows], Y[rows], None, ("float64", "float64"))
        evaluation.load(next(source.chunks(None, 5)))
        expected = this.model.predict(X[rows])
        np.testing.assert_allclose(evaluation.evaluate(5), expected, rtol=1e-12)


def test_validation_looks_at_settings_that_change_between_epochs():
    brighter = Calls(on_epoch_end=lambda trainer, _: setattr(trainer.model.layers[0], "scale", 2.0))
    this = trainer(network(layers.Rescaling(1.0), layers.Dense(3), dtype="float64"))
    fit(this, validation_data=(X, Y), callbacks=[brighter])
    assert this.history["val_loss"][-1] == pytest.approx(this.evaluate(X, Y)["loss"], rel=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ArgumentError, "batch_size"),
        ({"X": X[:0], "y": Y[:0]}, DataError, "X: expected at least one row"),
        ({"y": Y + 1}, DataError, "y: labels must be from 0 to 2"),
        ({"sample_weight": 0 * ONES}, DataError, "sample_weight: all weights are zero"),
    ],
)
def test_evaluation_rejects(options, error, message):
    with pytest.raises(error, match=message):
        trainer().evaluate(**{"X": X, "y": Y, **options})


def test_data_of_other_types():
    """Buffers for pixels and labels don't serve numbers and probabilities."""
    pixels = np.random.default_rng(0).integers(0, 256, X.shape, np.uint8)
    parts = [layers.Rescaling(), layers.Dense(3)]

    def run(first):
        this = trainer(network(*map(dataclasses.replace, parts)), SGD(0.1))
        if first:
            fit(this, pixels, Y, epochs=1)
            this.evaluate(pixels, Y)
        else:
            fit(this, pixels.astype("float32"), np.eye(3)[Y], epochs=1)
        fit(this, pixels / 3, np.eye(3)[Y], epochs=1)
        return this, this.evaluate(pixels / 3, np.eye(3)[Y])

    (a, evaluated), (b, expected) = run(True), run(False)
    assert_close(a, b, tolerance=1e-5)
    assert evaluated == pytest.approx(expected, rel=1e-5)


def test_another_batch_size_keeps_the_state():
    this, other = trainer(optimizer=Adam(0.01)), trainer(optimizer=Adam(0.01))
    fit(this, epochs=1, batch_size=8)
    before = this.state()
    fit(this, epochs=0, batch_size=5)
    assert_arrays(this.state(), before)
    fit(other, epochs=1, batch_size=8)
    for each in (this, other):
        fit(each, epochs=1, batch_size=8)
    assert_same(this, other)


def test_another_optimizer_starts_anew():
    this = trainer(optimizer=Adam(0.01))
    fit(this, epochs=2)
    passes = this.state()["passes"]
    this.optimizer = Adam(0.01)
    fit(this, epochs=0)
    state = this.state()
    assert not state["optimizer.mean"].any()
    assert state["updates"] == [0]
    np.testing.assert_array_equal(state["passes"], passes)
    this.optimizer = SGD(0.1)
    fit(this, epochs=1)
    assert "optimizer.mean" not in this.state()
    assert (this.epoch, this.updates) == (3, 21)


def reloaded(this, path):
    this.save_checkpoint(path)
    other = copy.deepcopy(this)
    fit(other)  # so that a state that stays would show
    other.load_checkpoint(path)
    return other


def with_own_state(this, path):
    this.set_state(this.state())
    return this


@pytest.mark.parametrize("optimizer", [Adam(0.02), SGD(0.1, momentum=0.9)])
@pytest.mark.parametrize("move", [lambda this, path: copy.deepcopy(this), reloaded, with_own_state])
@pytest.mark.parametrize("moves_first", [True, False])
def test_another_optimizer_starts_anew_in_copies_and_files(path, optimizer, move, moves_first):
    this, expected = (trainer(optimizer=Adam(0.01)) for _ in range(2))
    fit(this)
    fit(expected)
    this = move(this, path) if moves_first else this
    this.optimizer = expected.optimizer = optimizer
    this = this if moves_first else move(this, path)
    fit(this)
    fit(expected)
    assert_same(this, expected)


def test_a_state_set_after_another_optimizer_is_kept():
    this, other = trainer(optimizer=Adam(0.01)), trainer(optimizer=SGD(0.1, momentum=0.9))
    fit(this)
    fit(other)
    this.optimizer = SGD(0.1, momentum=0.9)
    this.set_state({"optimizer.velocity": other.state()["optimizer.velocity"]})
    fit(this, epochs=0)
    assert this.state()["optimizer.velocity"].any()


def test_before_training_a_partial_state_keeps_other_arrays():
    this, other = trainer(), trainer()
    fit(this)
    state = this.state()
    for name, array in state.items():
        other.set_state({name: array})
    fit(other, epochs=0)
    assert_arrays(other.state(), state)


@pytest.mark.parametrize("first", [Adam(0.01), Lars(1.0)])
def test_early_stopping_restores_an_epoch_of_an_earlier_optimizer(tmp_path, first):
    class Switch(Callback):
        name = "switch"

        def on_epoch_end(self, trainer, logs):
            if trainer.epoch == 2:
                trainer.optimizer = SGD(0.0, momentum=0.9)

    def stopped(optimizer, *callbacks, **options):
        this = trainer(network(layers.Dense(3)), optimizer)
        keep = ModelCheckpoint(tmp_path / "{epoch}.safetensors", resumable=True)
        callbacks = *callbacks, EarlyStopping(patience=3), keep
        fit(this, epochs=9, validation_data=(X, Y), callbacks=callbacks, **options)
        return this

    whole = stopped(first, Switch())
    assert whole.history.stopped.startswith("val_loss has not improved since epoch 2 ")
    assert whole.state()["updates"] == [0]
    resumed = stopped(SGD(0.0, momentum=0.9), resume_from=tmp_path / "2.safetensors")
    assert_same(resumed, whole)


@pytest.mark.parametrize("wrap", [lambda schedule: schedule, lambda schedule: WarmUp(schedule)])
def test_a_schedule_begins_again_with_each_trainer(wrap):
    optimizer = SGD(wrap(ReduceOnPlateau(0.1, "loss", patience=1, min_delta=9)))
    first, second = (trainer(optimizer=optimizer) for _ in range(2))
    expected = fit(first)["learning_rate"]
    assert fit(second)["learning_rate"] == expected
    assert fit(second)["learning_rate"][3] < expected[-1], "the second call goes on"


@pytest.mark.parametrize("moment", ["between two calls", "in a callback"])
def test_a_new_optimizer_begins_with_a_state_that_was_set(moment):
    this = trainer(optimizer=Adam())
    size = this.model.parameters.values.shape

    def switch(*arguments):
        if this.epoch == 1:
            this.optimizer = SGD(0.0, momentum=0.9)
            this.set_state({"optimizer.velocity": np.ones(size)})
            this.set_state({"updates": np.array([5])})
            this.snapshot(), this.last_gradients()
            state = this.state()
            assert state["optimizer.velocity"].all()
            assert state["updates"] == [5]

    fit(this, epochs=1, callbacks=[Calls(on_epoch_end=switch)] * (moment != "between two calls"))
    if moment == "between two calls":
        switch()
    history = fit(this, epochs=1)
    assert history.stopped == ""
    assert this.state()["updates"] == [5 + 7]
    assert np.allclose(this.state()["optimizer.velocity"][: this.model.parameters.count], 0.9**7)


@pytest.mark.parametrize("change", ["switch", "freeze"])
def test_an_interrupted_epoch_keeps_its_sums(change):
    def logs(*states):
        this = trainer(optimizer=SGD(0.05), log_every=1)
        stop = Calls(
            on_updates_end=lambda trainer: trainer.updates == 9 and interrupt(), every_updates=1
        )
        fit(this, epochs=2, callbacks=[stop])
        assert this.cursor is not None
        if change == "switch":
            this.optimizer = SGD(0.05)
        else:
            this.model.layers[0].trainable = False
        for state in states:
            this.set_state(state)
        return fit(this, epochs=1)["loss"]

    assert logs({"updates": np.array([0])}) == logs()


def test_schedules_may_have_any_attributes():
    class Ramp(Schedule):
        name = "ramp"

        def __init__(self):
            self.begin, self.end = 0.1, 0.2

        def at(self, time, duration):
            return self.begin + (self.end - self.begin) * time / duration

    assert fit(trainer(optimizer=SGD(Ramp())), epochs=1)["loss"]


def test_a_schedule_with_a_restored_state_does_not_begin_again():
    schedule = ReduceOnPlateau(0.1, "loss", patience=1, min_delta=9)
    schedule.restore({"current": 0.025, "best": np.inf, "waited": 0})
    assert fit(trainer(optimizer=SGD(schedule)), epochs=1)["learning_rate"] == [0.025]
    assert fit(trainer(optimizer=SGD(schedule)), epochs=1)["learning_rate"] == [0.1]


@pytest.mark.parametrize(
    ("every", "message"), [(0, "integer >= 1; got 0"), (-1, "integer >= 1"), (2.5, "integer; got")]
)
def test_the_updates_between_calls_of_a_callback_are_counted(every, message):
    """With -1, training would never end."""
    with pytest.raises(
        (ArgumentError, ArgumentTypeError), match=rf"Calls\.every_updates: expected an {message}"
    ):
        fit(trainer(), callbacks=[Calls(every_updates=every)])


def test_the_reason_to_stop_is_a_string():
    """Otherwise, a checkpoint with it could not be read."""
    with pytest.raises(ArgumentTypeError, match=r"stop_reason: expected a string.*got True"):
        trainer().stop_reason = True


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [("model", network(), "build a new Trainer"), ("callbacks", [Callback()], "pass them to fit")],
)
def test_attributes_of_a_trainer_that_stay(name, value, remedy):
    this = trainer()
    with pytest.raises(SettingError, match=rf"Trainer\.{name} can't be set: {remedy}"):
        setattr(this, name, value)
    setattr(this, name, getattr(this, name))  # a subclass may do so


def test_a_callback_does_not_fit_the_trainer_that_calls_it():
    class Nested(Callback):
        name = "nested"

        def on_epoch_end(self, trainer, logs):
            fit(trainer)

    this = trainer()
    with pytest.raises(ArgumentError, match="fit: a callback can't call fit of the trainer"):
        fit(this, callbacks=[Nested()])
    assert len(fit(this).rows) == 4


@pytest.mark.parametrize("last", [1, 3, 9])
def test_a_callback_changes_the_last_epoch(last):
    class Change(Callback):
        name = "change"

        def on_epoch_end(self, trainer, logs):
            trainer.last_epoch = last if trainer.epoch == 2 else trainer.last_epoch

    this = trainer()
    fit(this, epochs=6, callbacks=[Change()])
    assert this.epoch == max(last, 2)


def test_a_changed_optimizer_keeps_its_state():
    this = trainer(optimizer=SGD(0.1))
    fit(this, epochs=1)
    this.optimizer.momentum = 0.9
    fit(this, epochs=1)
    assert this.state()["optimizer.velocity"].any()
    assert this.state()["updates"] == [14]


def test_other_loss_metrics_and_accumulation():
    this = trainer()
    fit(this, epochs=1)
    this.loss, this.metrics = SoftmaxCrossEntropy(label_smoothing=0.5), []
    this.gradient_accumulation = 2
    history = fit(this, epochs=1, batch_size=8)
    assert "accuracy" not in history.rows[1]
    assert this.updates == 7 + 4
    smoothed = this.evaluate(X, Y)
    this.loss = SoftmaxCrossEntropy()
    assert smoothed == this.evaluate(X, Y)  # evaluation does not smooth labels
    this.metrics = [gpunn.metrics.Accuracy()]
    assert set(this.evaluate(X, Y)) == {"loss", "accuracy"}


def test_data_is_let_go_of():
    this = trainer()
    fit(this, validation_split=0.2)
    assert this.device_state.step.data is None


def test_workspace_bytes():
    this = trainer()
    assert this.workspace_bytes() == 0
    fit(this)
    only_training = this.workspace_bytes()
    assert only_training > 8 * (4 + 8 + 8 + 8 + 3) * 4
    this.evaluate(X, Y)
    assert this.workspace_bytes() > only_training


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda this: pickle.loads(pickle.dumps(this))}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("epochs", [0, 2])
def test_a_copied_trainer_goes_on(way, epochs):
    this = trainer(optimizer=Adam(0.01))
    if epochs:
        fit(this, epochs=epochs)
    duplicate = COPIES[way](this)
    assert_same(this, duplicate)
    for each in (this, duplicate):
        fit(each, epochs=2)
    assert_same(this, duplicate)
    fit(duplicate, epochs=1)
    assert this.epoch == epochs + 2, "and it is separate"
    assert this.model is not duplicate.model


class Recorder(Callback):
    def __init__(self, log, title=""):
        self.log, self.title = log, title

    def on_train_begin(self, trainer):
        self.log.append((self.title, "begin", trainer.epoch))

    def on_epoch_end(self, trainer, logs):
        assert logs == trainer.history.rows[-1]
        self.log.append((self.title, "epoch", trainer.epoch))

    def on_train_end(self, trainer):
        self.log.append((self.title, "end", trainer.epoch))


def test_callbacks_are_called_in_order():
    log, calls = [], [("begin", 0), ("epoch", 1), ("epoch", 2), ("end", 2)]
    fit(trainer(), epochs=2, callbacks=[Recorder(log, "a"), Recorder(log, "b")])
    assert log == [(title, *call) for call in calls for title in "ab"]


@pytest.mark.parametrize("when", ["on_train_begin", "on_epoch_end", "on_train_end"])
def test_the_others_end_if_one_fails(when):
    failing = Calls(**{when: Mock(side_effect=ZeroDivisionError("oh"))})
    log = []
    this = trainer()
    with pytest.raises(ZeroDivisionError):
        fit(this, callbacks=[Recorder(log, "a"), failing, Recorder(log, "b")])
    assert [entry[:2] for entry in log if entry[1] == "end"] == [("a", "end"), ("b", "end")]
    assert this.device_state.step is None or this.device_state.step.data is None
    if when != "on_train_end":
        assert this.history.stopped == "ZeroDivisionError: oh"
    fit(this, epochs=1)
    assert this.history.stopped == ""


def test_a_callback_ends_training():
    stop = Calls(on_epoch_end=lambda trainer, logs: setattr(trainer, "stop_reason", "enough"))
    this = trainer()
    history = fit(this, epochs=5, callbacks=[stop])
    assert (this.epoch, history.stopped) == (1, "enough")
    assert fit(this, epochs=2).stopped == ""
    assert this.epoch == 3


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


class Interrupt(Callback):
    """Simulates Ctrl-C several times at the end of an epoch."""

    def __init__(self, epoch, times=1):
        self.epoch, self.times = epoch, times

    def on_epoch_end(self, trainer, logs):
        if trainer.epoch == self.epoch:
            for _ in range(self.times):
                interrupt()


class TestInterruption:
    def test_between_epochs(self, caplog):
        log = []

        this, other = trainer(optimizer=Adam(0.01)), trainer(optimizer=Adam(0.01))
        history = fit(this, epochs=5, callbacks=[Interrupt(2), Recorder(log)])
        assert history.stopped == "interrupted by Ctrl-C"
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("gpunn", "WARNING")
        assert "after update 14, with 2 of 5 epochs done" in record.getMessage()
        assert log[-2:] == [("", "epoch", 2), ("", "end", 2)]
        fit(other, epochs=2)
        assert_same(this, other)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        fit(this, epochs=3)
        fit(other, epochs=3)
        assert_same(this, other)

    def test_after_the_last_epoch_it_is_too_late(self):
        assert fit(trainer(), epochs=2, callbacks=[Interrupt(2)]).stopped == ""

    @pytest.mark.parametrize("at", [1, 4, 7])
    def test_within_an_epoch_it_ends_after_the_updates_asked_for(self, at):
        class InterruptingSGD(SGD):
            name = "interrupting_sgd"

            def update(self, xp, values, gradients, slots, learning_rate, step):
                super().update(xp, values, gradients, slots, learning_rate, step)
                if int(step[0]) == 7 + at:
                    interrupt()

        this = trainer(optimizer=InterruptingSGD(0.1))
        log = []
        history = fit(this, epochs=4, callbacks=[Recorder(log)])
        assert history.stopped == "interrupted by Ctrl-C"
        # The host may have asked for some more updates at the same time, up to the epoch's last,
        # with which the epoch is done.
        assert 7 + at <= this.updates <= 14
        done = 2 if this.updates == 14 else 1
        assert this.epoch == done
        assert history["epoch"] == [1, 2][:done]
        assert log[1:] == [*[("", "epoch", 1), ("", "epoch", 2)][:done], ("", "end", done)]
        assert this.state()["updates"] == [this.updates]
        assert np.isfinite(this.model.predict(X)).all()
        assert set(this.evaluate(X, Y)) == {"loss", "accuracy"}
        fit(this, epochs=1)
        assert this.epoch == done + 1

    def test_during_validation_the_epoch_is_done(self):
        class InterruptingAccuracy(Metric):
            name = "interrupting"

            def measure(self, xp, predictions, targets, weights):
                if len(targets) == 20 and float(weights[0]):  # not while the method is traced
                    interrupt()
                return xp.sum(weights, keepdims=True)

        this = gpunn.Trainer(network(), "softmax_cross_entropy", "sgd", [InterruptingAccuracy()])
        log = []
        history = fit(this, batch_size=24, validation_data=data(20, 1), callbacks=[Recorder(log)])
        assert history.stopped == "interrupted by Ctrl-C"
        assert (this.epoch, this.updates) == (1, 3)
        assert ("", "epoch", 1) in log
        assert history["val_interrupting"] == [1]

    def test_twice_interrupts_at_once(self):
        this = trainer()
        with pytest.raises(KeyboardInterrupt):
            fit(this, callbacks=[Interrupt(1, times=2)])
        assert this.history.stopped.startswith("KeyboardInterrupt")
        assert this.epoch == 1
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_the_best_epoch_comes_back(self):
        best, this = trainer(optimizer=SGD(0.1)), trainer(optimizer=SGD(0.1))
        fit(best, epochs=1)
        fit(this, callbacks=[EarlyStopping("loss"), Interrupt(1)])
        np.testing.assert_array_equal(best.model.parameters.values, this.model.parameters.values)


class Exploding(Schedule):
    """A learning rate of 0 before the given update, and a huge one from there on."""

    name = "exploding"

    def __init__(self, at, per_epoch, rate):
        self.moment, self.rate = at / per_epoch, rate

    def at(self, time, duration):
        return np.where(time < self.moment, 0.0, self.rate)


def exploding(update, per_epoch, optimizer=SGD, rate=1e38, **options):
    """A trainer whose loss is not finite from update number `update` (from 0) on."""
    model = network(layers.Dense(3), layers.Dense(3), dtype="float32")
    return trainer(model, optimizer(Exploding(update - 1, per_epoch, rate)), **options)


@pytest.mark.parametrize(
    ("update", "log_every", "stream"),
    [
        *((1, 1, False), (1, 100, True), (6, 2, True), (6, 7, False), (6, 100, False)),
        *((9, 1, True), (9, 2, False), (9, 7, True), (20, 7, True), (20, 100, False)),
    ],
)
def test_divergence_names_epoch_and_step(update, log_every, stream, monkeypatch):
    """Update number `update - 1` throws the weights away, so the next loss is the first bad one."""
    monkeypatch.setattr(batches, "STREAM_BYTES", 300)
    this = exploding(update, 7, log_every=log_every)
    epoch, step = update // 7 + 1, update % 7 + 1
    with pytest.raises(DivergenceError, match=rf"^loss: .* at step {step} of epoch {epoch}\."):
        fit(this, epochs=3, stream=stream)
    assert this.epoch == epoch - 1 == len(this.history.rows)
    assert this.history.stopped.startswith("DivergenceError: loss: not a finite number")
    assert this.updates == update == this.state()["updates"], "it is where it was before that step"


@pytest.mark.parametrize(("epochs", "log_every"), [(1, 2), (1, 100), (3, 1), (3, 7), (3, 100)])
def test_divergence_in_the_last_update_of_an_epoch(epochs, log_every):
    """No loss of this epoch shows it."""
    this = exploding(7, 7, rate=3e38, log_every=log_every)
    with pytest.raises(DivergenceError, match=r"^parameters: .* after step 7 of epoch 1\."):
        fit(this, epochs=epochs)
    assert this.history.rows == []


def test_the_penalty_is_in_the_loss_of_training_alone():
    model = network(layers.Dense(3), dtype="float64")
    this = gpunn.Trainer(model, "mean_squared_error", SGD(0.0, l2_penalty=0.5))
    targets = np.eye(3)[Y]
    history = fit(this, X, targets, epochs=1, batch_size=ROWS, validation_data=(X, targets))
    squares = (model.parameters.to_host()["dense_1.weights"] ** 2).sum()
    difference = history["loss"][0] - history["val_loss"][0]
    assert difference == pytest.approx(0.5 / 2 * squares / ROWS)
    assert this.evaluate(X, targets)["loss"] == pytest.approx(history["val_loss"][0])


def test_divergence_in_validation():
    this = gpunn.Trainer(network(layers.Dense(3)), "mean_squared_error", "sgd")
    far = (np.full((5, 4), 1e30), np.zeros((5, 3)))
    with pytest.raises(DivergenceError, match=r"^val_loss: not a finite number after epoch 1"):
        fit(this, X, np.eye(3)[Y], validation_data=far)
    assert this.history.stopped.startswith("DivergenceError: val_loss")


def test_divergence_before_the_first_update():
    this = trainer(network(layers.Dense(3)))
    this.model.parameters.values[...] = np.nan
    expected = r"'dense_1.weights' is not finite \(12 of 12 numbers\) before step 1 of epoch 1"
    with pytest.raises(DivergenceError, match=expected):
        fit(this)


@pytest.mark.parametrize(
    "optimizer", [lambda rate: Adam(rate), lambda rate: SGD(rate, momentum=0.9)]
)
def test_after_divergence_the_best_epoch_comes_back(optimizer):
    """Weights and optimizer's state, so that training can continue from there."""
    log = []
    this = exploding(9, 7, optimizer)
    stopping = EarlyStopping("loss")
    with pytest.raises(DivergenceError):
        fit(this, callbacks=[stopping, Recorder(log)])
    assert log[-1][1] == "end"
    assert (stopping.best_epoch, stopping.best) == (1, this.history["loss"][0])
    good = exploding(1000, 7, optimizer)
    fit(good, epochs=1)
    state = good.state()
    for name in state.keys() - {"passes"}:
        np.testing.assert_array_equal(this.state()[name], state[name], err_msg=name)
    np.testing.assert_array_equal(this.model.parameters.values, good.model.parameters.values)
    this.optimizer.learning_rate = gpunn.schedules.Constant(0.01)
    assert np.isfinite(fit(this, epochs=2)["loss"]).all()


class Always(Schedule):
    name = "always"

    def at(self, time, duration):
        return 0.125


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (Always(), [0.125] * 4),
        # The first figure improves on none; each of the others by less than min_delta.
        (
            ReduceOnPlateau(0.5, "loss", factor=0.5, patience=1, min_delta=1e9),
            [0.5, 0.5, 0.25, 0.125],
        ),
    ],
)
def test_rates_of_a_schedule_by_epoch(schedule, rates):
    assert fit(trainer(smooth(), SGD(schedule)), epochs=4)["learning_rate"] == rates


def test_there_is_no_snapshot_before_training():
    with pytest.raises(ArgumentError, match="training has not begun"):
        trainer().snapshot()


@pytest.mark.parametrize("batch_size", [ROWS, 10**5, 10**15])
def test_buffers_are_as_large_as_the_data(batch_size, monkeypatch):
    monkeypatch.setattr(sharing, "MAX_KINDS", 0)  # so that each trainer has buffers of its own
    this, other = trainer(), trainer()
    fit(this, batch_size=batch_size, validation_data=data(20, 1))
    fit(other, batch_size=ROWS, validation_data=data(20, 1))
    assert_same(this, other)
    assert this.evaluate(X, Y, batch_size=batch_size) == other.evaluate(X, Y, batch_size=ROWS)
    assert this.workspace_bytes() == other.workspace_bytes() < 200 * ROWS * 8


def test_later_data_may_have_more_rows():
    this, other = trainer(), trainer()
    for one, batch_size in ((this, 10**9), (other, 20)):
        fit(one, X[:20], Y[:20], epochs=1, batch_size=batch_size)
    for one, batch_size in ((this, 10**9), (other, ROWS)):
        fit(one, epochs=2, batch_size=batch_size)
    assert_same(this, other)


@pytest.mark.parametrize(
    "moment", ["on_train_begin", "on_updates_end", "on_epoch_end", "on_train_end"]
)
def test_a_callbacks_own_lack_of_memory_is_left_as_it_is(moment):
    """It does not depend on the batch size."""
    refuse = Mock(side_effect=MemoryError("Unable to allocate a picture"))
    greedy = Calls(**{moment: refuse, "every_updates": 1})
    this = trainer()
    with pytest.raises(MemoryError, match="a picture"):
        fit(this, callbacks=[greedy])
    if moment != "on_train_end":
        assert this.history.stopped == "MemoryError: Unable to allocate a picture"


@pytest.mark.parametrize("call", ["fit", "evaluate"])
def test_batches_too_large_for_memory(call, monkeypatch):
    this = trainer()
    refuse = Mock(side_effect=MemoryError("Unable to allocate 3 TiB"))
    monkeypatch.setattr("gpunn.workspace.Workspace.rows", refuse)
    message = (
        r"batch_size: out of memory with batches of 40 rows \(Unable to allocate 3 TiB\)\. The "
        r"activations of a batch take about 0\.0 MiB, .* Reduce batch_size, .*'sgd'\. To use"
    )
    with pytest.raises(ArgumentError, match=message):
        getattr(this, call)(X, Y, batch_size=40)


def test_more_accumulation_than_there_are_batches_takes_no_more_memory():
    """It makes one update per epoch, as with exactly as many batches."""
    runs = [trainer(smooth(), gradient_accumulation=accumulation) for accumulation in (7, 10**7)]
    for this in runs:
        with peak_below(2**26):
            fit(this, epochs=2)
        assert this.updates == 2
    assert_same_weights(*runs)


def test_display():
    this = trainer(network(layers.Dense(3)), Adam(0.001))
    begun = "<Trainer of (4,) -> (3,) on numpy: softmax_cross_entropy, adam, 0 epochs>"
    assert repr(this) == begun
    fit(this, epochs=1)
    assert repr(this).endswith("adam, 1 epoch>")
    this.history.stopped = "<b>"
    text = this._repr_html_()
    cells = ["(4,) -&gt; (3,)", "adam, learning rate 0.001", "1 layer, 15 parameters"]
    for cell in (*cells, "1 epoch, 7 updates", "&lt;b&gt;"):
        assert cell in text
    assert f"{this.history['accuracy'][0]:.6g}</td>" in text
    this.optimizer = SGD(Cosine(0.1))
    assert "sgd, learning rate cosine" in this._repr_html_()


def test_validation_metrics_are_those_of_validation_rows_only():
    """They change neither training nor other logs, and callbacks may monitor them."""
    classes = (Y > 0).astype(int)

    def trained(**options):
        this = trainer(network(layers.Dense(8, "relu"), layers.Dense(2)), **options)
        callbacks = [EarlyStopping("val_auc")] if options else []
        fit(this, X, classes, epochs=2, validation_split=0.2, callbacks=callbacks)
        return this

    without = trained()
    with_them = trained(validation_metrics=["log_loss", "auc", "accuracy"])
    assert_same_weights(without, with_them)
    further = {"val_log_loss", "val_auc"}
    assert set(with_them.history) - set(without.history) == further
    assert set(with_them.log_names) == set(with_them.history)
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert with_them.history[name] == without.history[name]
    assert with_them.history["val_log_loss"] == pytest.approx(with_them.history["val_loss"])
    found = with_them.evaluate(X, classes)
    assert list(found) == ["loss", "accuracy", "log_loss", "auc"]
    assert copy.deepcopy(with_them).evaluate(X, classes) == found
    with pytest.raises(ArgumentError, match=r"^validation_metrics: expected distinct names"):
        without.validation_metrics = ["auc", "auc"]
