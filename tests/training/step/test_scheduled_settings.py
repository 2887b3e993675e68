"""Dropout rate, weight decay and label smoothing with a schedule, in every update."""

import json
import math
from dataclasses import dataclass
from unittest.mock import Mock

import numpy as np
import pytest
from calls import Calls
from equality import values

import gpunn
from gpunn import layers, optimizers
from gpunn.configurable import resolve
from gpunn.errors import ArgumentError
from gpunn.losses import Loss, SoftmaxCrossEntropy
from gpunn.optimizers import Optimizer
from gpunn.schedules import Constant, Cosine, CosineLog, FlatCosine, Schedule, Step

ROWS, CLASSES = 40, 3
_random = np.random.default_rng(0)
X, Y = _random.normal(size=(ROWS, 5)), _random.integers(0, CLASSES, ROWS)


def trainer(rate=0.0, decay=0.0, smoothing=0.0, backend="numpy", optimizer=optimizers.Adam):
    model = gpunn.Sequential(
        [layers.Dense(16, "relu"), layers.Dropout(rate), layers.Dense(CLASSES)],
        5,
        backend,
        dtype="float64",
    )
    return gpunn.Trainer(model, SoftmaxCrossEntropy(smoothing), optimizer(0.01, weight_decay=decay))


def fit(this, **options):
    this.fit(X, Y, **{"epochs": 3, "batch_size": 8, "progress": False, **options})
    return this


@pytest.mark.parametrize("setting", ["rate", "decay", "smoothing"])
def test_a_constant_schedule_gives_what_its_number_gives(setting, host_backend):
    fixed, moving = (
        fit(trainer(**{setting: value}, backend=host_backend)) for value in (0.3, Constant(0.3))
    )
    np.testing.assert_allclose(values(moving), values(fixed), rtol=0, atol=1e-12)
    assert not np.allclose(values(fixed), values(fit(trainer())), atol=1e-3)


@pytest.mark.parametrize("setting", ["rate", "decay", "smoothing"])
def test_numbers_change_from_epoch_to_epoch_as_the_schedule_says(setting):
    schedule = Step(0.4, every=1, factor=0.5)
    moving = fit(trainer(**{setting: schedule}))
    fixed = trainer(**{setting: 0.4})
    for factor in (1, 0.5, 0.25):
        number = 0.4 * factor
        if setting == "rate":
            fixed.model.layers[1].rate = number
        elif setting == "decay":
            fixed.optimizer.weight_decay = number
        else:
            fixed.loss = SoftmaxCrossEntropy(number)
        fit(fixed, epochs=1)
    np.testing.assert_allclose(values(moving), values(fixed), rtol=0, atol=1e-12)


@pytest.mark.parametrize("before", [0.4, Cosine(0.4)])
@pytest.mark.parametrize("after", [0.1, Step(0.2, every=2)])
def test_a_callback_sets_the_weight_decay_of_the_next_epoch(before, after):
    """Numbers and schedules replace each other; another schedule replaces a schedule."""

    def fitted(decay, epoch=None):
        this = trainer(decay=decay)

        def change(this, logs=None):
            if this.epoch == epoch:
                this.optimizer.weight_decay = after

        fit(this, epochs=6, callbacks=[Calls(on_train_begin=change, on_epoch_end=change)])
        return [*this.history["loss"], *values(this)]

    unchanged, late = fitted(before), fitted(before, 3)
    assert late[:3] == unchanged[:3]
    assert late[3] != unchanged[3]
    assert fitted(before, 0) == fitted(after)


def test_a_step_is_recorded_once_while_settings_move(monkeypatch):
    # Also on a busy machine.
    monkeypatch.setattr("gpunn.training.epoch_blocks.MAX_SECONDS", math.inf)
    this = trainer(FlatCosine(0.3), Cosine(0.1), CosineLog(0.2))
    this.model.backend.recorded = recorded = Mock(wraps=this.model.backend.recorded)
    try:
        fit(this, epochs=6)
    finally:
        del this.model.backend.recorded
    assert recorded.call_count == 1 + 2, "the step, and what blocks of epochs log"
    assert this.updates == 30


def test_losses_of_epochs_are_validated_without_a_moving_smoothing():
    moving = trainer(smoothing=Cosine(0.5))
    fit(moving, validation_data=(X, Y))
    found = moving.evaluate(X, Y)["loss"]
    assert found == moving.history["val_loss"][-1]
    moving.loss = SoftmaxCrossEntropy()
    assert moving.evaluate(X, Y)["loss"] == found


@pytest.mark.parametrize(
    ("setting", "schedule", "message"),
    [
        ("rate", Constant(1.5), "rate of 'dropout', schedule 'constant': expected .* < 1; got 1.5"),
        ("smoothing", Constant(1.0), "label_smoothing of 'softmax_cross_entropy', schedule"),
    ],
)
def test_a_schedule_with_values_that_are_impossible(setting, schedule, message):
    with pytest.raises(ArgumentError, match=message):
        fit(trainer(**{setting: schedule}))


def test_configurations():
    for base, name, made in (
        (layers.Layer, "rate", layers.Dropout(FlatCosine(0.15))),
        (Loss, "label_smoothing", SoftmaxCrossEntropy(CosineLog(0.1, time_of_update=0.0))),
        (Optimizer, "weight_decay", optimizers.AdamW(0.1, weight_decay=FlatCosine(0.02))),
    ):
        again = resolve(base, json.loads(json.dumps(made.config())), "it")
        assert again.config() == made.config()
        assert getattr(again, name) == getattr(made, name)


def test_schedules_that_need_logs_are_refused():
    for make in (
        lambda: layers.Dropout("reduce_on_plateau"),
        lambda: SoftmaxCrossEntropy("reduce_on_plateau"),
        lambda: optimizers.SGD(weight_decay="reduce_on_plateau"),
    ):
        with pytest.raises(ArgumentError, match="depends on the logs of epochs"):
            make()


def test_a_schedule_of_the_users_own():
    @dataclass
    class Falling(Schedule):
        name = "test_falling"

        def at(self, time, duration):
            return 0.2 * (1 - time / duration)

    for setting in ("rate", "decay", "smoothing"):
        found = fit(trainer(**{setting: Falling()}))
        assert not np.allclose(values(found), values(fit(trainer())), atol=1e-4)
