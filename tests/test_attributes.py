"""Setting an attribute without effect, or one that would break a network, raises an error."""

import copy
import pickle
from dataclasses import dataclass

import numpy as np
import pytest

import gpunn
from gpunn.errors import ArgumentError, SettingError


def network():
    dense = gpunn.layers.Dense
    layers = [dense(4, activation="relu"), gpunn.layers.Dropout(0.5), dense(2)]
    return gpunn.Sequential(layers, 3, backend="numpy", seed=0)


@pytest.mark.parametrize("name", ["trainable", "requires_grad"])
def test_a_network_has_no_attribute_trainable(name):
    with pytest.raises(SettingError, match="to freeze a layer, set"):
        setattr(network(), name, False)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.layers.append(gpunn.layers.Dense(3)),
        lambda model: model.layers.insert(0, gpunn.layers.Dense(3)),
        lambda model: model.layers.pop(),
        lambda model: model.layers.__setitem__(0, gpunn.layers.Dense(4)),
        lambda model: model.layers.__delitem__(0),
        lambda model: model.layers.__iadd__([gpunn.layers.Dense(3)]),
        lambda model: setattr(model, "layers", model.layers[:2]),
        lambda model: setattr(model, "output_shape", (5,)),
        lambda model: setattr(model, "dtype", "float64"),
        lambda model: setattr(model, "backend", "cupy"),
        lambda model: setattr(model, "seed", 3),
        lambda model: setattr(model.layers[0], "units", 5),
        lambda model: setattr(model.layers[0], "activation", "tanh"),
        lambda model: setattr(model.layers[0], "f", gpunn.activations.Tanh()),
        lambda model: setattr(model.layers[1], "label", "first"),
    ],
)
def test_a_networks_layers_are_fixed(change):
    model = network()
    with pytest.raises(SettingError, match=r"can't be changed later; build a new gpunn.Sequential"):
        change(model)
    assert model.predict(np.ones((1, 3))).shape == (1, 2)


def test_layers_are_still_a_sequence():
    model = network()
    assert len(model.layers) == 3
    assert model.layers[-1] is model.layers[2]
    assert not hasattr(model.layers, "append")
    with pytest.raises(AttributeError, match="no attribute 'units'"):
        model.layers.units  # noqa: B018


def test_numbers_of_layers_may_change():
    model = network()
    model.layers[1].rate = 0.1
    assert model.config()["layers"][1]["rate"] == 0.1


@pytest.mark.parametrize(
    ("owner", "name", "remedy"),
    [
        ("trainer", "lr", "set learning_rate of the optimizer"),
        ("trainer", "batch_size", "pass it to fit"),
        ("trainer", "on_divergance", "did you mean 'on_divergence'"),
        ("optimizer", "lr", "set learning_rate of the optimizer"),
        ("optimizer", "weigth_decay", "did you mean 'weight_decay'"),
        ("layer", "rat", "did you mean 'rate'"),
        ("callback", "patiance", "did you mean 'patience'"),
    ],
)
def test_attributes_that_are_not_there(owner, name, remedy):
    trainer = gpunn.Trainer(network(), "softmax_cross_entropy")
    owners = {
        "trainer": trainer,
        "optimizer": trainer.optimizer,
        "layer": trainer.model.layers[1],
        "callback": gpunn.callbacks.EarlyStopping(),
    }
    with pytest.raises(SettingError, match=f"has no attribute '{name}': .*{remedy}"):
        setattr(owners[owner], name, 1)


def test_loss_optimizer_and_metrics_may_be_set_by_name():
    trainer = gpunn.Trainer(network(), "softmax_cross_entropy")
    trainer.loss, trainer.optimizer, trainer.metrics = "huber", "sgd", ["r2"]
    assert trainer.loss == gpunn.losses.Huber()
    trainer.fit(np.ones((4, 3)), np.ones((4, 2)), progress=False)
    assert set(trainer.history.rows[-1]) >= {"loss", "r2"}
    with pytest.raises(ArgumentError, match="loss: there is no loss 'hubr'"):
        trainer.loss = "hubr"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("on_divergence", "skp", "on_divergence: there is no choice 'skp'; did you mean 'skip'"),
        ("log_every", 0, "log_every: expected an integer >= 1; got 0"),
        ("gradient_accumulation", 0, "gradient_accumulation: expected an integer >= 1; got 0"),
        ("metrics", ["accuracy", "accuracy"], "metrics: expected distinct names"),
    ],
)
def test_settings_are_checked_as_in_the_constructor(name, value, message):
    trainer = gpunn.Trainer(network(), "softmax_cross_entropy")
    before = getattr(trainer, name)
    with pytest.raises(ArgumentError, match=message):
        setattr(trainer, name, value)
    assert getattr(trainer, name) == before
    with pytest.raises(ArgumentError, match=message):
        gpunn.Trainer(network(), "softmax_cross_entropy", **{name: value})


def test_custom_classes_may_have_any_attribute():
    class Mine(gpunn.Trainer):
        pass

    @dataclass(eq=False)
    class Scaled(gpunn.layers.Rescaling):
        name = "attributes_scaled"

    trainer, layer = Mine(network(), "softmax_cross_entropy"), Scaled()
    trainer.note = layer.note = "mine"
    assert pickle.loads(pickle.dumps(gpunn.Trainer(network(), "huber"))).epoch == 0
    assert copy.copy(layer).note == "mine"


def test_a_deprecated_name_of_a_setting_warns():
    with pytest.warns(DeprecationWarning, match="report_every is now called log_every"):
        trainer = gpunn.Trainer(network(), "mean_squared_error", report_every=7)
    assert trainer.log_every == 7
    with pytest.warns(DeprecationWarning, match="report_every is now called log_every") as caught:
        trainer.report_every = 3
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="report_every is now called log_every"):
        assert trainer.report_every == trainer.log_every == 3
