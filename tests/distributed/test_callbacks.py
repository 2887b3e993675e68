"""Only rank 0 calls callbacks, and all ranks apply their changes."""

import copy
import pickle
from typing import ClassVar
from unittest.mock import Mock

import numpy as np
import pytest
from calls import Calls
from worlds import X, Y, difference, history, trained, values, with_dropout

from gpunn.callbacks import Callback, EarlyStopping
from gpunn.distributed import run_threads
from gpunn.errors import ArgumentError
from gpunn.losses import SoftmaxCrossEntropy
from gpunn.optimizers import SGD, Adam
from gpunn.training.callbacks.experiment_trackers import Tracker


class Change(Callback):
    name = "change"

    def __init__(self, change):
        self.change = change

    def on_train_begin(self, trainer):
        self.state_at_start, self.snapshot = trainer.state(), trainer.snapshot()

    def on_epoch_end(self, trainer, logs):
        self.change(self, trainer)


def learning_rate(callback, trainer):
    trainer.optimizer.learning_rate = 0.05 / trainer.epoch


def rate_of_dropout(callback, trainer):
    trainer.model.layers[1].rate = 0.1


def parameters(callback, trainer):
    for name, array in trainer.model.parameters.to_host().items():
        trainer.model.parameters[name] = 0.9 * array


def optimizers_state(callback, trainer):
    trainer.set_state(callback.state_at_start)


def back(callback, trainer):
    if trainer.epoch == 2:
        trainer.restore(callback.snapshot)
    arrays = trainer.snapshot_to_host(trainer.snapshot())
    callback.snapshot = trainer.snapshot_from_host(arrays)


def copies(callback, trainer):
    copy.deepcopy(trainer)
    pickle.dumps(trainer)
    trainer.last_gradients()


def loss(callback, trainer):
    trainer.loss = SoftmaxCrossEntropy(label_smoothing=0.1 * trainer.epoch)


def optimizer(callback, trainer):
    trainer.optimizer = Adam(0.05) if trainer.epoch == 2 else SGD(0.1)


def metrics(callback, trainer):
    trainer.metrics, trainer.log_every = ["brier_score", "accuracy"], trainer.epoch


def optimizer_and_its_state(callback, trainer):
    if trainer.epoch == 2:
        trainer.optimizer = SGD(0.1, momentum=0.9)
        trainer.set_state({name: array + 0.01 for name, array in trainer.state().items()})
        trainer.snapshot()


def last_epoch(callback, trainer):
    trainer.last_epoch = 3 if trainer.epoch == 2 else trainer.last_epoch


SETTINGS = learning_rate, rate_of_dropout, loss, optimizer, metrics
CHANGES = [
    *SETTINGS,
    parameters,
    optimizers_state,
    optimizer_and_its_state,
    last_epoch,
    back,
    copies,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_callback_changes_all_ranks_change(change):
    def go(communicator=None):
        return trained(communicator, layers=with_dropout, callbacks=[Change(change)], epochs=4)

    one = go()
    ranks = run_threads(3, go)
    for rank in ranks[1:]:
        assert np.array_equal(values(rank), values(ranks[0]))
        assert history(rank) == history(ranks[0])
    assert difference(values(ranks[0]), values(one)) <= 1e-13


def test_the_reason_is_not_lost_at_the_end():
    """At the end, a callback requests something that needs the other ranks."""
    fail = Mock(side_effect=ValueError("there is trouble"))
    troubled = Calls(on_epoch_end=fail, on_train_end=lambda trainer: trainer.state())
    with pytest.raises(ValueError, match="there is trouble"):
        run_threads(2, lambda communicator: trained(communicator, callbacks=[troubled]))


def test_all_ranks_know_the_rule_for_the_best_epoch():
    one, *others = run_threads(3, lambda each: trained(each, callbacks=[EarlyStopping()]))
    assert one.history.rule is not None
    assert [each.history.rule for each in others] == [one.history.rule] * 2


class Counting(Tracker):
    name = "counting"
    told: ClassVar[list] = []

    def begin(self, run_id, settings):
        self.told.append("begin")
        return self, run_id or "one"

    def log(self, epoch, logs):
        self.told.append(epoch)

    def end(self, ending):
        self.told.append(ending)


def test_a_tracker_is_told_once():
    Counting.told.clear()
    run_threads(3, lambda each: trained(each, callbacks=[Counting()]))
    assert Counting.told == ["begin", 1, 2, 3, "finished"]


def test_an_evaluation_by_a_callback_has_the_bits_of_one_by_all():
    def go(communicator):
        found = []
        evaluate = Calls(on_epoch_end=lambda trainer, logs: found.append(trainer.evaluate(X, Y)))
        this = trained(communicator, "float32", shards=4, callbacks=[evaluate])
        together = this.evaluate(X, Y)
        return [*found, together]

    (alone,) = run_threads(1, go)
    assert alone[-1] == alone[-2]
    for size in (2, 4):
        found, *_ = run_threads(size, go)
        assert found == alone


def test_a_pickled_trainer_keeps_its_shards():
    def go(communicator):
        this = pickle.loads(pickle.dumps(trained(communicator, shards=4, epochs=1)))
        this.fit(X, Y, progress=False)
        return values(this).tobytes()

    (alone,) = run_threads(1, go)
    assert run_threads(2, go) == [alone] * 2


def test_a_snapshot_of_another_trainer_is_refused():
    def go(communicator):
        this, other = (trained(communicator, epochs=1) for _ in range(2))
        snapshot = this.snapshot()
        other.snapshot()
        with pytest.raises(ArgumentError, match="snapshot: belongs to another trainer"):
            other.restore(snapshot)

    run_threads(2, go)


def test_one_process_takes_a_snapshot_of_a_trainer_alike():
    this, other = trained(epochs=1), trained(epochs=2)
    snapshot, before = this.snapshot(), values(this)
    other.snapshot()
    other.restore(snapshot)
    assert np.array_equal(values(other), before)


def test_snapshots_that_nobody_holds_are_forgotten():
    def go(communicator):
        this = trained(communicator, epochs=1)
        for _ in range(3):
            this.snapshot()
        return len(this.device_state._snapshots)

    assert run_threads(2, go) == [0, 0]
