"""Trainers to checkpoints, and back."""

import copy
import functools
import itertools

import numpy as np
import pytest
from calls import Calls
from equality import assert_arrays, assert_same_weights
from model_files import DAMAGED, contents, data, everything, rewritten, trained

import gpunn
from gpunn import layers
from gpunn.callbacks import CSVLog, EarlyStopping
from gpunn.errors import GpunnError, ModelFileError
from gpunn.optimizers import SGD, Adam
from gpunn.schedules import ReduceOnPlateau


@pytest.mark.parametrize("optimizer", [SGD(0.1), SGD(0.1, momentum=0.9), Adam(0.01)])
def test_a_checkpoint_restores_the_trainer(path, optimizer):
    trainer = trained(optimizer)
    trainer.save_checkpoint(path)
    other = trained(copy.deepcopy(optimizer), epochs=5)
    other.load_checkpoint(path)
    assert (other.epoch, other.updates) == (trainer.epoch, trainer.updates) == (2, 6)
    assert other.history.rows == trainer.history.rows
    state = trainer.state()
    assert other.state().keys() == state.keys()
    assert_arrays(other.state(), state)
    assert_same_weights(trainer, other)


def test_a_checkpoint_before_the_first_epoch(path):
    first = gpunn.Trainer(everything(), "softmax_cross_entropy", Adam(0.01))
    first.save_checkpoint(path)
    second = gpunn.Trainer(everything(), "softmax_cross_entropy", Adam(0.01))
    second.model.parameters["first.biases"] = np.ones(5)
    second.load_checkpoint(path)
    assert second.history.rows == []
    np.testing.assert_array_equal(first.model.parameters.values, second.model.parameters.values)


def test_loading_and_saving_again_without_training(path, tmp_path):
    trained().save_checkpoint(path)
    other = gpunn.Trainer(everything(), "softmax_cross_entropy", Adam(0.01))
    other.load_checkpoint(path)
    other.save_checkpoint(tmp_path / "again.safetensors")
    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


def snapshot(trainer):
    return (
        {name: value.tolist() for name, value in trainer.model.parameters.to_host().items()},
        {name: value.tolist() for name, value in trainer.state().items()},
        copy.deepcopy(trainer.history.rows),
        (trainer.epoch, trainer.updates, trainer.model.metadata),
        trainer.optimizer.schedule.state(),
    )


@pytest.mark.parametrize(
    ("arrays", "changes", "message"),
    [
        ({}, {"training": None}, "without training state; load it with load_model"),
        *(({}, changes, message) for changes, message in DAMAGED),
        ({}, {"training": {}}, r"training\.epoch: this key is needed"),
        ({"first.biases": np.full(5, np.inf, np.float32)}, {}, "contains NaN or infinity"),
        ({"first.biases": np.zeros(5)}, {}, "'first.biases' has dtype float64"),
        ({}, {"seed": 9}, "seed: the file's network has 9, the trainer's network has 3"),
        ({}, {"dtype": "float64"}, "has dtype float32; expected float64"),
        ({}, {"input_shape": [2, 2]}, r"input_shape\[0\]: the file's network has 2"),
        ({"first.biases": np.zeros(2, np.float32)}, {}, r"'first.biases' has shape \(2,\)"),
        ({"training.updates": None}, {}, "the optimizer's state has the shapes"),
        ({"training.passes": np.zeros(2, np.int64)}, {}, "the optimizer's state has the shapes"),
        ({"training.optimizer.mean": np.zeros(3)}, {}, "the optimizer's state has the shapes"),
        ({"training.optimizer.other": np.zeros(3)}, {}, "the optimizer's state has the shapes"),
    ],
)
def test_a_checkpoint_that_does_not_fit_changes_nothing(path, arrays, changes, message):
    trained().save_checkpoint(path)
    rewritten(path, arrays, **changes)
    trainer = trained(epochs=1)
    before = snapshot(trainer)
    with pytest.raises(ModelFileError, match=message):
        trainer.load_checkpoint(path)
    assert snapshot(trainer) == before


def test_a_checkpoint_of_a_network_that_began_otherwise(path):
    """As files were written when the defaults were He's weights and zero biases."""
    began = [
        layers.Dense(5, "relu", initializer="he", bias_initializer="zeros"),
        layers.Dense(3, initializer="glorot", bias_initializer="zeros"),
    ]
    defaults = [layers.Dense(5, "relu"), layers.Dense(3)]
    earlier, later = (
        trained(model=gpunn.Sequential(each, (4,), "numpy"), epochs=1) for each in (began, defaults)
    )
    earlier.save_checkpoint(path)
    later.load_checkpoint(path)
    assert snapshot(later) == snapshot(earlier)


@pytest.mark.parametrize("epoch", [None, 0, -1, 1.5, float("nan"), float("inf")], ids=str)
def test_a_history_without_numbers_of_epochs(path, epoch):
    """The search for the best epoch needs them."""
    trained().save_checkpoint(path)
    training = contents(path)[1]["training"]
    training["history"][1]["epoch"] = epoch
    if epoch is None:
        del training["history"][1]["epoch"]
    rewritten(path, training=training)
    with pytest.raises(ModelFileError, match="row 2 of the history is damaged: expected"):
        trained(epochs=1).load_checkpoint(path)


def keys(value, above=()):
    """Yield the path of each value of a description."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield (*above, key)
            yield from keys(value[key], (*above, key))


def saving(path):
    """Write a checkpoint within the second epoch."""

    def save(trainer):
        if trainer.updates == 4:
            trainer.save_checkpoint(path)

    return Calls(every_updates=1, on_updates_end=save)


def fitted(epochs, *callbacks, **options):
    optimizer = Adam(ReduceOnPlateau(0.01, "loss"))
    this = gpunn.Trainer(everything(), "softmax_cross_entropy", optimizer, ["accuracy"])
    callbacks = [EarlyStopping("loss"), *callbacks]
    this.fit(*data(), epochs=epochs, batch_size=8, progress=False, callbacks=callbacks, **options)
    return this


@pytest.mark.parametrize("values", [[...], ["x", 10**400]], ids=["missing", "of another kind"])
def test_a_key_that_is_missing_or_of_another_kind(path, values):
    """Each raises an error that names the file, or has a default."""
    fitted(2, saving(path))
    content = path.read_bytes()
    every = keys(contents(path)[1]["training"])
    for (*above, last), value in zip(every, itertools.cycle(values)):
        path.write_bytes(content)
        training = contents(path)[1]["training"]
        parent = functools.reduce(lambda part, key: part[key], above, training)
        if value is ...:
            del parent[last]
        else:
            parent[last] = value
        rewritten(path, training=training)
        assert str(path) in refusal(path), (*above, last)


def refusal(path):
    """Return the message about a checkpoint, or its path if a run resumes from it."""
    try:
        this = fitted(2, CSVLog(path.with_name("log.csv")), resume_from=path)
    except GpunnError as error:
        return str(error)
    this.history.best_epoch_by("loss")
    this.history._repr_html_()
    return str(path)


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf")])
def test_a_learning_rate_that_is_none(path, rate):
    fitted(2, saving(path))
    training = contents(path)[1]["training"]
    training["schedule_state"]["current"] = rate
    rewritten(path, training=training)
    with pytest.raises(ModelFileError, match="schedule's state is damaged: current: expected a fi"):
        fitted(2, resume_from=path)


def test_errors_have_the_names_of_the_file(path):
    trained().save_checkpoint(path)
    rewritten(path, training=contents(path)[1]["training"] | {"position": {"course": {}}})
    with pytest.raises(ModelFileError, match=r" training\.position\.course\.rows: this key"):
        trained(epochs=1).load_checkpoint(path)


def test_a_checkpoint_without_the_recoveries(path):
    """As checkpoints were written before they contained the recoveries in a row."""
    trained().save_checkpoint(path)
    training = contents(path)[1]["training"]
    del training["recoveries"]
    rewritten(path, training=training)
    trainer = trained(epochs=1)
    trainer.load_checkpoint(path)
    assert (trainer.epoch, trainer.recoveries) == (2, 0)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (SGD(0.1), "was trained with the optimizer 'adam', but the trainer has 'sgd'"),
        (Adam(ReduceOnPlateau(0.01, "loss")), "the schedule's state has keys .*; expected"),
    ],
)
def test_a_checkpoint_of_another_optimizer(path, optimizer, message):
    trained().save_checkpoint(path)
    trainer = trained(optimizer, epochs=1)
    before = snapshot(trainer)
    with pytest.raises(ModelFileError, match=message):
        trainer.load_checkpoint(path)
    assert snapshot(trainer) == before
