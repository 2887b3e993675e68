"""Batches that a function changes before each update."""

import itertools
from unittest.mock import Mock

import numpy as np
import pytest
from classes import ROWS, SIZE, W, X, Y, batches, trainer
from equality import assert_same
from kills import assert_resumes

import gpunn
from gpunn import augmentations, layers
from gpunn.data import batches as data_batches
from gpunn.distributed import run_threads
from gpunn.errors import (
    ArgumentError,
    ArgumentTypeError,
    DistributedError,
    DivergenceError,
)
from gpunn.layers import Dense

ONE_HOT = np.eye(3)[Y]
PIXELS = np.random.default_rng(1).integers(0, 256, (ROWS, 4, 5), np.uint8)


def unchanged(X, y, random):
    return X


def noisy(X, y, random):
    return X + random.normal(X.shape, deviation=0.5)


GIVEN = {"epochs": 2, "batch_size": SIZE, "progress": False}


OPTIONS = {
    "shuffled": {},
    "streamed": {"stream": True},
    "in order": {"shuffle": False},
    "sample weights": {"sample_weight": W},
    "class weights": {"class_weight": "balanced"},
    "whole batches": {"drop_last": True},
    "one batch": {"batch_size": ROWS},
}


@pytest.mark.parametrize(("name", "accumulation"), list(zip(OPTIONS, itertools.cycle([3, 1]))))
def test_a_function_that_changes_nothing(name, accumulation, monkeypatch):
    options = OPTIONS[name]
    monkeypatch.setattr(data_batches, "STREAM_BYTES", 600)
    expected, found = (trainer(gradient_accumulation=accumulation) for _ in range(2))
    expected.fit(X, Y, **{**GIVEN, **options})
    found.fit(X, Y, augment=unchanged, **{**GIVEN, **options})
    assert_same(found, expected)


MEMBERS = [
    *(layers.Members(2), layers.MemberDense(4, "relu"), layers.MemberDense(3, separate=True)),
    layers.MeanOverMembers("softmax"),
]
OF_PIXELS = [layers.Rescaling(), layers.Flatten(), Dense(3)]


@pytest.mark.parametrize(
    ("parts", "rows", "options"),
    [(MEMBERS, X, {"shuffle_members": True}), (OF_PIXELS, PIXELS, {})],
    ids=["members", "pixels"],
)
def test_rows_of_members_and_pixels(parts, rows, options):
    made = [[part.config() for part in parts] for _ in range(2)]
    expected, found = (trainer(layers=each, shape=rows.shape[1:]) for each in made)
    seen = set()

    def look(X, y, random):
        seen.add(str(X.dtype))
        return X

    expected.fit(rows, Y, **GIVEN, **options)
    found.fit(rows, Y, augment=look, **GIVEN, **options)
    assert_same(found, expected)
    assert seen == {"float32"}


def test_rows_come_as_the_batch_has_them():
    seen = []

    def look(X, y, random):
        seen.append((np.array(X), np.array(y)))
        return X

    trainer().fit(X, Y, epochs=1, batch_size=SIZE, shuffle=False, progress=False, augment=look)
    assert [len(x) for x, _ in seen] == 6 * [SIZE] + [2]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in seen]), X)
    np.testing.assert_array_equal(np.concatenate([y for _, y in seen]), Y)


def test_the_same_numbers_everywhere(backend):
    """Even if a graph does several updates in one launch."""
    drawn = {}

    def look(X, y, random):
        numbers = random.normal(X.shape, deviation=0.5)
        drawn[place].append(backend_of[place].to_host(numbers))
        return X + numbers

    found, backend_of = {}, {}
    for place, ops in (("host", gpunn.get_backend("numpy")), ("here", backend)):
        drawn[place], backend_of[place] = [], ops
        found[place] = trainer(ops)
        found[place].fit(X, Y, augment=look, validation_data=(X, Y), **GIVEN)
    for ours, theirs in zip(drawn["here"], drawn["host"], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(drawn["here"]) == 14
    assert len({array.tobytes() for array in drawn["here"]}) == 14
    for name, array in found["host"].model.parameters.to_host().items():
        here = backend.to_host(found["here"].model.parameters[name])
        np.testing.assert_allclose(here, array, rtol=1e-3, atol=1e-4)


def test_it_is_the_same_however_rows_come(monkeypatch):
    monkeypatch.setattr(data_batches, "STREAM_BYTES", 600)
    given = {**GIVEN, "augment": noisy}
    resident, again, streamed, made = (trainer() for _ in range(4))
    resident.fit(X, Y, shuffle=False, **given)
    again.fit(X, Y, shuffle=False, **given)
    streamed.fit(X, Y, shuffle=False, stream=True, **given)
    made.fit(lambda epoch: batches(), steps_per_epoch=7, **given)
    for each in (again, streamed, made):
        assert_same(each, resident)


def test_several_are_called_in_order():
    def swap(X, y, random):
        return X[::-1, ...], y[::-1]

    def train(augment):
        each = trainer(layers=[layers.Flatten(), Dense(3)], shape=(4, 5, 1))
        each.fit(PIXELS[..., None], Y, augment=augment, **GIVEN)
        return each

    shift = augmentations.Shift(1)
    assert_same(
        train([swap, "flip", {"name": "shift", "pixels": 1}]),
        train(
            lambda X, y, random: (
                shift(augmentations.Flip()(X[::-1, ...], y, random), y, random),
                y[::-1],
            )
        ),
    )
    assert_same(train([]), train(None))


@pytest.mark.parametrize("stream", [False, True])
def test_a_resumed_run_is_bitwise_identical(tmp_path, stream):
    def train(this, **options):
        this.fit(X, Y, augment=noisy, stream=stream, **GIVEN, **options)

    assert_resumes(trainer, train, tmp_path, 10)


def test_two_calls_are_one(tmp_path):
    whole, parts = trainer(), trainer()
    whole.fit(X, Y, augment=noisy, **GIVEN)
    for _ in range(2):
        parts.fit(X, Y, augment=noisy, **{**GIVEN, "epochs": 1})
    assert_same(parts, whole)


def test_targets_are_changed_with_the_rows():
    """Mix-up (Zhang et al. 2018): pairs of rows and their targets are mixed."""
    seen = []

    def mix_up(X, y, random):
        share = random.uniform((X.shape[0], 1))
        other = random.permutation(X.shape[0])
        mixed = share * y + (1 - share) * random.xp.take(y, other, axis=0)
        seen.append(np.array(mixed))
        return share * X + (1 - share) * random.xp.take(X, other, axis=0), mixed

    given = trainer()
    given.fit(X, ONE_HOT, augment=mix_up, **GIVEN)
    plain = trainer()
    plain.fit(X, ONE_HOT, **GIVEN)
    assert given.history["loss"] != plain.history["loss"]
    np.testing.assert_allclose(np.concatenate(seen).sum(axis=1), 1, rtol=1e-6)


def test_rows_may_be_changed_in_place_or_be_a_view():
    def in_place(X, y, random):
        X *= 2
        return X

    def backwards(X, y, random):
        return X[:, ::-1]

    for change, rows in ((in_place, 2 * X), (backwards, X[:, ::-1])):
        found, expected = trainer(), trainer()
        found.fit(X, Y, augment=change, **GIVEN)
        expected.fit(rows, Y, **GIVEN)
        assert_same(found, expected)


def test_validation_and_evaluation_are_as_they_are():
    calls = []

    def count(X, y, random):
        calls.append(len(X))
        return X * 0

    given = trainer()
    given.fit(X, Y, validation_data=(X, Y), augment=count, **GIVEN)
    given.evaluate(X, Y)
    assert sum(calls) == 2 * ROWS


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda X, y, random: X[:3], r"augment: must return X as an array of the backend with"),
        (lambda X, y, random: None, "augment: must return X as an array of .*; it returned NoneT"),
        (lambda X, y, random: (X, y[:1]), "augment: must return y as an array of the backend"),
        (lambda X, y, random: (X, y, X), r"augment: must return X, or \(X, y\); it returned 3 va"),
        (lambda X, y, random: X.tolist(), "it returned list"),
        (lambda X, y, random: X + 1j, "augment: must return X as real numbers; it returned"),
        (lambda X, y, random: X.astype("U9"), "augment: must return X as real numbers"),
        (lambda X, y, random: (X, y + 0.5), "as integers, since they are labels; it returned"),
    ],
)
def test_what_a_function_must_return(function, message):
    with pytest.raises(ArgumentError, match=message):
        trainer().fit(X, Y, augment=function, **GIVEN)


def test_what_it_raises_comes_through():
    with pytest.raises(ZeroDivisionError, match="none"):
        trainer().fit(X, Y, augment=Mock(side_effect=ZeroDivisionError("none")), **GIVEN)


def test_mistakes():
    with pytest.raises(ArgumentTypeError, match=r"augment: expected a name, .* an Augm"):
        trainer().fit(X, Y, augment=3, **GIVEN)
    with pytest.raises(ArgumentError, match="augment: 'flip' expects rows of shape"):
        trainer().fit(X, Y, augment="flip", **GIVEN)

    def fit(communicator):
        given = trainer(layers=[Dense(3)], communicator=communicator)
        with pytest.raises((ArgumentError, DistributedError), match="augment: can't be combined"):
            given.fit(X, Y, augment=unchanged, **GIVEN)

    run_threads(2, fit)


def test_divergence_is_found_with_the_rows_as_they_were_changed():
    def explode(X, y, random):
        return X * 6e37 if random.host.random() < 0.2 else X

    model = gpunn.Sequential([Dense(8), Dense(3)], 4, "numpy", seed=1)
    given = gpunn.Trainer(model, "softmax_cross_entropy", log_every=4)
    with (
        np.errstate(all="ignore"),
        pytest.raises(DivergenceError, match=r"outputs are up to .*e\+37"),
    ):
        given.fit(X, Y, augment=explode, **{**GIVEN, "epochs": 9})


@pytest.mark.parametrize("place", ["X", "y"])
def test_numbers_that_are_not_finite_are_told_from_divergence(place):
    def spoiled(X, y, random):
        return (X / 0 * 0, y) if place == "X" else (X, y / 0 * 0)

    model = gpunn.Sequential([Dense(3)], 4, "numpy")
    given = gpunn.Trainer(model, "mean_squared_error")
    message = f"augment: {place} returned at step 1 of epoch 1 has numbers that are not finite"
    with np.errstate(all="ignore"), pytest.raises(DivergenceError, match=message):
        given.fit(X, np.eye(3)[Y], augment=spoiled, **GIVEN)


def test_other_random_numbers():
    drawn = {}

    def draw(X, y, random):
        drawn["integers"] = random.integers(2, 5, 100)
        drawn["uniform"] = random.uniform((100, 2), low=-1.0)
        drawn["permutation"] = random.permutation(9)
        return X

    trainer().fit(X, Y, augment=draw, **GIVEN)
    assert set(drawn["integers"].tolist()) == {2, 3, 4}
    assert drawn["uniform"].dtype == np.float32
    assert -1 <= drawn["uniform"].min() < 0 < drawn["uniform"].max() <= 1
    assert sorted(drawn["permutation"].tolist()) == list(range(9))
