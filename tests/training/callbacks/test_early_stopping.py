"""When training ends early, and what is restored."""

import numpy as np
import pytest
from scripted_trainer import Scripted, fit, trainer

import gpunn
from gpunn.callbacks import EarlyStopping
from gpunn.optimizers import Adam
from gpunn.schedules import Cosine, CosineLog, WarmUp


@pytest.mark.parametrize(
    ("options", "losses", "epochs", "best"),
    [
        ({"patience": 2}, [3, 2, 2, 2, 1], 4, 2),
        ({"patience": 2}, [3, 2, 2, 1, 1, 1, 0], 6, 4),
        ({"patience": 2, "ties": "last"}, [3, 2, 2, 3, 2, 4, 4, 1], 7, 5),
        ({"patience": 2, "ties": "last", "mode": "max"}, [3, 3, 2, 2, 4], 4, 2),
        ({"patience": 2, "ties": "last", "min_delta": 0.5}, [3, 2.5, 2.25, 2.5, 1], 4, 2),
        ({"patience": 2, "ties": "last", "min_delta": 0.5}, [3, 3, 3, 3, 3], 3, 1),
        ({"patience": 2, "ties": "last"}, [1, float("inf"), float("nan"), 0], 3, 1),
        ({"patience": 1}, [3, 4], 2, 1),
        ({"patience": 3}, [3, 2, 1], 3, 3),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.5, 1], 3, 1),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.4, 2.3, 2.2], 5, 3),
        ({"patience": 2, "mode": "max"}, [1, 2, 3, 2, 2, 5], 5, 3),
        ({"patience": 2}, [1, float("nan"), float("nan"), 0], 3, 1),
    ],
)
def test_early_stopping(options, losses, epochs, best):
    this, callback = Scripted(), EarlyStopping(**options)
    assert this.run(callback, losses) == epochs
    assert (callback.best_epoch, callback.best) == (best, losses[best - 1])
    assert this.restored == best
    assert bool(this.stop_reason) == (epochs - best >= callback.patience)
    if this.stop_reason:
        assert this.stop_reason == (
            f"val_loss has not improved since epoch {best} ({losses[best - 1]:.6g})"
        )


@pytest.mark.parametrize(
    ("schedule", "options", "best", "epochs"),
    [  # with 120 epochs, cycles end after epochs 8, 24, 56 and 120
        (CosineLog(), {}, {8: 3, 24: 2, 56: 1, 120: 2}, 120),
        (CosineLog(), {}, {8: 3, 24: 2, 30: 0, 56: 2.5}, 56),
        (CosineLog(), {}, {8: 3, 20: 0, 24: 4}, 24),
        (CosineLog(), {}, {8: 3, 24: 3}, 24),
        (CosineLog(), {"ties": "last"}, {8: 3, 24: 3, 56: 4}, 56),
        (CosineLog(cycles=5), {}, {4: 3, 12: 4, 27: 3.5, 58: 4}, 58),  # the first is too short
        (WarmUp(CosineLog(cycles=3), 1), {}, {18: 2, 52: 3}, 52),
        (Cosine(), {}, {8: 3, 24: 4}, 120),
    ],
)
def test_early_stopping_at_the_end_of_a_cycle(schedule, options, best, epochs):
    this, callback = Scripted(), EarlyStopping(patience="cycle", **options)
    this.optimizer, this.last_epoch = Adam(schedule), 120
    losses = [best.get(epoch, 9) for epoch in range(1, 121)]
    assert this.run(callback, losses) == epochs
    assert callback.best == min(losses[:epochs])
    assert ("worse than after the previous cycle" in this.stop_reason) == (epochs < 120)


def test_the_value_of_the_cycle_before_is_restored():
    this, before = Scripted(), EarlyStopping(patience="cycle", restore_best=False)
    this.optimizer, this.last_epoch = Adam(CosineLog()), 120
    this.run(before, [1] * 10)
    again = EarlyStopping(patience="cycle", restore_best=False)
    again.on_train_begin(this)
    again.restore(before.state(this), this)
    for this.epoch in range(11, 25):
        again.on_epoch_end(this, {"val_loss": 2})
    assert "previous cycle of the learning rate (1)" in this.stop_reason


@pytest.mark.parametrize(
    ("options", "losses"),
    [({"restore_best": False}, [1, 2, 3, 4]), ({}, [float("nan")] * 3)],
    ids=["not asked for", "never a number"],
)
def test_early_stopping_restores_nothing(options, losses):
    this = Scripted()
    assert this.run(EarlyStopping(patience=3, **options), losses) == len(losses)
    assert this.stop_reason
    assert this.restored is None


def test_early_stopping_begins_anew_with_each_call():
    this, callback = Scripted(), EarlyStopping(patience=2)
    this.run(callback, [1, 2, 2, 2])
    this.stop_reason = ""
    assert this.run(callback, [float("nan"), 5, 4, 4, 4]) == 5
    assert (callback.best_epoch, callback.best) == (6, 4)


def test_early_stopping_restores_weights_and_optimizer():
    """The loss of the third call's epochs is worse by construction: the rate has become huge."""
    good, this = (trainer(Adam(gpunn.schedules.Step(0.1, every=2, factor=300))) for _ in range(2))
    fit(good, epochs=2)
    callback = EarlyStopping("loss", patience=2)
    history = fit(this, epochs=10, callbacks=[callback])
    assert callback.best_epoch == 2
    assert history.stopped.startswith("loss has not improved since epoch 2")
    np.testing.assert_array_equal(this.model.parameters.values, good.model.parameters.values)
    for name in ("optimizer.mean", "optimizer.square", "updates"):
        np.testing.assert_array_equal(this.state()[name], good.state()[name])
