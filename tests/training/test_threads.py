"""Several threads that train, evaluate and predict at the same time."""

import copy
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from calls import Calls
from equality import rows

import gpunn
from gpunn import network
from gpunn.errors import ConcurrentUseError
from gpunn.layers import Dense
from gpunn.training.batches.dataset import DatasetBuilder

pytestmark = pytest.mark.usefixtures("two_blas_threads")

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(300, 20)).astype(np.float32)
Y = RANDOM.integers(0, 3, 300)


def trainer(seed=0, units=96):
    model = gpunn.Sequential(
        [Dense(units, "relu"), Dense(3)], input_shape=(20,), backend="numpy", seed=seed
    )
    return gpunn.Trainer(model, "softmax_cross_entropy", "adam", metrics=["accuracy"])


def in_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


TWO_EVALUATIONS = """
import threading
import numpy as np
import gpunn
X = np.random.default_rng(0).normal(size=(300, 20)).astype(np.float32)
y = np.arange(300) % 3
model = gpunn.Sequential([gpunn.layers.Dense(3)], input_shape=(20,), backend="numpy")
trainer = gpunn.Trainer(model, "softmax_cross_entropy", metrics=["accuracy"])
alone = trainer.evaluate(X, y)
together = []

def evaluate():
    for _ in range(100):
        together.append(trainer.evaluate(X, y, batch_size=100) == alone2)

alone2 = trainer.evaluate(X, y, batch_size=100)
threads = [threading.Thread(target=evaluate) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert together == [True] * 300, together
"""


def test_evaluations_take_turns():
    """In a separate process, since memory that is freed while in use would end it."""
    subprocess.run([sys.executable, "-c", TWO_EVALUATIONS], check=True, timeout=600)


def test_trainings_of_their_own_networks_give_the_bits_that_each_gives_alone(engine):
    def train(seed):
        # Of different sizes, so that some are done by one thread and some by several.
        own = trainer(seed, units=(16, 96, 400)[seed % 3])
        history = own.fit(X, Y, epochs=6, batch_size=64, validation_split=0.2, progress=False)
        return rows(history), own.model.predict(X).tobytes()

    alone = [train(seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(train, range(6))) == alone


def test_a_second_thread_can_neither_train_nor_evaluate_what_is_being_trained(engine, tmp_path):
    own, errors, path = trainer(), [], tmp_path / "a.safetensors"
    own.save_checkpoint(path)
    other = gpunn.Trainer(own.model, "softmax_cross_entropy")  # of the same network
    builder = DatasetBuilder(own.model, own.loss, own.metrics)
    subset = builder.subset(builder.check(X, Y))  # as the command line evaluates
    uses = [partial(use, X, Y) for use in (own.fit, own.evaluate, other.fit, other.evaluate)]
    uses += [partial(own.evaluate_subset, subset), partial(own.load_checkpoint, path)]

    def ask(*_):
        for use in uses:
            with pytest.raises(ConcurrentUseError, match="another thread is training") as raised:
                in_thread(use)
            errors.append(str(raised.value).partition(":")[0])

    history = own.fit(X, Y, epochs=2, callbacks=[Calls(on_epoch_end=ask)], progress=False)
    assert errors == [*("fit", "evaluate") * 2, "evaluate", "load_checkpoint"] * 2
    assert rows(history) == rows(trainer().fit(X, Y, epochs=2, progress=False))
    in_thread(lambda: own.evaluate(X, Y))  # afterwards
    in_thread(lambda: own.load_checkpoint(path))
    assert own.epoch == 0


def test_a_callback_may_evaluate_and_predict(engine):
    own, seen = trainer(), []

    def look(*_):
        seen.append((own.evaluate(X, Y), own.model.predict(X)))

    history = own.fit(X, Y, epochs=2, callbacks=[Calls(on_epoch_end=look)], progress=False)
    assert rows(history) == rows(trainer().fit(X, Y, epochs=2, progress=False))
    assert seen[-1][0] == own.evaluate(X, Y)
    np.testing.assert_array_equal(seen[-1][1], own.model.predict(X))


def test_a_copy_may_be_evaluated_meanwhile(engine):
    own = trainer()
    expected = own.evaluate(X, Y)
    duplicate = copy.deepcopy(own)
    seen = []
    look = Calls(on_epoch_end=lambda *_: seen.append(in_thread(partial(duplicate.evaluate, X, Y))))
    own.fit(X, Y, callbacks=[look], progress=False)
    assert seen == [expected]


def test_predictions_by_several_threads_are_those_of_one(engine):
    own = trainer()
    expected = {rows: own.model.predict(X[:rows]).tobytes() for rows in (1, 7, 300)}

    def predict(number):
        rows = (1, 7, 300)[number % 3]
        return own.model.predict(X[:rows]).tobytes() == expected[rows]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(predict, range(120)))


def test_a_prediction_does_not_get_the_buffers_that_another_thread_makes(monkeypatch):
    model, waited = trainer().model, []
    other, workspace = threading.Thread(target=model.predict, args=(X,)), network.Workspace

    def made(backend, dtype, capacity):
        if capacity == 1:
            other.start()
            other.join(0.2)
            waited.append(other.is_alive())
        return workspace(backend, dtype, capacity)

    monkeypatch.setattr(network, "Workspace", made)
    model.predict(X[:1])
    other.join()
    assert waited == [True]


def test_predictions_during_training_change_nothing(engine):
    own, stop = trainer(), threading.Event()

    def predict():
        count = 0
        while not stop.is_set():
            assert np.isfinite(own.model.predict(X)).all()
            count += 1
        return count

    with ThreadPoolExecutor(1) as pool:
        counted = pool.submit(predict)
        history = own.fit(X, Y, epochs=8, progress=False)
        stop.set()
        counted.result()
    assert rows(history) == rows(trainer().fit(X, Y, epochs=8, progress=False))
