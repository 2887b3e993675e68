"""`--set` changes what it names and nothing else, whatever network is trained, or says what to set.

Each value that a run writes out is set to another one, on what the user wrote and on what the run
has written out, and the two descriptions are compared.
"""

import copy
import csv
import json
import re

import numpy as np
import pytest

from gpunn.config import parse_config, set_value
from gpunn.config.override import DECIDED
from gpunn.differences import differences
from gpunn.errors import ConfigError, DataError
from gpunn.experiment.build import build
from gpunn.sweep import Source
from gpunn.tabular import realmlp, tabm

LAYERS = [
    {"name": "dense", "units": 3, "activation": "relu"},
    {"name": "dropout", "rate": {"name": "flat_cosine", "rate": 0.1}},
    {"name": "dense", "units": 2},
]
LAYERED = {
    "loss": "softmax_cross_entropy",
    "optimizer": {"name": "sgd", "learning_rate": {"name": "warm_up", "schedule": "cosine"}},
    "epochs": 3,
    "callbacks": [{"name": "early_stopping", "monitor": "val_loss"}],
}
SMALL = {"hidden_layer_sizes": [4]}
NETWORKS = {
    "realmlp": ("kind", {"name": "realmlp", "parameters": SMALL}, {}),
    "realmlp of numbers": ("rent", {"name": "realmlp", "parameters": SMALL}, {}),
    "realmlp_s": ("rent", {"name": "realmlp_s", "parameters": SMALL}, {"epochs": 3}),
    "tabm": ("kind", {"name": "tabm", "parameters": {**SMALL, "members": 2}}, {}),
    "tabm of numbers": ("rent", {"name": "tabm", "parameters": {**SMALL, "members": 2}}, {}),
    "layers": ("kind", {"layers": LAYERS}, LAYERED),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings")
    random = np.random.default_rng(0)
    with (folder / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "city", "rent", "kind"])
        for _ in range(40):
            age, city = random.normal(40, 9), random.choice(["Oslo", "Rome"])
            writer.writerow([age, city, 10 * age, "old" if age > 40 else "young"])
    (folder / "b.csv").write_bytes((folder / "a.csv").read_bytes())
    return folder


def raw_of(name):
    target, model, training = NETWORKS[name]
    other = {"kind": "rent", "rent": "kind"}[target]
    data = {
        "dataset": "table",
        "path": "a.csv",
        "target": target,
        "drop": [other],
        "test_fraction": 0.2,
        "validation_fraction": 0.2,
    }
    return copy.deepcopy({"data": data, "model": model, "training": training})


def described(raw, folder, *settings):
    raw = copy.deepcopy(raw)
    for setting in settings:
        set_value(raw, setting)
    return build(parse_config(raw, folder), "numpy").description


def changed_places(old, new):
    return [place.removeprefix(".") for place, *_ in differences(old, new, "")]


@pytest.fixture(scope="module")
def descriptions(folder):
    return {name: described(raw_of(name), folder) for name in NETWORKS}


def leaves(value, place):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{place}.{key}" if place else key)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from leaves(item, f"{place}.{number}")
    else:
        yield place, value


def other(value):
    """Return another value of the same type, as `--set` takes it; None for text and lists."""
    if isinstance(value, bool):
        return str(not value).lower()
    if isinstance(value, int):
        return str(value + 1)
    return str(value * 0.5 + 0.001) if isinstance(value, float) else None


WORDS = {
    "training.callbacks.0.monitor": ["val_loss", "val_r2", "val_accuracy"],
    "training.callbacks.0.mode": ["min", "max"],
    "training.callbacks.0.ties": ["first", "last"],
    "training.monitor": ["val_loss", "val_accuracy"],
    "training.monitor_mode": ["min"],
    "training.class_weight": ["balanced"],
    "training.on_divergence": ["skip"],
    "training.checkpoint_every": ["2"],
    "training.optimizer.max_norm": ["0.5"],
    "training.metrics": ["['log_loss']", "['accuracy', 'log_loss']"],
    "data.scaling": ["standard"],
    "data.test_path": ["b.csv"],
    "data.validation_path": ["b.csv"],
    "dtype": ["float64"],
}
IMPOSSIBLE = {
    "model.layers.2.units",
    *(f"model.layers.{number}.initializer.uniform" for number in (0, 2)),
}
"""There are two classes, and an initializer that was left out depends on the activation."""

BY_ROWS = ("training.batch_size", "training.callbacks[0].patience")
FOLLOWS = {
    "training.callbacks.0.monitor": ("training.callbacks[0].mode",),
    "data.test_fraction": BY_ROWS,
    "data.validation_fraction": BY_ROWS,
}
"""What a network with a name decides by the number of rows to train on, and the like."""


BY_DEFAULT = {
    *(("realmlp", False), ("realmlp_s", False), ("tabm of numbers", False), ("layers", False)),
    *(("tabm", True), ("layers", True)),
}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        pytest.param(
            *(name, written),
            id=f"{name}, {'written out' if written else 'as a user writes it'}",
            marks=() if (name, written) in BY_DEFAULT else pytest.mark.full,
        )
        for name in NETWORKS
        for written in (False, True)
    ],
)
def test_each_key_changes_what_it_names(folder, descriptions, monkeypatch, name, written):
    monkeypatch.chdir(folder)
    before = descriptions[name]
    raw = json.loads(json.dumps(before)) if written else raw_of(name)
    tried, refused = 0, {}
    for place, value in leaves(before, ""):
        words = [other(value)] if place not in WORDS else WORDS[place]
        for word in words:
            if word is None or place in IMPOSSIBLE:
                continue
            tried += 1
            try:
                after = described(raw, folder, f"{place}={word}")
            except (ConfigError, DataError) as error:
                refused[f"{place}={word}"] = str(error)
                continue
            allowed = (re.sub(r"\.(\d+)", r"[\1]", place), *FOLLOWS.get(place, ()))
            places = changed_places(before, after)
            assert all(each.startswith(allowed) for each in places), (place, word, places)
            assert places or word == str(value), (place, word)
    assert tried > 30
    for setting, message in refused.items():
        named = ("set ", "set 'scaling' instead", "training.metrics", "are not classes")
        assert any(words in message for words in named), (setting, message)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_number_changes_the_rate_of_a_schedule(folder, descriptions, name):
    before = descriptions[name]
    for raw in (raw_of(name), json.loads(json.dumps(before))):
        for key, value in before["training"]["optimizer"].items():
            if key not in ("learning_rate", "weight_decay"):
                continue
            place = f"training.optimizer.{key}"
            inner = place
            while isinstance(value, dict):
                step = "schedule" if "schedule" in value else "rate"
                inner, value = f"{inner}.{step}", value[step]
            after = described(raw, folder, f"{place}=0.0203")
            assert changed_places(before, after) == [inner]


def test_a_sweep_changes_only_what_it_names(folder, descriptions):
    space = {"training.optimizer.learning_rate": {"low": 0.01, "high": 0.1}}
    (folder / "sweep.json").write_text(
        json.dumps({**raw_of("realmlp"), "sweep": {"parameters": space}})
    )
    source = Source(folder / "sweep.json", backend="numpy")
    after = source.build(["training.optimizer.learning_rate=0.02"]).description
    place = "training.optimizer.learning_rate.rate"
    assert changed_places(descriptions["realmlp"], after) == [place]


def test_a_layer_s_schedule_keeps_its_form(folder, descriptions):
    after = described(raw_of("layers"), folder, "model.layers.1.rate=0.4")
    assert changed_places(descriptions["layers"], after) == ["model.layers[1].rate.rate"]


COSINES = {"name": "cosine_log", "rate": 0.04, "cycles": 4, "time_of_update": 0.0}


def test_a_schedule_that_is_named_has_the_rate_of_the_recipe(folder):
    rate = "training.optimizer.learning_rate"
    for settings, expected in (
        ([f"{rate}.name=cosine"], {"name": "cosine", "rate": 0.04, "final": 0.0}),
        ([f"{rate}.cycles=2", f"{rate}=0.5"], {**COSINES, "rate": 0.5, "cycles": 2}),
        ([f"{rate}=0.5", f"{rate}.cycles=2"], {**COSINES, "rate": 0.5, "cycles": 2}),
        ([f"{rate}=0.5", f"{rate}.rate=0.6"], {**COSINES, "rate": 0.6}),
        ([f"{rate}={{name='constant', rate=0.01}}"], {"name": "constant", "rate": 0.01}),
    ):
        after = described(raw_of("realmlp"), folder, *settings)
        assert after["training"]["optimizer"]["learning_rate"] == expected
        assert after["training"]["optimizer"]["beta2"] == 0.95


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], 0.04),
        (["{rate}=0.5"], 0.5),
        (["{rate}.schedule=0.5"], 0.5),
        (["{rate}.schedule.rate=0.5"], 0.5),
        (["{rate}={{name='warm_up', schedule={{rate=0.5}}}}"], 0.5),
        (["{rate}.schedule.time_of_update=0", "{rate}=0.5"], 0.5),
        (["{rate}.epochs=2", "{rate}.schedule.time_of_update=0.0"], 0.04),
    ],
)
def test_a_warm_up_is_around_the_schedule_of_the_recipe(folder, settings, expected):
    rate = "training.optimizer.learning_rate"
    settings = [f"{rate}.name=warm_up", *(each.format(rate=rate) for each in settings)]
    warm_up = described(raw_of("realmlp"), folder, *settings)["training"]["optimizer"]
    schedule = warm_up["learning_rate"]["schedule"]
    assert (schedule["name"], schedule["rate"]) == ("cosine_log", expected)
    assert (warm_up["beta2"], schedule["time_of_update"]) == (0.95, 0.0)


def test_a_warm_up_is_around_the_rate_of_the_recipe(folder):
    rate = "training.optimizer.learning_rate"
    for settings, expected in (([], 0.002), ([f"{rate}=0.5"], 0.5)):
        after = described(raw_of("tabm"), folder, f"{rate}.name=warm_up", *settings)
        schedule = after["training"]["optimizer"]["learning_rate"]["schedule"]
        assert schedule == {"name": "constant", "rate": expected}


@pytest.mark.parametrize("name", ["realmlp", "tabm"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimizer", "sgd"),
        ("loss", "{name='softmax_cross_entropy', label_smoothing=0.3}"),
        ("metrics", "['log_loss', 'accuracy']"),
        ("callbacks", "[{name='early_stopping', monitor='val_loss'}]"),
    ],
)
def test_an_object_that_is_named_replaces_only_that_of_the_recipe(
    folder, descriptions, name, key, value
):
    after = described(raw_of(name), folder, f"training.{key}={value}")
    places = changed_places(descriptions[name], after)
    assert places
    assert all(place.startswith(f"training.{key}") for place in places)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["={beta2=0.9}", "={learning_rate=0.5}"], ("adam", 0.9, 0.5)),
        (["={beta2=0.9, learning_rate=0.5}", ".learning_rate={cycles=2}"], ("adam", 0.9, 0.5)),
        (["=adamw", "={learning_rate=0.5}"], ("adamw", 0.999, 0.5)),
    ],
)
def test_tables_without_names_add_to_earlier_settings(folder, whole, settings, expected):
    raw = described(raw_of("realmlp"), folder) if whole else raw_of("realmlp")
    after = described(raw, folder, *(f"training.optimizer{each}" for each in settings))
    found = after["training"]["optimizer"]
    assert (found["name"], found["beta2"], found["learning_rate"]["rate"]) == expected


def test_metrics_without_the_one_that_is_monitored(folder):
    with pytest.raises(ConfigError, match=r"no value 'val_log_loss'.* add 'log_loss' to training"):
        described(raw_of("tabm"), folder, "training.validation_metrics=[]")


@pytest.mark.parametrize("make", [realmlp, tabm])
def test_parameters_of_the_network_are_not_in_vain(folder, make):
    """Where a run has written out what a parameter decides, setting it names the right key."""
    name = make.__name__
    before = described(raw_of(name), folder)
    values = {"patience": 7, "metric": "accuracy", "max_norm": 2.5, "label_smoothing": 0.3}
    values |= {"learning_rate": 0.5, "weight_decay": 0.5, "epochs": 9, "batch_size": 9}
    values |= {"shuffle_members": "true"}
    for parameter in set(make.__kwdefaults__) & set(values):
        setting = f"model.parameters.{parameter}={values[parameter]}"
        assert described(raw_of(name), folder, setting)["training"] != before["training"]
        with pytest.raises(ConfigError, match=f"set training.* instead of model.*{parameter}"):
            set_value(json.loads(json.dumps(before)), setting)
    others = set(make.__kwdefaults__) - set(values)
    assert not others & {"loss", "optimizer", "callbacks", "metrics"}


FURTHER = {
    "simplified": ("optimizer.weight_decay",),
    "metric": ("metrics", "validation_metrics", "loss.label_smoothing", "callbacks[0].mode"),
    "batch_size": ("callbacks[0].patience",),
}
"""What else a parameter decides, as the parameter's description says."""
VALUES = {
    "activation": "mish",
    "hidden_layer_sizes": "[5, 3]",
    "kind": "full",
    "label_smoothing": "0.2",
    "learning_rate": "0.03",
    "max_norm": "0.5",
    "metric": "accuracy",
    "number_embedding": "plr",
    "patience": "9",
    "batch_size": "9",
    "bins": "9",
}


@pytest.mark.parametrize("make", [realmlp, tabm])
def test_each_parameter_changes_what_it_names(folder, descriptions, make):
    name = make.__name__
    for parameter, default in make.__kwdefaults__.items():
        if parameter in ("target_transform", "quantiles"):  # only for regression
            continue
        value = VALUES.get(parameter) or other(default)
        after = described(raw_of(name), folder, f"model.parameters.{parameter}={value}")
        decided = DECIDED.get(parameter, "").replace(".0.", "[0].")
        allowed = [f"model.parameters.{parameter}"]
        allowed += [f"training.{key}" for key in (decided, *FURTHER.get(parameter, ())) if key]
        places = changed_places(descriptions[name], after)
        assert any(place.startswith(allowed[0]) for place in places)
        assert all(place.startswith(tuple(allowed)) for place in places), (parameter, places)


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("training.callbacks.1.monitor=val_loss", "counted from 0, and the list has length 1"),
        ("training.optimizer.momentum=0.9", "'adam' has no such parameter"),
        ("training.optimizer.learning_rate.cycels=3", "did you mean 'cycles'"),
        ("training.loss.smoothing=0.1", "did you mean 'label_smoothing'"),
        ("model.parameters.dropuot=0.1", "did you mean 'dropout'"),
    ],
)
def test_parts_that_there_are_not(folder, setting, problem):
    with pytest.raises(ConfigError, match=problem):
        described(raw_of("realmlp"), folder, setting)


def test_another_network_is_not_trained_by_this_one_s_recipe(folder, descriptions):
    with pytest.raises(ConfigError, match=r"\[training\] contains the settings of the model"):
        described(descriptions["realmlp"], folder, "model.name=tabm")
    assert described(raw_of("realmlp"), folder, "model.name=tabm")["model"]["name"] == "tabm"


def test_a_file_may_change_parts_too(folder, descriptions):
    raw = raw_of("tabm")
    raw["training"] = {"optimizer": {"learning_rate": 0.01}, "callbacks": {"0": {"patience": 3}}}
    places = changed_places(descriptions["tabm"], described(raw, folder))
    assert places == ["training.optimizer.learning_rate.rate", "training.callbacks[0].patience"]


def test_the_mode_of_another_monitor_is_forgotten(folder, descriptions):
    stopping = {"monitor": "val_log_loss", "mode": "min"}
    assert descriptions["realmlp"]["training"]["callbacks"][0].items() >= stopping.items()
    for raw in (raw_of("realmlp"), descriptions["realmlp"]):
        after = described(raw, folder, "training.callbacks.0.monitor=val_accuracy")
        assert after["training"]["callbacks"][0]["mode"] == "max"
