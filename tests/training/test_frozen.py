"""Training with layers that are frozen."""

import copy
import pickle

import numpy as np
import pytest
from calls import Calls
from equality import assert_arrays, assert_same_weights
from training_steps import step_of

import gpunn
from gpunn import layers
from gpunn.backends.recording import expand_composites, record
from gpunn.callbacks import EarlyStopping, NormLog
from gpunn.data.batches import DeviceRows
from gpunn.distributed import run_threads
from gpunn.errors import ArgumentError, ArgumentTypeError, ModelFileError, SettingError
from gpunn.layers import BatchNorm, Chain, Dense, Dropout, LayerNorm
from gpunn.optimizers import SGD, Adam, AdamW

ROWS = 48
RANDOM = np.random.default_rng(0)
Y = RANDOM.integers(0, 3, ROWS)
X = (RANDOM.normal(size=(ROWS, 5)) + 2 * np.eye(3, 5)[Y]).astype(np.float32)
OPTIONS = {"batch_size": 8, "progress": False}
WITH_ALL = {"weight_decay": 0.1, "decay_all": True, "max_norm": 0.3, "l2_penalty": 0.2}


def features(trainable=True):
    return [
        Dense(8, "relu", trainable=trainable),
        BatchNorm(trainable=trainable),
        LayerNorm(trainable=trainable),
        Chain([Dense(6, "tanh"), layers.Scale()], trainable=trainable),
    ]


def head():
    return [Dense(7, "relu"), Dense(3)]


def network(trainable=True, backend="numpy"):
    return gpunn.Sequential([*features(trainable), *head()], 5, backend, seed=3)


def trainer(model, optimizer=None, **options):
    optimizer = optimizer or Adam(0.01, **WITH_ALL)
    return gpunn.Trainer(model, "softmax_cross_entropy", optimizer, ["accuracy"], **options)


def fitted(model):
    """Return a trainer after its first epoch."""
    this = trainer(model)
    this.fit(X, Y, **OPTIONS)
    return this


def freeze(model, value=False):
    model.set_trainable(dict.fromkeys(model.layers[:4], value))


def learned(backend="numpy"):
    """Return a network that has been trained, with its first layers frozen since."""
    model = fitted(network(backend=backend)).model
    freeze(model)
    return model


@pytest.mark.parametrize(("made_frozen", "accumulation"), [(True, 1), (False, 2)])
def test_what_is_frozen_stays_to_the_bit_and_the_rest_learns(backend, made_frozen, accumulation):
    model = network(trainable=not made_frozen, backend=backend)
    if not made_frozen:
        freeze(model)
    before = model.parameters.to_host()
    given = trainer(model, gradient_accumulation=accumulation)
    history = given.fit(X, Y, epochs=3, **OPTIONS)
    after = model.parameters.to_host()
    kept = {name for name in before if np.array_equal(before[name], after[name])}
    assert kept == {n for n in before if n.split(".")[0] in model.labels[:4]}
    assert history["loss"][-1] < history["loss"][0]


def test_it_trains_as_the_layers_above_alone_do_on_the_features(backend):
    """Bitwise: decay, penalty and clipping leave out frozen parameters."""
    whole = learned(backend)
    front = gpunn.Sequential(features(), 5, backend)
    above = gpunn.Sequential(head(), 6, backend, seed=3)
    for small, labels in ((front, whole.labels[:4]), (above, whole.labels[4:])):
        for label, own in zip(labels, small.labels, strict=True):
            for name in whole.parameters:
                if name.startswith(f"{label}."):
                    host = backend.to_host(whole.parameters[name])
                    small.parameters[name.replace(label, own, 1)] = host
    given = {"epochs": 2, **OPTIONS}
    # In the batches of the training: the bits of a row may depend on how many there are.
    precomputed = front.predict(X, batch_size=OPTIONS["batch_size"])
    found = trainer(whole).fit(X, Y, **given, shuffle=False)
    expected = trainer(above).fit(precomputed, Y, **given, shuffle=False)
    assert found["loss"] == expected["loss"]
    assert found["accuracy"] == expected["accuracy"]
    ours = [backend.to_host(whole.parameters[name]) for name in whole.parameters.trained]
    theirs = [backend.to_host(above.parameters[name]) for name in above.parameters.trained]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_there_is_no_gradient_and_no_state_for_it():
    model = learned()
    given = fitted(model)
    trained = [name for name in model.parameters if name.split(".")[0] in model.labels[4:]]
    assert list(model.parameters.trained) == trained
    size = model.parameters.values.shape
    assert size == (48 + 16 + 32 + 16,)  # in whole cache lines
    assert {name: slot.shape for name, slot in given.device_state.step.slots.items()} == {
        "mean": size,
        "square": size,
    }
    assert model.parameters.gradients.shape == size
    assert list(given.last_gradients()) == trained
    assert given.state()["optimizer.mean"].shape == size
    # So an update, clipping, and a copy for recoveries are of so many numbers, and no more.
    assert given.device_state.step._segments[-1].stop == size[0]
    assert model.parameters.running.shape == (2 * 16,)  # the averages of the normalization
    assert model.parameters.buffers.shape[0] > model.parameters.running.shape[0]


def trace(model, rows=8):
    step = step_of(gpunn.Trainer(model, "softmax_cross_entropy"), rows)
    order = np.arange(rows)
    step.load(DeviceRows(X[:rows], Y[:rows], None, order, rows))
    asked_for = record(lambda: step._update(rows), model.backend)
    return [one.name for one in expand_composites(asked_for, model.backend)]


def test_the_backward_pass_ends_above_what_is_frozen():
    """Count operations: the forward pass and two dense layers remain."""
    model = network()
    whole = trace(model)
    freeze(model)
    part = trace(model)
    forward = whole.index("loss")
    assert part.index("loss") == forward
    assert part[:forward] == ["normalize" if n == "batch_norm" else n for n in whole[:forward]]
    back = {"activation_gradient", "matmul", "update"}
    assert [name for name in part[forward:] if name in back] == [
        *("activation_gradient", "matmul", "matmul"),  # of both products, as dL/dx is wanted
        *("activation_gradient", "matmul"),  # nothing below uses dL/dx
        "update",
    ]
    assert (len(whole), len(part)) == (36, 27)
    assert [names.count("matmul") for names in (whole, part)] == [11, 7]


def test_ranks_send_the_averages_of_what_is_trained_alone():
    """Frozen parameters are also buffers, but need not be exchanged."""

    def sent(communicator):
        layers_ = [Dense(8, trainable=False), BatchNorm(), Dense(3)]
        model = gpunn.Sequential(layers_, 5, "numpy")
        given = trainer(model, communicator=communicator, batch_norm="local")
        given.fit(X, Y, **OPTIONS)
        return given.device_state.step._buffers.shape

    assert run_threads(2, sent) == 2 * [(2, 2 * 16)]


def test_setting_it_between_two_fits_begins_the_optimizers_state_anew():
    """So the second fit equals the fit of a new trainer."""
    model = network()
    given = trainer(model)
    given.fit(X, Y, epochs=2, **OPTIONS)
    fresh = copy.deepcopy(model)
    for each in (model, fresh):
        freeze(each)
    given.fit(X, Y, **OPTIONS)
    assert given.state()["updates"] == [6]
    again = trainer(fresh)
    again.progress.epoch = 2  # for the same order
    again.fit(X, Y, **OPTIONS)
    assert_arrays(fresh.parameters, model.parameters.to_host())
    before = model.parameters.to_host()
    freeze(model, True)
    assert given.evaluate(X, Y) == again.evaluate(X, Y)
    given.fit(X, Y, **OPTIONS)
    assert not any(np.array_equal(before[n], a) for n, a in model.parameters.to_host().items())
    assert given.epoch == 4


def test_the_same_flags_change_nothing():
    model = network()
    given = fitted(model)
    parameters = model.parameters
    model.layers[0].trainable = True
    model.set_trainable({})
    assert model.parameters is parameters
    given.fit(X, Y, **OPTIONS)
    assert given.state()["updates"] == [12]


def test_predictions_and_evaluations_go_on_with_the_parameters_that_there_are():
    """Recorded passes hold arrays, which each change replaces."""
    model = network()
    given = fitted(model)
    before, scores = model.predict(X), given.evaluate(X, Y)
    for value in (False, True):
        freeze(model, value)
        np.testing.assert_array_equal(model.predict(X), before)
    freeze(model, False)
    freeze(model, True)
    assert given.evaluate(X, Y) == scores
    model.parameters["dense_1.biases"] = np.full(8, 9.0)
    assert not np.array_equal(model.predict(X), before)
    assert given.evaluate(X, Y) != scores


def test_a_resumed_run_is_bitwise_identical(path):
    whole, first = (trainer(network(trainable=False)) for _ in range(2))
    whole.fit(X, Y, epochs=4, **OPTIONS)
    first.fit(X, Y, epochs=2, **OPTIONS)
    first.save_checkpoint(path)
    resumed = trainer(network(trainable=False))
    resumed.fit(X, Y, epochs=4, resume_from=path, **OPTIONS)
    assert_same_weights(whole, resumed)
    there = r"layers\[0\].trainable: the file's network has "
    with pytest.raises(ModelFileError, match=f"{there}False, the trainer's network has True"):
        trainer(network()).load_checkpoint(path)
    trainer(network()).save_checkpoint(path)
    with pytest.raises(ModelFileError, match=f"{there}True, the trainer's network has False"):
        resumed.load_checkpoint(path)


def test_a_checkpoint_is_loaded_and_then_layers_are_trained_again(path):
    first = fitted(network(trainable=False))
    first.save_checkpoint(path)
    second = trainer(network(trainable=False))
    second.load_checkpoint(path)
    freeze(second.model, True)
    second.fit(X, Y, **OPTIONS)
    assert second.state()["updates"] == [6]


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))], ids=["copy", "pickle"]
)
def test_a_copied_trainer_goes_on_as_the_first(copied):
    given = fitted(learned())
    other = copied(given)
    for each in (given, other):
        each.fit(X, Y, **OPTIONS)
        assert each.state()["updates"] == [12]
    assert_same_weights(given, other)
    freeze(other.model, True)
    assert given.model.parameters.frozen
    other.fit(X, Y, **OPTIONS)
    assert other.state()["updates"] == [6]


def test_a_model_file_says_what_is_frozen(path):
    model = learned()
    model.save(path)
    loaded = gpunn.load_model(path, backend="numpy")
    assert [layer.trainable for layer in loaded.layers] == 4 * [False] + 2 * [True]
    assert loaded.parameters.trained == model.parameters.trained
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    model.set_trainable(dict.fromkeys(model.layers, True))
    assert not any("trainable" in layer for layer in model.config()["layers"])


def test_groups_keep_it(tmp_path):
    groups = [{"columns": [0, 2], "layers": [Dense(2)], "trainable": False}, {"columns": [2, 5]}]
    model = gpunn.Sequential([layers.ColumnGroups(groups), Dense(3)], 5, "numpy")
    assert model.parameters.frozen == 6
    model.save(tmp_path / "model.safetensors")
    loaded = gpunn.load_model(tmp_path / "model.safetensors", backend="numpy")
    assert loaded.parameters.trained == ("dense_1.weights", "dense_1.biases")
    loaded.set_trainable({"column_groups_1.group_1": True})
    assert loaded.parameters.frozen == 0
    loaded.set_trainable({"column_groups_1.group_1.dense_1": False})
    assert loaded.to("numpy").parameters.frozen == 6


def test_the_summary_counts_what_is_trained():
    model = gpunn.Sequential(
        [Chain([Dense(4), Dense(2, trainable=False)]), Dense(2, trainable=False), Dense(1)],
        *(3, "numpy"),
    )
    assert model.summary().splitlines() == [
        "layer    name   output shape  parameters",
        "chain_1  chain  (2,)                  26  10 frozen",
        "dense_1  dense  (2,)                   6  frozen",
        "dense_2  dense  (1,)                   3",
        "total                                 35",
        "trained                               19",
    ]
    assert "10 frozen" in model._repr_html_()
    assert "6 parameters, frozen" in model.plot().svg


def test_it_cannot_be_set_while_the_network_is_trained():
    model = network()
    freezing = Calls(on_epoch_end=lambda *_: setattr(model.layers[0], "trainable", False))
    with pytest.raises(SettingError, match="trainable: can't be set while the network is being"):
        trainer(model).fit(X, Y, callbacks=[freezing], **OPTIONS)
    assert model.layers[0].trainable
    model.layers[0].trainable = False  # as no fit is running any more


def test_mistakes():
    model = network()
    for layer in (model.layers[0], Dense(3)):
        with pytest.raises(ArgumentTypeError, match="trainable: expected True or False; got 'no'"):
            layer.trainable = "no"
    with pytest.raises(ArgumentTypeError, match="trainable: expected True or False"):
        Dense(3, trainable=0.5)
    with pytest.raises(ArgumentError, match="there is no 'dense_9'; did you mean 'dense_3'"):
        model.set_trainable({"dense_9": False})
    with pytest.raises(ArgumentError, match="there is no Dense"):
        model.set_trainable({Dense(3): False})
    with pytest.raises(ArgumentTypeError, match=r"flags: expected a dict, such as .*; got False"):
        model.set_trainable(False)
    model.set_trainable(dict.fromkeys(model.layers, False))
    with pytest.raises(ArgumentError, match="all layers with parameters are frozen"):
        trainer(model).fit(X, Y, **OPTIONS)
    assert np.isfinite(trainer(model).evaluate(X, Y)["loss"])


def test_a_factor_may_be_for_a_frozen_parameter():
    model = gpunn.Sequential(
        [Dense(3, learning_rate_factor={"biases": 0.1}, trainable=False), Dense(2)], 5, "numpy"
    )
    assert model.parameters.trained == ("dense_2.weights", "dense_2.biases")


def test_snapshots_are_of_what_is_trained():
    model = learned()
    given = trainer(model)
    early = EarlyStopping(patience=1, monitor="loss")
    given.fit(X, Y, epochs=2, callbacks=[early], **OPTIONS)
    kept = given.snapshot()
    freeze(model, True)
    given.fit(X, Y, **OPTIONS)
    with pytest.raises(ArgumentError, match="snapshot: layers were frozen or unfrozen"):
        given.restore(kept)


def test_between_freezing_and_the_next_fit_there_is_no_state_of_the_optimizer(tmp_path):
    """The last step's arrays have another layout than the network's arrays."""
    model = network()
    given = fitted(model)
    kept, weights = given.snapshot(), model.parameters["dense_1.weights"].copy()
    freeze(model)
    for call in (given.snapshot, given.last_gradients):
        with pytest.raises(ArgumentError, match="trainer: layers were frozen or unfrozen"):
            call()
    given.save_checkpoint(tmp_path / "frozen.safetensors")
    freeze(model, True)
    model.parameters["dense_1.weights"] = np.zeros_like(weights)
    given.restore(kept)
    np.testing.assert_array_equal(model.parameters["dense_1.weights"], weights)
    freeze(model)
    other = trainer(network(trainable=False))
    other.load_checkpoint(tmp_path / "frozen.safetensors")
    third = copy.deepcopy(given)
    given.set_state(given.state())
    for each in (given, other, third):
        each.fit(X, Y, **OPTIONS)
        np.testing.assert_array_equal(each.model.predict(X), model.predict(X))


def test_a_copy_with_frozen_layers_writes_checkpoints_that_fit(path):
    given, other = copy.deepcopy(fitted(network())), trainer(network(trainable=False))
    freeze(given.model)
    given.save_checkpoint(path)
    other.load_checkpoint(path)
    for each in (given, other):
        each.fit(X, Y, **OPTIONS)
        np.testing.assert_array_equal(each.model.predict(X), given.model.predict(X))


def test_norms_are_of_what_is_trained(tmp_path):
    model = learned()
    trainer(model).fit(X, Y, callbacks=[NormLog(tmp_path / "norms.jsonl")], **OPTIONS)
    written = (tmp_path / "norms.jsonl").read_text()
    assert "dense_2.weights" in written
    assert "dense_1.weights" not in written


def test_dropout_goes_on_in_front_of_what_is_trained():
    """A layer without parameters has nothing to freeze."""
    model = gpunn.Sequential(
        [Dense(6, trainable=False), Dropout(0.5, trainable=False), Dense(3)], 5, "numpy"
    )
    plain = gpunn.Sequential([Dense(6, trainable=False), Dense(3)], 5, "numpy")
    plain.parameters["dense_2.weights"] = model.parameters["dense_2.weights"]
    losses = [trainer(each, SGD(0.0)).fit(X, Y, **OPTIONS)["loss"] for each in (model, plain)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("on_divergence", ["skip", "roll_back"])
def test_recovering_goes_back_to_what_was_trained(on_divergence):
    model = network(trainable=False)
    bad = X.copy()
    bad[0] = 3e38
    given = trainer(model, AdamW(0.01), on_divergence=on_divergence, log_every=2)
    with np.errstate(all="ignore"):
        given.fit(bad, Y, epochs=2, **OPTIONS)
    assert all(np.isfinite(array).all() for array in model.parameters.to_host().values())
