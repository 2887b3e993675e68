"""Networks that train together have the bits that each has alone."""

import os
import signal
import threading

import pytest
from calls import Calls
from equality import assert_same, rows
from memory import peak_below
from training.together.fits import different, fit, trainer

import gpunn
from gpunn.backends.numpy.compiled.sequence import ProgramSequence
from gpunn.backends.turns import TURNS
from gpunn.callbacks import EarlyStopping
from gpunn.distributed.threads import run_threads
from gpunn.errors import ArgumentError, ArgumentTypeError, DivergenceError
from gpunn.layers import Dense
from gpunn.optimizers import SGD
from gpunn.training import epoch_blocks

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(scope="module")
def alone():
    """The trainers of `different`, each trained by its own call of `fit`."""
    fits = different()
    for each in fits:
        each.run()
    return [each.trainer for each in fits]


@pytest.mark.parametrize(("threads", "step"), [(1, 1), (2, 1), (4, -1)])
def test_the_bits_of_own_fits(alone, threads, step):
    fits = different()
    results = gpunn.train_together(fits[::step], threads, progress=False)[::step]
    for result, expected, given in zip(results, alone, fits, strict=True):
        assert result.trainer is given.trainer
        assert_same(result.trainer, expected)
        assert (result.history.stopped, result.error) == (expected.history.stopped, None)
    assert results[3].history.stopped.startswith("val_loss has not improved")


def test_networks_compute_at_the_same_time(alone, monkeypatch):
    """Without blocks, as large networks: no request needs its turn."""
    takes_turn, run = [], ProgramSequence.__call__

    def observed(self, count):
        takes_turn.append(TURNS._lock._is_owned())
        run(self, count)

    monkeypatch.setattr(epoch_blocks, "MAX_SECONDS", 0.0)
    monkeypatch.setattr(ProgramSequence, "__call__", observed)
    results = gpunn.train_together(different()[:4], 2, progress=False)
    assert set(takes_turn) == {False}
    for result, expected in zip(results, alone, strict=False):
        assert_same(result.trainer, expected)


@pytest.mark.parametrize("count", [30, pytest.param(2000, marks=pytest.mark.full)])
def test_more_fits_than_threads(count):
    tiny = {"epochs": 1, "validation_split": 0.0}
    with peak_below(4e6 + 60e3 * count):
        fits = [fit(trainer(), slice(8), **tiny) for _ in range(count)]
        results = gpunn.train_together(fits, 3, progress=False)
    assert len({tuple(result.history["loss"]) for result in results}) == 1


def test_each_rank_takes_some_of_the_networks(alone):
    """As docs/how_to/many_networks.md describes; each rank is a thread of this process."""

    def train(communicator):
        rank, size = communicator.rank, communicator.size
        mine = gpunn.train_together(different()[rank::size], 2)
        gathered = communicator.gather([rows(result.history) for result in mine])
        return [gathered[index % size][index // size] for index in range(len(alone))]

    assert run_threads(4, train) == [[rows(each.history) for each in alone]] * 4


def test_the_bar_of_a_fit_is_off_only_meanwhile():
    given = fit(trainer(), epochs=1)
    options, interruption = given.session.options, given.session.interruption
    gpunn.train_together([given])
    assert given.session.options is options
    assert given.session.interruption is interruption


def fail(*_):
    raise ZeroDivisionError("on purpose")


def failing():
    """Return a fit that succeeds, one that diverges, and one whose callback fails."""
    diverging = trainer(Dense(4, "relu"), optimizer=SGD(1e30))
    raising = fit(trainer(Dense(5), seed=1), callbacks=[Calls(on_epoch_end=fail)])
    return [fit(trainer()), fit(diverging), raising]


def test_failing_networks_end_alone():
    expected = fit(trainer())
    expected.run()
    good, diverged, raised = gpunn.train_together(failing(), 2, on_error="keep")
    assert_same(good.trainer, expected.trainer)
    assert good.error is None
    assert isinstance(diverged.error, DivergenceError)
    assert diverged.history.stopped.startswith("DivergenceError: ")
    assert isinstance(raised.error, ZeroDivisionError)
    assert len(raised.history["loss"]) == 1
    assert not raised.trainer.model.exclusion.training


def test_an_error_ends_the_others():
    others = [fit(trainer(Dense(9)), epochs=10**6), fit(trainer(), epochs=1)]
    with pytest.raises(ZeroDivisionError, match="on purpose") as raised:
        gpunn.train_together([others[0], failing()[2], others[1]], 2)
    assert raised.value.__notes__ == ["in fits[1] of train_together"]
    reason = "ended by the error of another network"
    assert others[0].trainer.history.stopped == reason
    assert not others[0].trainer.model.exclusion.training


def shared(what):
    """Return two fits that have an object in common."""
    one, other = trainer(), trainer()
    schedule = gpunn.schedules.ReduceOnPlateau(0.1)
    stopping = EarlyStopping()
    if what == "trainer":
        return [fit(one), fit(one)]
    if what == "network":
        return [fit(one), fit(gpunn.Trainer(one.model, "softmax_cross_entropy"))]
    if what == "schedule":
        return [fit(trainer(optimizer=SGD(schedule))) for _ in range(2)]
    return [fit(one, callbacks=[stopping]), fit(other, callbacks=[stopping])]


@pytest.mark.parametrize("what", ["trainer", "network", "schedule", "callback 'early_stopping'"])
def test_two_fits_cannot_share(what):
    with pytest.raises(
        ArgumentError, match=rf"fits\[1\]: has the same {what} as fits\[0\]; create"
    ):
        gpunn.train_together(shared(what))


@pytest.mark.parametrize(
    ("fits", "options", "error", "message"),
    [
        (lambda: [trainer()], {}, ArgumentTypeError, "fits: expected a list of fits; make each"),
        (lambda: fit(trainer()), {}, ArgumentTypeError, "fits: expected a list of fits"),
        (list, {"threads": 0}, ArgumentError, "threads: expected an integer >= 1"),
        (list, {"on_error": "ignore"}, ArgumentError, "on_error: "),
        (list, {"folder": 3}, ArgumentTypeError, "folder: expected a file name; got 3"),
        (list, {"progress": 2}, ArgumentTypeError, "progress: "),
        (list, {"stop": EarlyStopping()}, ArgumentTypeError, "stop: expected a rule that comp"),
    ],
)
def test_bad_arguments(fits, options, error, message):
    with pytest.raises(error, match=message):
        gpunn.train_together(fits(), **options)


def test_no_fits():
    assert gpunn.train_together([]) == []


def send(number, epoch=2):
    """Return a callback that sends a signal to this process after an epoch."""

    def after_epoch(trainer, logs):
        if trainer.epoch == epoch:
            os.kill(os.getpid(), number)

    return Calls(on_epoch_end=after_epoch)


@POSIX
def test_ctrl_c_keeps_the_results_so_far():
    large = fit(trainer(Dense(9), Dense(8)), epochs=10**6)
    ended = fit(trainer(Dense(9)), epochs=10**6, callbacks=[send(signal.SIGINT)])
    results = gpunn.train_together([fit(trainer()), ended, large], 2)
    assert [each.history.stopped for each in results] == ["interrupted by Ctrl-C"] * 3
    assert [each.error for each in results] == [None] * 3
    assert results[0].history.rows == []
    assert 2 <= results[1].trainer.epoch < 10**6
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(fit(trainer(), epochs=1).run()["loss"]) == 1


@POSIX
def test_sigterm_ends_the_program():
    ended = fit(trainer(), epochs=10**6, callbacks=[send(signal.SIGTERM)])
    with pytest.raises(SystemExit) as raised:
        gpunn.train_together([ended, fit(trainer(), epochs=1)], 1)
    assert raised.value.code == 128 + signal.SIGTERM
    assert ended.trainer.history.stopped == "ended by SIGTERM"


@POSIX
def test_a_second_ctrl_c_acts_at_once():
    leave = threading.Event()

    def wait(*_):
        os.kill(os.getpid(), signal.SIGINT)
        while not given.session.interruption.requested:
            leave.wait(0.001)
        os.kill(os.getpid(), signal.SIGINT)
        leave.wait(60)

    given = fit(trainer(), callbacks=[Calls(on_epoch_end=wait)])
    try:
        with pytest.raises(KeyboardInterrupt):
            gpunn.train_together([given])
        assert not given.trainer.history.stopped  # its thread has not ended
    finally:
        leave.set()
