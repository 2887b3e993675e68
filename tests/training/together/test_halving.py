"""Successive halving depends on the logs alone, and rules of users compare networks as well."""

import pytest
from calls import Calls
from equality import assert_same
from training.together.fits import fit, trainer

import gpunn
from gpunn.callbacks import EarlyStopping
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.layers import Dense
from gpunn.optimizers import Adam
from gpunn.training import StopRule

RATES = (1e-4, 0.02, 0.01, 1e-3, 3e-3, 0.03)


def candidates(callbacks=lambda index: [], epochs=8):
    """Return two fits for each learning rate, which differ in the seed."""
    return [
        fit(
            trainer(Dense(4, "relu"), optimizer=Adam(rate), seed=seed),
            epochs=epochs,
            callbacks=callbacks(2 * number + seed),
        )
        for number, rate in enumerate(RATES)
        for seed in range(2)
    ]


GROUPS = [index // 2 for index in range(12)]


def epochs(results):
    return [len(each.history.rows) for each in results]


@pytest.mark.parametrize(("monitor", "threads"), [("val_loss", 3), ("accuracy", 1)])
def test_the_best_groups_by_the_mean_go_on(monitor, threads):
    whole = candidates()
    logs = [each.run()[monitor] for each in whole]
    sign = 1 if monitor == "val_loss" else -1

    def best(groups, epoch, count):
        mean = {g: sum(logs[i][epoch - 1] for i in (2 * g, 2 * g + 1)) for g in groups}
        return sorted(groups, key=lambda g: sign * mean[g])[:count]

    second = best(range(6), 2, 3)
    third = best(sorted(second), 4, 1)
    expected = [8 if g in third else 4 if g in second else 2 for g in GROUPS]
    halving = gpunn.Halving(monitor, GROUPS, factor=2, min_epochs=2)
    results = gpunn.train_together(candidates(), threads, stop=halving)
    assert epochs(results) == expected
    for result, count, other in zip(results, expected, whole, strict=True):
        ended = f"is not among the best {3 if count == 2 else 1} of " in result.history.stopped
        assert ended == (count < 8)
        if count == 8:
            assert_same(result.trainer, other.trainer)
    assert len({result.history.stopped for result in results}) == 6  # one for each group


def test_networks_that_end_by_themselves_compete():
    """A network that stops early has its last value; a group with a failed network is the last."""

    def fail(this, logs):
        raise ZeroDivisionError

    def callbacks(index):
        stopping = EarlyStopping("loss", patience=1, min_delta=100.0)
        return {0: [stopping], 5: [Calls(on_epoch_end=fail)]}.get(index, [])

    halving = gpunn.Halving("loss", factor=2, min_epochs=3)
    results = gpunn.train_together(candidates(callbacks), 2, halving, on_error="keep")
    assert results[0].history.stopped.startswith("loss has not improved")
    assert isinstance(results[5].error, ZeroDivisionError)
    assert epochs(results)[0] == 2
    assert epochs(results)[5] == 1
    assert sorted(epochs(results)) == [1, 2, *[3] * 4, *[6] * 3, *[8] * 3]


def test_equal_groups_keep_their_order():
    fits = [fit(trainer(), epochs=4) for _ in range(4)]
    results = gpunn.train_together(fits, 2, gpunn.Halving("loss", factor=2))
    assert epochs(results) == [4, 2, 1, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gpunn.Halving("loss", factor=1), "factor: expected an integer >= 2"),
        (lambda: gpunn.Halving("loss", min_epochs=0), "min_epochs: expected an integer >= 1"),
        (lambda: gpunn.Halving("loss", mode="best"), "mode: expected"),
        (lambda: gpunn.Halving("val_los"), "monitor: .*'val_loss'"),
        (lambda: gpunn.Halving("loss", groups=[1, 2]), "groups: .* each of 1 fits; got 2"),
        (lambda: gpunn.Halving("loss", groups=3), "groups: expected a list .* each fit.*; got 3"),
        (lambda: gpunn.Halving("loss", groups="a"), "groups: expected a list .*; got 'a'"),
        (lambda: gpunn.Halving("loss", groups=[[1]]), r"groups: expected a list .*; got \[\[1"),
    ],
)
def test_bad_arguments_are_found_before_training(make, message):
    given = fit(trainer())
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        gpunn.train_together([given], stop=make())
    assert given.trainer.epoch == 0


class Wrong(StopRule):
    def __init__(self, **methods):
        vars(self).update(methods)


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (Wrong(next_epoch=lambda epoch: 1, compare=lambda *_: {}), ArgumentError),
        (Wrong(next_epoch=lambda epoch: epoch + 1, compare=lambda *_: {}[0]), KeyError),
    ],
)
def test_a_rule_that_fails_ends_the_networks(rule, error):
    given = [fit(trainer()) for _ in range(3)]
    with pytest.raises(error):
        gpunn.train_together(given, 2, rule)
    for each in given:
        assert each.trainer.history.stopped.startswith("ended because the rule `stop` raised")
        assert each.trainer.epoch == 1
        assert not each.trainer.model.exclusion.training


def test_without_further_comparisons():
    rule = Wrong(next_epoch=lambda e: 2 if not e else None, compare=lambda *_: {0: "a reason"})
    results = gpunn.train_together([fit(trainer(), epochs=3) for _ in range(2)], 1, rule)
    assert [each.history.stopped for each in results] == ["a reason", ""]
    assert epochs(results) == [2, 3]
