"""Networks trained in several threads have separate streams, and the bits of fits on their own."""

import threading
from contextlib import suppress

import cupy
import numpy as np
import pytest
from calls import Calls
from equality import assert_same

import gpunn
from gpunn.backends.cupy.capture import GraphExecutor
from gpunn.backends.turns import TURNS
from gpunn.callbacks import EarlyStopping
from gpunn.layers import BatchNorm, Dense, Dropout
from gpunn.optimizers import SGD, Adam

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 4))
Y = RANDOM.integers(0, 3, 60)


def fit(*hidden, optimizer=None, seed=0, backend="cupy", epochs=4, **options):
    model = gpunn.Sequential([*hidden, Dense(3)], 4, backend, seed=seed)
    trainer = gpunn.Trainer(
        model, "softmax_cross_entropy", optimizer or Adam(0.01), ["accuracy"], log_every=4
    )
    given = {"epochs": epochs, "batch_size": 8, "validation_split": 0.2, "progress": False}
    return trainer.prepare(X, Y, **given, **options)


def different(**options):
    stopping = EarlyStopping("val_loss", patience=1, min_delta=0.1)
    return [
        fit(Dense(8, "relu"), seed=1, epochs=7, **options),
        fit(Dense(8, "relu"), seed=2, optimizer=SGD(0.05, momentum=0.9), **options),
        fit(Dense(5, "tanh"), Dropout(0.3), **options),
        fit(Dense(4), BatchNorm(), callbacks=[stopping], **options),
        fit(Dense(6, "gelu"), Dense(5, "relu"), optimizer=Adam(0.1, max_norm=1.0), **options),
    ]


@pytest.fixture(scope="module")
def alone():
    fits = different()
    for each in fits:
        each.run()
    return [each.trainer for each in fits]


def check(results, alone):
    for result, expected in zip(results, alone, strict=True):
        assert result.error is None
        assert_same(result.trainer, expected)


@pytest.mark.parametrize(
    "threads", [*(pytest.param(n, marks=pytest.mark.full) for n in (None, 1)), 3]
)
def test_the_bits_of_own_fits(alone, threads, emulator, monkeypatch):
    """No stream writes what another stream uses, and every network launches its own graphs."""
    streams, run = {}, GraphExecutor.__call__

    def observed(self, times):
        streams.setdefault(id(self), (self, set()))[1].add(cupy.cuda.get_current_stream().ptr)
        run(self, times)

    monkeypatch.setattr(GraphExecutor, "__call__", observed)
    with emulator.watched_streams():
        check(gpunn.train_together(different(), threads, progress=False), alone)
    used = [each for _, each in streams.values()]
    assert all(len(each) == 1 and 0 not in each for each in used)
    assert len(set.union(*used)) >= 5


class CompareEachEpoch(gpunn.training.StopRule):
    """Networks wait between two comparisons, and any thread trains them next."""

    def next_epoch(self, epoch):
        return epoch + 1 if epoch < 4 else None

    def compare(self, epoch, results):
        return {}


def test_threads_train_a_network_in_turn(alone, emulator):
    with emulator.watched_streams():
        fits = different()[1:4]
        results = gpunn.train_together(fits, 2, stop=CompareEachEpoch(), progress=False)
    check(results, alone[1:4])


def test_networks_on_several_devices(alone):
    fits = [*different()[1:3], *different(backend="cupy:1")[1:3]]
    check(gpunn.train_together(fits, 4, progress=False), 2 * alone[1:3])


def test_the_check_detects_shared_memory(emulator, monkeypatch):
    shared, run, both = {}, GraphExecutor.__call__, threading.Barrier(2)
    began = set()

    def sharing(self, times):
        self._buffers = shared
        try:
            run(self, times)
        except emulator.RaceError:
            both.abort()
            raise
        if threading.get_ident() not in began:  # the work of both threads has not been waited for
            began.add(threading.get_ident())
            with suppress(threading.BrokenBarrierError), TURNS.handed_over():
                both.wait()

    monkeypatch.setattr(GraphExecutor, "__call__", sharing)
    with emulator.watched_streams(), pytest.raises(emulator.RaceError, match="or stream"):
        gpunn.train_together(different()[:2], 2, progress=False)


def test_the_work_has_finished_at_the_end(emulator, monkeypatch):
    backend = gpunn.get_backend("cupy")
    x, queue = backend.zeros((4,), "float32"), backend.queue()

    def work():
        with queue:
            backend.fill(x, 1.0)
        with cupy.cuda.Stream(non_blocking=True) as other:
            backend.fill(x, 2.0)
        return other

    with emulator.watched_streams():
        wait = work().synchronize
        wait()
        monkeypatch.setattr(cupy.cuda.Stream, "synchronize", lambda self: None)
        with pytest.raises(emulator.RaceError, match="or stream"):
            work()
    backend.synchronize()


def test_a_callback_may_train_a_network(emulator):
    """The other network's stream waits for that of the first, whose arrays it may copy."""
    x = cupy.zeros(1000, "float32")

    def train(*_):
        x.fill(1.0)  # on the first network's stream
        gpunn.train_together([fit(Dense(2), callbacks=[Calls(on_epoch_end=read)])], progress=False)

    def read(*_):
        x.fill(2.0)

    with emulator.watched_streams():
        outer = fit(Dense(2), epochs=1, callbacks=[Calls(on_epoch_end=train)])
        gpunn.train_together([outer], progress=False)
    assert set(x.get()) == {2.0}


def test_the_same_networks_train_twice(emulator):
    """Arrays of a destroyed stream are used on the stream of the second training."""
    fits = [fit(Dense(6, "relu"), seed=seed, epochs=2) for seed in range(2)]
    again = [each.trainer.prepare(X, Y, epochs=2, batch_size=8) for each in fits]
    with emulator.watched_streams():
        for each in (fits, again):
            gpunn.train_together(each, 2, progress=False)
    assert all(each.trainer.epoch == 4 for each in fits)
