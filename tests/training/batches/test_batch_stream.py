"""Training on batches from a function or an iterable."""

import signal
import sys
import threading
import time
import traceback
from itertools import pairwise

import numpy as np
import pytest
from calls import Calls
from classes import ROWS, SIZE, W, X, Y, batches, trainer
from equality import assert_same
from kills import assert_resumes

import gpunn
from gpunn import layers
from gpunn.callbacks import EarlyStopping
from gpunn.data.prefetch import Prefetch
from gpunn.distributed import run_threads
from gpunn.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    DistributedError,
    DivergenceError,
    GpunnWarning,
)
from gpunn.layers import BatchNorm, Dense
from gpunn.optimizers import Adam

OPTIONS = {"batch_size": SIZE, "progress": False}


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    left = [thread.name for thread in threading.enumerate() if "prefetch" in thread.name]
    assert not left


class Restartable:
    """An iterable that starts again each time."""

    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


FORMS = {
    "function": lambda items: lambda epoch: iter(items),
    "generator": lambda items: lambda epoch: (batch for batch in items),
    "list": lambda items: items,
    "iterable": Restartable,
}


@pytest.fixture(scope="module")
def expected():
    """What training on the rows in order gives."""
    one = trainer()
    one.fit(X, Y, epochs=3, batch_size=SIZE, shuffle=False, progress=False)
    return one


@pytest.mark.parametrize(
    ("form", "prefetch"), [*((form, 1) for form in FORMS), ("function", 0), ("generator", 3)]
)
def test_batches_train_as_the_rows_in_order(expected, form, prefetch):
    found = trainer()
    given = {} if form == "list" else {"steps_per_epoch": 7}
    found.fit(FORMS[form](batches()), epochs=3, **OPTIONS, prefetch=prefetch, **given)
    assert_same(found, expected)
    assert found.updates == 21


@pytest.mark.parametrize(("weights", "accumulation"), [(False, 1), (True, 3)])
def test_so_they_do_everywhere(backend, weights, accumulation):
    expected, found = (trainer(backend, gradient_accumulation=accumulation) for _ in range(2))
    options = {"sample_weight": W} if weights else {}
    given = {"epochs": 2, **OPTIONS}
    expected.fit(X, Y, shuffle=False, **options, **given)
    found.fit(batches(weights), **given)
    assert_same(found, expected)
    assert found.updates == expected.updates


AUGMENTATIONS = {"noise": lambda X, y, random: X + 0.1 * random.normal(X.shape), "none": None}


@pytest.mark.parametrize(
    "seed", [*range(8), *(pytest.param(n, marks=pytest.mark.full) for n in range(8, 24))]
)
def test_any_batches_train_as_arrays_of_the_same_rows(seed):
    """Bitwise identical, even if batches have fewer rows than `batch_size`."""
    random = np.random.default_rng(seed)
    size = int(random.choice([2, 3, 5, 8, 16, 48, 50, 53]))
    kind = random.choice(["none", "ones", "random", "a batch of zeros"])
    weights = {
        "none": None,
        "ones": np.ones(ROWS),
        "random": random.random(ROWS) + 0.1,
        "a batch of zeros": np.where(np.arange(ROWS) // size % 2, 0.0, random.random(ROWS) + 0.1),
    }[kind]
    settings = {
        "gradient_accumulation": int(random.integers(1, 4)),
        "log_every": int(random.choice([1, 2, 100])),
        "optimizer": Adam(0.01, l2_penalty=0.01, max_norm=random.choice([None, 1.0])),
    }
    augment = AUGMENTATIONS[random.choice(list(AUGMENTATIONS))]
    expected, found = (trainer(**settings) for _ in range(2))
    options = {"epochs": 2, "progress": False, "augment": augment}
    expected.fit(X, Y, batch_size=size, shuffle=False, sample_weight=weights, **options)
    arrays = (X, Y) if weights is None else (X, Y, weights)
    found.fit(
        lambda epoch: (tuple(a[i : i + size] for a in arrays) for i in range(0, ROWS, size)),
        batch_size=size + int(random.choice([0, 1, 30])),
        steps_per_epoch=-(-ROWS // size),
        prefetch=int(random.integers(3)),
        **options,
    )
    assert_same(found, expected)


def test_batches_of_several_sizes_stay_apart_in_an_update():
    """Batches are normalized one by one, not as the update's first rows and the rest."""
    sizes = [3, 8, 5, 8, 8, 2, 6, 8, 2]
    bounds = np.cumsum([0, *sizes])
    given = [(X[i:j], Y[i:j]) for i, j in pairwise(bounds)]
    seen = []

    class Sizes(BatchNorm):
        name = "test_sizes"

        def forward(self, x, workspace):
            seen.append(x.shape[0])
            return super().forward(x, workspace)

    one = trainer(layers=[Sizes(), Dense(3)], gradient_accumulation=2)
    one.fit(given, batch_size=8, progress=False)
    assert seen == sizes


@pytest.mark.parametrize("prefetch", [0, 2])
def test_all_weights_of_a_batch_may_be_zero_but_not_of_an_epoch(prefetch):
    some = [(x, y, w * (i == 2)) for i, (x, y, w) in enumerate(batches(weights=True))]
    one = trainer()
    one.fit(some, epochs=1, **OPTIONS, prefetch=prefetch)
    assert np.isfinite(one.evaluate(some)["loss"])
    none = [(x, y, 0 * w) for x, y, w in some]
    for call in (one.fit, one.evaluate):
        options = {"progress": False, "prefetch": prefetch} if call == one.fit else {}
        with pytest.raises(DataError, match=r"epoch \d: sample_weight: all weights are zero"):
            call(none, **options)


def shuffled(epoch):
    order = np.random.default_rng(epoch).permutation(ROWS)
    for i in range(0, ROWS, SIZE):
        yield X[order[i : i + SIZE]], Y[order[i : i + SIZE]]


def test_a_function_is_given_the_epoch():
    given, seen = trainer(), []

    def noted(epoch):
        seen.append(epoch)
        return shuffled(epoch)

    options = {"steps_per_epoch": 7, **OPTIONS}
    given.fit(noted, epochs=2, **options)
    given.fit(noted, epochs=1, validation_split=0, **options)
    assert seen == [0, 1, 2]


def test_no_more_is_made_than_is_to_be():
    """Neither are the batches after an epoch's last one."""
    made, most, used = [], [], []

    def endless(epoch):
        number = 0
        while True:
            made.append(number)
            yield X[:SIZE], Y[:SIZE]
            number += 1

    def look(trainer):
        used.append(trainer.updates)
        most.append(len(made) - trainer.updates)

    options = {"batch_size": SIZE, "prefetch": 2, "progress": False}
    callbacks = [Calls(every_updates=1, on_updates_end=look)]
    trainer(log_every=1).fit(endless, steps_per_epoch=6, callbacks=callbacks, **options)
    assert made == list(range(6))
    assert used
    assert max(most) <= 3  # two that wait, and one in hand


def test_an_error_comes_through_with_its_traceback():
    def broken(epoch):
        yield X[:SIZE], Y[:SIZE]
        deep()

    def deep():
        raise ZeroDivisionError("no file")

    with pytest.raises(ZeroDivisionError, match="no file") as caught:
        trainer().fit(broken, steps_per_epoch=3, **OPTIONS)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["broken", "deep"]
    assert caught.value.__notes__ == ["X: raised while batch 2 of epoch 1 was made"]


def test_an_error_before_the_first_batch_says_what_was_called():
    with pytest.raises(TypeError) as caught:
        trainer().fit(lambda: batches(), steps_per_epoch=3, **OPTIONS)
    assert caught.value.__notes__ == ["X: raised by the call for epoch 0"]


@pytest.mark.parametrize(("prefetch", "accumulation"), [(0, 1), (2, 1), (0, 3)])
def test_a_function_may_put_all_batches_into_the_same_arrays(prefetch, accumulation):
    def reusing(epoch):
        x, y, weights = X[:SIZE].copy(), Y[:SIZE].copy(), W[:SIZE].copy()
        for given in batches(weights=True)[:6]:
            x[...], y[...], weights[...] = given
            yield x, y, weights

    options = {"batch_size": SIZE, "progress": False, "steps_per_epoch": 6}
    expected, found = (trainer(gradient_accumulation=accumulation) for _ in range(2))
    expected.fit(batches(weights=True), **options)
    found.fit(reusing, prefetch=prefetch, **options)
    assert_same(found, expected)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_generator_is_closed_where_a_batch_is_bad(prefetch):
    closed = []

    def bad(epoch):
        try:
            yield X[:SIZE], Y[:SIZE]
            yield X[:SIZE], Y[:4]
        finally:
            closed.append(epoch)

    given = {"batch_size": SIZE, "prefetch": prefetch, "progress": False}
    with pytest.raises(DataError, match="batch 2 of epoch 1"):
        trainer().fit(bad, steps_per_epoch=3, **given)
    assert closed == [0]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_generator_is_closed_wherever_training_ends(prefetch):
    closed = []

    def kept_open(epoch):
        try:
            while True:
                yield X[:SIZE], Y[:SIZE]
        finally:
            closed.append(epoch)

    def fail(trainer):
        if trainer.epoch == 1:
            raise RuntimeError("stop")

    options = {"epochs": 3, "batch_size": SIZE, "prefetch": prefetch, "progress": False}
    callbacks = [Calls(every_updates=1, on_updates_end=fail)]
    with pytest.raises(RuntimeError, match="stop") as caught:
        trainer(log_every=1).fit(kept_open, steps_per_epoch=20, callbacks=callbacks, **options)
    assert closed == [0, 1]
    assert caught  # whose traceback holds on to all that was used


def test_early_stopping_ends_the_thread():
    given = trainer(optimizer=Adam(0.0))
    history = given.fit(
        lambda epoch: batches(),
        epochs=9,
        steps_per_epoch=7,
        **OPTIONS,
        callbacks=[EarlyStopping(patience=1, monitor="accuracy", min_delta=1.0)],
    )
    assert len(history["loss"]) == 2


def test_ctrl_c_ends_training_between_two_batches():
    def interrupted(epoch):
        for number, batch in enumerate(batches()):
            if number == 2:
                signal.raise_signal(signal.SIGINT)
            yield batch

    given = trainer()
    history = given.fit(interrupted, steps_per_epoch=7, batch_size=SIZE, prefetch=0, progress=False)
    assert history.stopped == "interrupted by Ctrl-C"
    assert given.updates == 3


def test_a_second_ctrl_c_does_not_wait_for_a_batch_that_never_comes(monkeypatch):
    monkeypatch.setattr("gpunn.data.prefetch.PATIENCE", 0.0)
    waiting, over = threading.Event(), threading.Event()

    def stuck(epoch):
        yield X[:SIZE], Y[:SIZE]
        waiting.set()
        over.wait()

    main = threading.main_thread().ident

    def waits_for_a_batch():
        frame = sys._current_frames()[main]
        while frame and frame.f_code is not Prefetch.__next__.__code__:
            frame = frame.f_back
        return frame is not None

    def press_twice():
        """The second time when the first has been noted: two pending signals would be one."""
        interruption = signal.getsignal(signal.SIGINT).__self__
        for may_press in (waits_for_a_batch, lambda: interruption.requested):
            while not may_press():
                time.sleep(0.01)
            signal.pthread_kill(main, signal.SIGINT)

    def go(trainer):
        waiting.wait()
        threading.Thread(target=press_twice).start()

    callbacks = [Calls(every_updates=1, on_updates_end=go)]
    with pytest.raises(KeyboardInterrupt):
        trainer(log_every=1).fit(stuck, steps_per_epoch=3, **OPTIONS, callbacks=callbacks)
    over.set()
    for thread in threading.enumerate():
        if "prefetch" in thread.name:
            thread.join()


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("at", [3, 7, 9])
def test_a_resumed_run_gives_the_same_bits(tmp_path, at, accumulation):
    """Within an epoch, the source makes its batches again from the first one."""
    at = -(-at // accumulation)

    def train(this, **options):
        given = {"epochs": 3, "steps_per_epoch": 7, **OPTIONS}
        this.fit(shuffled, **given, **options)

    assert_resumes(lambda: trainer(gradient_accumulation=accumulation), train, tmp_path, at)


def test_validation_in_batches_is_that_of_their_rows():
    expected, found, third = trainer(), trainer(), trainer()
    options = {"epochs": 2, **OPTIONS}
    rows = expected.fit(X, Y, shuffle=False, validation_data=(X, Y, W), **options)
    seen = []

    def held_out(epoch):
        seen.append(epoch)
        return iter(batches(weights=True, size=19))

    streamed = found.fit(batches(), validation_data=held_out, **options)
    for name in ("val_loss", "val_accuracy"):
        np.testing.assert_allclose(streamed[name], rows[name], rtol=1e-6)
    assert seen == [0, 1]
    arrays = third.fit(batches(), validation_data=(X, Y, W), **options)
    assert arrays["val_loss"] == rows["val_loss"]
    mixed = trainer().fit(X, Y, validation_data=batches(True), **options)
    assert len(mixed["val_loss"]) == 2
    assert found.evaluate(batches(True)) == pytest.approx(
        found.evaluate(X, Y, sample_weight=W), rel=1e-6
    )


def test_a_table_and_named_columns_are_taken_by_name():
    pandas = pytest.importorskip("pandas")

    def frames(order):
        return [
            (pandas.DataFrame({n: x[:, "abcd".index(n)] for n in order}), y) for x, y in batches()
        ]

    expected, found = trainer(), trainer()
    expected.fit(batches(), **OPTIONS)
    mixed = [*frames("abcd")[:3], *frames("dbac")[3:]]
    found.fit(mixed, **OPTIONS)
    assert_same(found, expected)
    assert found.model.feature_names == list("abcd")


@pytest.mark.parametrize(
    ("columns", "message"), [("dbac", "in another order"), ("abcx", "missing: 'd'; unknown: 'x'")]
)
def test_columns_of_validation_data_are_those_of_the_first_batch(columns, message):
    pandas = pytest.importorskip("pandas")
    frames = [(pandas.DataFrame(x, columns=list("abcd")), y) for x, y in batches()]
    held_out = pandas.DataFrame(X, columns=list(columns))
    with pytest.raises(
        DataError,
        match=f"1: X: the columns of validation_data differ from this batch: .*{message}",
    ):
        trainer().fit(frames, validation_data=(held_out, Y), **OPTIONS)
    given = trainer()
    given.fit(frames, validation_data=(X, Y), **OPTIONS)
    history = given.fit(frames, validation_data=(frames[0][0][list("dbac")], Y[:SIZE]), **OPTIONS)
    assert history["val_loss"][1] == pytest.approx(given.evaluate(*frames[0])["loss"])


def test_what_is_learned_from_all_rows_needs_some_first():
    given = trainer(layers=[layers.Standardization(), Dense(3)])
    with pytest.raises(ArgumentError, match="'standardization_1': must see all training rows"):
        given.fit(batches(), **OPTIONS)
    given.fit(X[:20], Y[:20], epochs=0, progress=False)
    given.fit(batches(), **OPTIONS)
    mean = given.model.parameters["standardization_1.mean"]
    np.testing.assert_allclose(mean, X[:20].mean(axis=0), rtol=1e-5)


def test_divergence_is_found_and_told(caplog):
    """The batches are made again, up to the one that diverged."""

    def bad(epoch):
        for number, (x, y) in enumerate(batches()):
            yield (np.full_like(x, 3e38) if number == 4 else x), y

    options = {"steps_per_epoch": 7, **OPTIONS}

    def made(**options):
        model = gpunn.Sequential([Dense(8), Dense(3)], 4, "numpy")
        return gpunn.Trainer(model, "softmax_cross_entropy", log_every=3, **options)

    with pytest.raises(DivergenceError, match=r"at step 5 of epoch 1\. The activations"):
        made().fit(bad, **options)
    given = made(on_divergence="skip")
    given.fit(bad, **options)
    assert given.updates == 7
    assert "gpunn left out 1 update(s) before step 6" in caplog.text


def test_what_is_hardly_meant_is_said_where_fit_was_called():
    given = trainer(layers=[Dense(3, "relu")])
    with pytest.warns(GpunnWarning, match="layer 'dense_1': with its activation 'relu'") as caught:
        given.fit(batches(), batch_size=SIZE, epochs=2, progress=False)
    assert [warning.filename for warning in caught] == [__file__]
    given.evaluate(batches())  # without a warning


def test_targets_of_another_scale_are_told_of_before_the_first_training():
    given = gpunn.Trainer(gpunn.Sequential([Dense(1)], 4, "numpy"), "mean_squared_error")
    far = [(x, 1000.0 * x[:, 0] + 5000) for x, _ in batches()]
    with pytest.warns(GpunnWarning, match="y: the targets have a mean of "):
        given.fit(far, **OPTIONS)
    given.fit(far, **OPTIONS)  # without a warning


GOOD = (X[:SIZE], Y[:SIZE])


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ((X[:SIZE, :3], Y[:SIZE]), DataError, r"batch 2 of epoch 1: X: this network expects shape"),
        ((X[:SIZE], Y[:4]), DataError, "batch 2 of epoch 1: "),
        ((X[:SIZE] * np.nan, Y[:SIZE]), DataError, r"batch 2 of epoch 1: X: .*numbers; X\[0, 0\]"),
        ((X[:SIZE], Y[:SIZE] + 9), DataError, "batch 2 of epoch 1: y"),
        ((X[:SIZE], Y[:SIZE], W[:3]), DataError, "batch 2 of epoch 1: sample_weight"),
        ((X[:SIZE], Y[:SIZE], W[:SIZE]), DataError, "has sample weights; the first"),
        ((X[:SIZE], np.eye(3)[Y[:SIZE]]), DataError, r"has y of shape \(rows, 3\); the first"),
        ((X[:0], Y[:0]), DataError, "batch 2 of epoch 1: X: expected at least one row"),
        (X[:SIZE], DataError, "batch 2 of epoch 1: expected a tuple .*got a value of type nda"),
        ((X[:SIZE],), DataError, r"got a value of type tuple \(length 1\)"),
    ],
)
def test_each_batch_is_checked_before_the_device_sees_it(bad, error, message):
    given = trainer()
    with pytest.raises(error, match=message):
        given.fit(Restartable([GOOD, bad]), steps_per_epoch=2, **OPTIONS)
    assert given.updates == 1


def test_too_few_batches():
    used_up = iter(2 * batches())
    with pytest.raises(DataError, match=r"epoch 3: expected 7 .* got 0\. X must yield batches"):
        trainer().fit(lambda epoch: used_up, epochs=3, steps_per_epoch=7, **OPTIONS)
    given = trainer()
    with pytest.raises(DataError, match=r"^X: .* epoch 1: expected 8 \(steps_per_epoch\); got 7"):
        given.fit(lambda epoch: batches(), steps_per_epoch=8, **OPTIONS)
    with pytest.raises(DataError, match=r"validation_data: .*expected at least one; got 0"):
        given.fit(X, Y, validation_data=lambda epoch: [], progress=False)


@pytest.mark.parametrize(
    ("given", "options", "error", "message"),
    [
        (iter(batches()), {}, ArgumentError, "X: list_iterator can be iterated only once"),
        ((b for b in batches()), {}, ArgumentError, "X: generator can be iterated only once"),
        (X, {}, ArgumentError, "y: give the targets. Or give batches as X"),
        (7, {}, ArgumentError, "y: give the targets"),
        (lambda epoch: batches(), {}, ArgumentError, "steps_per_epoch: give the number"),
        (Restartable(batches()), {}, ArgumentError, "or an iterable without a length"),
        (lambda epoch: 7, {"steps_per_epoch": 1}, ArgumentTypeError, "must return an iterable of"),
        (batches(), {"steps_per_epoch": 0}, ArgumentError, "steps_per_epoch: expected"),
        (batches(), {"prefetch": -1}, ArgumentError, "prefetch: expected"),
        (batches(), {"validation_split": 0.2}, ArgumentError, "validation_split: works only"),
        (batches(), {"sample_weight": W}, ArgumentError, "sample_weight: works only with arrays"),
        (batches(), {"class_weight": "balanced"}, ArgumentError, "class_weight: works only"),
        (batches(), {"drop_last": True}, ArgumentError, "drop_last: works only with arrays"),
        (batches(), {"shuffle_members": True}, ArgumentError, "shuffle_members: works only"),
        (batches(), {"stream": True}, ArgumentError, "stream: works only with arrays"),
        (batches(), {"validation_data": X}, ArgumentError, "validation_data: expected a tuple"),
    ],
)
def test_what_can_not_be(given, options, error, message):
    this = trainer()
    with pytest.raises(error, match=message):
        this.fit(given, **OPTIONS, **options)
    assert this.updates == 0


def test_arrays_have_no_steps():
    with pytest.raises(ArgumentError, match="steps_per_epoch: works only with batches"):
        trainer().fit(X, Y, steps_per_epoch=3, progress=False)
    with pytest.raises(ArgumentError, match="validation_split: can't be combined with valid"):
        trainer().fit(X, Y, validation_data=batches(), validation_split=0.2, progress=False)
    with pytest.raises(ArgumentError, match="y: give the targets"):
        trainer().evaluate(X)
    for given in (lambda epoch: batches(), iter(batches())):
        for method in (trainer().fit, trainer().evaluate):
            with pytest.raises(ArgumentError, match="y: can't be combined with batches"):
                method(given, Y)
    with pytest.raises(ArgumentError, match="sample_weight: works only with arrays"):
        trainer().evaluate(batches(), sample_weight=W)


def test_ranks_and_shards_take_arrays():
    def fit(communicator):
        given = trainer(layers=[Dense(3)], communicator=communicator)
        with pytest.raises((ArgumentError, DistributedError), match="X: expected arrays"):
            given.fit(batches(), **OPTIONS)

    run_threads(2, fit)
    with pytest.raises(ArgumentError, match="X: expected arrays"):
        trainer(shards=2, batch_norm="local").fit(batches(), **OPTIONS)
