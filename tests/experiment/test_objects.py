from pathlib import Path

import pytest

from gpunn.config import parse_config, set_value
from gpunn.errors import ConfigError
from gpunn.experiment.objects import Objects
from gpunn.layers import Dropout, Layer

DENSE = {"name": "dense", "units": 3}
HERE = Path("/configs")


def raw(*layers: object) -> dict:
    return {
        "data": {"dataset": "digits"},
        "model": {"layers": list(layers)},
        "training": {"loss": "softmax_cross_entropy", "epochs": 1},
    }


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("model.layers.1.unit=3", "model.layers[1].unit: 'dense' has no such parameter; did you"),
        ("model.layers.1.units=x", "model.layers[1].units: expected an integer; got 'x'"),
        ("model.layers.1.activation=rleu", "model.layers[1].activation: there is no activation"),
        ("model.layers.1.activation={name='elu', alph=1}", "model.layers[1].activation.alph: "),
        ("model.layers.1.initializer=hee", "model.layers[1].initializer: there is no initializer"),
        ("model.layers.1.bias=1", "model.layers[1].bias: expected True or False"),
        ("model.layers.1={name='dense'}", "model.layers[1].units: 'dense' needs this parameter"),
        ("model.layers.1={units=3}", "model.layers[1]: expected a name, a table with the key"),
        ("model.layers.2.rate=1.0", "model.layers[2].rate: expected a number >= 0 and < 1"),
        ("model.layers.2=droput", "model.layers[2]: there is no layer 'droput'; did you mean"),
        ("training.loss=softmax", "training.loss: there is no loss 'softmax'"),
        ("training.loss=json:JSONEncoder", "training.loss: importing 'json:JSONEncoder' runs"),
        ("training.optimizer=adm", "training.optimizer: there is no optimizer 'adm'; did you mean"),
        ("training.optimizer.learning_rte=1", "training.optimizer.learning_rte: 'adam' has no"),
        ("training.optimizer.learning_rate=-1", "training.optimizer.learning_rate: expected"),
        (
            "training.optimizer.learning_rate.rat=1",
            "training.optimizer.learning_rate.rat: 'constant' has no such parameter; did you mean",
        ),
        ("training.metrics=['acc']", "training.metrics[0]: there is no metric 'acc'"),
        ("training.callbacks=['early']", "training.callbacks[0]: there is no callback 'early'"),
        ("training.callbacks=['csv_log']", "training.callbacks[0].path: 'csv_log' needs this"),
        ("training.callbacks=[{name='model_checkpoint', path=3}]", "training.callbacks[0].path: "),
    ],
)
def test_what_is_wrong_is_named(setting, problem):
    changed = raw("flatten", dict(DENSE), "dropout", dict(DENSE))
    set_value(changed, setting)
    config = parse_config(changed, HERE)
    with pytest.raises(ConfigError) as caught:
        Objects(config)
    assert str(caught.value).startswith(problem)


class Nameless(Dropout):
    pass


class Picky(Layer):
    name = "picky"

    def __init__(self):
        raise TypeError("nothing pleases me")


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        (f"{__name__}:Nameless", f"'{__name__}:Nameless' needs its own class attribute `name`"),
        ("gpunn.layers:Missing", "cannot import 'gpunn.layers:Missing'"),
        ("json:JSONEncoder", "'json:JSONEncoder' is not a subclass"),
        ("gpunn.activations:ReLU", "there is no layer 'relu'"),
        ("picky", "nothing pleases me; got 'picky'"),
    ],
)
def test_classes_that_do_not_fit(layer, problem):
    with pytest.raises(ConfigError) as caught:
        Objects(parse_config(raw(layer), HERE), allow_imports=True)
    assert str(caught.value).startswith(f"model.layers[0]: {problem}")


def test_what_is_nested_too_deeply():
    units: object = 1
    for _ in range(5000):
        units = [units]
    deep = raw({"name": "dense", "units": units})
    with pytest.raises(ConfigError, match=r"^model\.layers\[0\]: nested too deeply$"):
        Objects(parse_config(deep, HERE))
