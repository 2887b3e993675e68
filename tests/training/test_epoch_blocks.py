"""Blocks of epochs give the same bits as epochs by requests, whatever ends or changes training."""

import copy
import itertools
from contextlib import nullcontext
from typing import ClassVar

import numpy as np
import pytest

import gpunn
from gpunn import callbacks, layers, optimizers, schedules
from gpunn.errors import DivergenceError
from gpunn.training import epoch_blocks
from gpunn.training.epoch import EpochByRequests
from gpunn.training.epoch_program import EpochProgram
from gpunn.training.sharing import sharing_programs
from gpunn.training.training_policy import TrainingPolicy

pytestmark = pytest.mark.usefixtures("unhurried_blocks")

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(70, 4)).astype(np.float32)
LABELS = RANDOM.integers(0, 3, 70)
WEIGHTS = RANDOM.random(70)
RUN = EpochProgram.run
LOSS = "softmax_cross_entropy"


class Changes(callbacks.Callback):
    """Changes weights, a layer's setting and a rate; then ends training."""

    name = "changes"

    def on_epoch_end(self, trainer, logs):
        if trainer.epoch == 3:
            trainer.model.parameters["dense_1.biases"] = np.ones(6)
        if trainer.epoch == 5:
            trainer.model.layers[1].rate = 0.5
            trainer.optimizer.learning_rate = 1e-3
        if trainer.epoch == 11:
            trainer.stop_reason = "enough"


class Reads(callbacks.Callback):
    """Reads the network after each epoch."""

    name = "reads"
    reads_only = True

    def on_train_begin(self, trainer):
        self.seen = []

    def on_epoch_end(self, trainer, logs):
        self.seen.append(trainer.model.predict(X[:1]).tolist())


def stopping():
    return [Reads(), callbacks.EarlyStopping("val_loss", patience=2, min_delta=0.05)]


PLATEAU = schedules.ReduceOnPlateau(0.05, monitor="loss", patience=1, min_delta=0.02)
HALVES = {"validation_split": 0.4}
WIDE = {"validation_data": (X[:20], LABELS[:20]), "sample_weight": WEIGHTS}
ROW_8 = np.eye(70)[8]
"""Weights of which only one is not 0: that of a row that the fourth epoch leaves out."""
CASES = {
    "adam": (optimizers.Adam(0.01), {}, {}),
    "held_out": (optimizers.Adam(0.01), {}, HALVES),
    "weights": (optimizers.SGD(0.05, momentum=0.9), {"log_every": 2}, WIDE),
    "class_weights": (optimizers.Lion(0.001), {}, {"class_weight": {0: 2.0}, **HALVES}),
    "rest_dropped": (optimizers.AdamW(0.01), {}, {"drop_last": True, "shuffle": False}),
    "accumulated": (optimizers.RMSprop(0.01), {"gradient_accumulation": 3}, HALVES),
    "schedule": (optimizers.Adam(schedules.Cosine(0.01, 5)), {}, {}),
    "plateau": (optimizers.SGD(PLATEAU), {}, HALVES),
    "stopped": (optimizers.Adam(0.05), {}, {"callbacks": stopping, **HALVES}),
    "changed": (optimizers.Adam(0.01), {}, {"callbacks": lambda: [Changes()], **HALVES}),
    "weightless": (optimizers.SGD(0.01), {}, {"drop_last": True, "sample_weight": ROW_8}),
    "diverged": (optimizers.SGD(1e18), {}, {}),
    "skipped": (optimizers.SGD(1e17), {"on_divergence": "skip"}, {}),
}


def run(case, monkeypatch, max_epochs, dtype):
    """Train, and return everything that must not depend on blocks, and the blocks' epochs."""
    monkeypatch.setattr(epoch_blocks, "MAX_EPOCHS", max_epochs)
    ran = epochs_of_blocks(monkeypatch)
    optimizer, settings, options = CASES[case]
    parts = [layers.Dense(6, activation="relu"), layers.Dropout(0.2), layers.BatchNorm()]
    model = gpunn.Sequential([*parts, layers.Dense(3)], 4, "numpy", seed=1, dtype=dtype)
    trainer = gpunn.Trainer(model, LOSS, copy.deepcopy(optimizer), ["accuracy"], **settings)
    rules = options.get("callbacks", list)()
    options = {**options, "callbacks": rules, "progress": False, "batch_size": 16}
    error = ""
    try:
        trainer.fit(X, LABELS, epochs=14, **options)
    except DivergenceError as diverged:
        error = str(diverged)
    logs = {k: v for k, v in trainer.history.items() if not k.endswith(("seconds", "second"))}
    seen = [each.seen for each in rules if isinstance(each, Reads)]
    state = model.parameters.to_host(), trainer.state(), trainer.updates, trainer.epoch
    return (logs, state, trainer.history.stopped, error, seen), ran


def epochs_of_blocks(monkeypatch):
    """Return a list that receives the number of epochs of each block."""
    ran = []

    def run(self, epochs):
        ran.append(epochs)
        RUN(self, epochs)

    monkeypatch.setattr(EpochProgram, "run", run)
    return ran


@pytest.mark.parametrize(
    ("case", "dtype"), list(zip(CASES, itertools.cycle(["float32", "float64"])))
)
def test_bits_are_those_of_requests(case, dtype, monkeypatch, caplog):
    expected, none = run(case, monkeypatch, 0, dtype)
    actual, ran = run(case, monkeypatch, 5, dtype)
    np.testing.assert_equal(actual, expected)
    assert not none
    assert (case == "weightless") == ("all updates of epoch 4" in expected[3])
    if case not in ("diverged", "skipped"):
        assert max(ran) == (1 if case == "changed" else 5)


class Fails(TrainingPolicy):
    """Its score fails in the seventh epoch."""

    validation_metrics: ClassVar = {"calls": None}

    def __init__(self):
        self.calls = 0

    def score(self, outputs):
        self.calls += 1
        return {"calls": 1 / (7 - self.calls)}


@pytest.mark.parametrize("context", [nullcontext, sharing_programs])
def test_a_score_that_fails_leaves_the_state_after_its_epoch(context, monkeypatch):
    def trained(max_epochs):
        monkeypatch.setattr(epoch_blocks, "MAX_EPOCHS", max_epochs)
        model = gpunn.Sequential([layers.Dense(3)], 4, "numpy", seed=1)
        trainer = gpunn.Trainer(model, LOSS)
        trainer.policy = Fails()
        with pytest.raises(ZeroDivisionError), context():
            trainer.fit(X, LABELS, epochs=14, validation_split=0.4, progress=False)
        return model.parameters.to_host(), trainer.updates, trainer.history["val_calls"]

    expected = trained(0)
    np.testing.assert_equal(trained(64), expected)
    np.testing.assert_equal(trained(3), expected)


def test_a_subclass_of_a_reading_callback_may_change_the_network(monkeypatch):
    class Own(Reads):
        name = "own"

    ran = epochs_of_blocks(monkeypatch)
    model = gpunn.Sequential([layers.Dense(3)], 4, "numpy")
    trainer = gpunn.Trainer(model, LOSS)
    trainer.fit(X, LABELS, epochs=5, callbacks=[Own()], progress=False)
    assert set(ran) == {1}


def test_buffers_whose_sum_is_infinite(unhurried_blocks, monkeypatch):
    """A piecewise linear embedding has the largest number as a bound of each column."""
    by_requests, run = [], EpochByRequests.run
    monkeypatch.setattr(EpochByRequests, "run", lambda self: by_requests.append(1) or run(self))
    columns = np.tile(X, (1, 10))
    embedding = layers.PiecewiseLinearEmbedding([[-1, 1]] * 40, size=2)
    model = gpunn.Sequential([embedding, layers.Dense(3)], 40, "numpy")
    trainer = gpunn.Trainer(model, LOSS)
    trainer.fit(columns, LABELS, epochs=5, progress=False)
    assert not by_requests
    with np.errstate(all="ignore"):
        assert not np.isfinite(model.parameters.running.sum())
