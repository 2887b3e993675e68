import copy
import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunn.config import (
    CSV,
    Config,
    Draft,
    load_config,
    parse_config,
    read_config,
    set_value,
)
from gpunn.config.file import most_parts
from gpunn.errors import ConfigError, ConfigFileError, DeprecatedNameWarning
from gpunn.experiment.objects import Objects

HERE = Path("/configs")
CONFIGS = Path(__file__).parents[1] / "scripts" / "configs"


def raw() -> dict:
    return {
        "data": {"dataset": "digits"},
        "model": {"layers": ["flatten", {"name": "dense", "units": 10}]},
        "training": {"loss": "softmax_cross_entropy", "optimizer": "adam", "epochs": 2},
    }


def with_value(path: str, value: object) -> dict:
    changed = raw()
    above, _, key = path.rpartition(".")
    (at(changed, above) if above else changed)[key] = value
    return changed


def at(place, path: str):
    for key in path.replace("[", ".").replace("]", "").split("."):
        place = place[int(key)] if isinstance(place, list) else place[key]
    return place


def csv_data(**keys: object) -> dict:
    return with_value("data", {"dataset": "csv", "path": "a.csv", "target": "y", **keys})


def test_defaults_and_values():
    config = parse_config(raw(), HERE)
    assert (config.backend, config.seed, config.dtype) == ("auto", 0, "float32")
    assert (config.training.batch_size, config.training.optimizer) == (32, "adam")
    assert config.data.split_seed == 0
    assert not config.data.standardize


TABLE = {"dataset": "table", "path": "/a.csv", "target": "y"}
BASES = {
    "nothing": {},
    "digits": raw(),
    "csv": csv_data(),
    "table": {**raw(), "data": TABLE},
    "tabm": {"data": TABLE, "model": {"name": "tabm"}, "training": {}},
}


@pytest.mark.parametrize(
    ("base", "setting", "message"),
    [
        ("nothing", "seed=0", "data: this key is needed"),
        ("digits", "sed=1", "sed: unknown key; did you mean 'seed'?"),
        ("digits", "data.standardze=true", "data.standardze: ... 'standardize'?"),
        ("digits", "data.target=y", "data.target: unknown key"),
        ("digits", "data={}", "data.dataset: this key is needed ... 'digits', 'images'"),
        ("digits", "data={dataset='csv'}", "data.path: this key is needed"),
        ("digits", "data.dataset=digts", "data.dataset: ... 'digts' ... 'digits'?"),
        ("digits", "data.dataset=3", "data.dataset: expected a string; got 3"),
        ("digits", "data=digits", "data: expected a table; got 'digits'"),
        ("digits", "data.validation_fraction=1", "data.validation_fraction: ... < 1; got 1"),
        ("digits", "data.validation_fraction=nan", "data.validation_fraction: ... < 1; got nan"),
        ("digits", "data={dataset='npz', path='a', X_test='A'}", "data.y_test: ... 'X_test'"),
        (
            "digits",
            "data={dataset='npy', path='a', target_path='b', test_target_path='c'}",
            "data.test_path: this key is needed",
        ),
        ("csv", "data.targets=y", "data.targets: unknown key ... 'target'?"),
        ("csv", "data.header=maybe", "data.header: ... 'maybe' ... 'auto'"),
        ("csv", "data.target=1.5", "data.target: expected an integer or a string; got 1.5"),
        (
            "csv",
            "data={dataset='csv', path='a', target='y', test_path='b', test_fraction=0.1}",
            "data.test_fraction: cannot be combined with 'test_path'",
        ),
        (
            "csv",
            "data={dataset='csv', path='a', target='y', validation_path='b', "
            "validation_fraction=0.1}",
            "data.validation_fraction: cannot be combined with 'validation_path'",
        ),
        ("table", "data.target=[]", "data.target: expected unique column names"),
        ("table", "data.target=['a', 'a']", "data.target: expected unique column names"),
        ("table", "data.drop=['y']", "data.drop: column 'y' is the target"),
        ("table", "data.columns.a=text", "data.columns.a: "),
        ("table", "data.columns=none", "data.columns: "),
        ("table", "data.standardize=true", "data.standardize: cannot be used for a table"),
        (
            "table",
            "data={dataset='table', path='a', target='y', test_path='b', test_fraction=0.1}",
            "data.test_fraction: cannot",
        ),
        ("digits", "backend_options={graf=1}", "backend_options.graf: unknown ... 'graph'?"),
        ("digits", "backend_options={graph=1}", "backend_options.graph: expected true or"),
        (
            "digits",
            "backend_options={matmul_precision='float61'}",
            "backend_options.matmul_precision: there is no ... 'float61' ... 'bfloat16' ... 'tf32'",
        ),
        ("digits", "model={}", "model.layers: set this key, or set 'name'"),
        ("digits", "model.layer=[]", "model.layer: unknown key ... 'layers'?"),
        ("digits", "model.layers=dense", "model.layers: expected a list; got 'dense'"),
        ("digits", "model.layers=[]", "model.layers: expected a list of length >= 1; got []"),
        ("digits", "model.layers=['flatten', 5]", "model.layers[1]: expected a string or a table"),
        ("digits", "model.name=tabm", "model.layers: cannot be combined with"),
        ("digits", "model.parameters.a=1", "model.parameters: needs a tabular"),
        ("digits", "model={name=3}", "model.name: expected a string"),
        ("tabm", "training=3", "training: expected a table"),
        ("tabm", "training.epoch=3", "training.epoch: unknown key ... 'epochs'?"),
        ("digits", "training.epochs=0", "training.epochs: expected an integer >= 1; got 0"),
        ("digits", "training.epochs='3'", "training.epochs: expected an integer; got '3'"),
        ("digits", "training.metrics=accuracy", "training.metrics: expected a list"),
        ("digits", "training.class_weight=even", "training.class_weight: ... 'balanced'"),
        ("digits", "training.class_weight={0='x'}", "training.class_weight.0: ... number; got 'x'"),
        ("digits", "training.class_weight={3=-1}", "training.class_weight.3: ... >= 0; got -1"),
        ("digits", "training.class_weight={3=inf}", "training.class_weight.3: ... >= 0; got inf"),
        ("digits", "training.shuffle=1", "training.shuffle: expected true or false; got 1"),
        ("digits", "seed=-1", "seed: expected an integer >= 0; got -1"),
        ("digits", "seed=true", "seed: expected an integer; got True"),
        ("digits", "dtype=float16", "dtype: ... 'float16' ... 'float32' ... 'float64'"),
    ],
)
def test_what_is_wrong_is_named(base, setting, message):
    changed = copy.deepcopy(BASES[base])
    set_value(changed, setting)
    with pytest.raises(ConfigError) as caught:
        parse_config(changed, HERE)
    assert "$" not in str(caught.value)
    for part in message.split(" ... "):
        assert part in str(caught.value)


def test_a_network_with_a_name_decides_what_is_not_said():
    config = parse_config(
        {
            "data": TABLE,
            "model": {"name": "tabm", "parameters": {"members": 2}},
            "training": {"epochs": 3, "monitor": None},
        },
        HERE,
    )
    assert isinstance(config, Draft)
    assert config.model.layers is None
    whole = config.settled({"loss": "huber", "epochs": 100, "batch_size": 7, "monitor": "val_r2"})
    assert type(whole) is Config
    training = whole.training
    assert (training.loss, training.epochs, training.batch_size) == ("huber", 3, 7)
    assert training.monitor is None
    # What a run keeps says everything, and is decided by nothing else.
    again = parse_config(whole.plain(), HERE)
    assert isinstance(again, Draft)
    assert again.plain() == whole.plain()
    assert again.settled({"batch_size": 9}) == whole


def test_data_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    config = parse_config(csv_data(path="a.csv", test_path="~/b.csv"), HERE)
    assert isinstance(config.data, CSV)
    assert config.data.path == "/configs/a.csv"
    assert config.data.test_path == "/home/ada/b.csv"
    absolute = parse_config(csv_data(path="/x/a.csv"), HERE)
    assert absolute.data.path == "/x/a.csv"


@pytest.mark.parametrize("path", ["../a.csv", "x/../../a.csv", "link/a.csv"])
def test_relative_data_paths_stay_in_the_folder(tmp_path, path):
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(
        ConfigError, match=r"data\.path: .* leads out of the configuration's folder"
    ):
        parse_config(csv_data(path=path), folder)
    inside = parse_config(csv_data(path="x/../a.csv"), folder)
    assert Path(inside.data.path).resolve() == folder / "a.csv"


@pytest.mark.parametrize("path", ["a\0b", "~nobody-of-this-name/a"])
def test_what_is_no_path(path):
    with pytest.raises(ConfigError, match="is not a path"):
        parse_config(csv_data(path=path), HERE)


def test_faults_of_a_file_name_the_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(with_value("sed", 1)))
    with pytest.raises(ConfigFileError, match=r"a\.json: sed: unknown key; did you mean 'seed'\?"):
        load_config(path)
    with pytest.raises(ConfigError, match=r"^sed: unknown key"):
        load_config(path, ["seed=2"])


@pytest.mark.parametrize(
    "text", ['"', "'", '"\\', '"""\\"', "'' ", " ", "a.", "#", "a b. ", '"""', "'''", "= . "]
)
def test_names_are_counted_in_time_that_grows_with_the_text(text):
    """Each of these would take hours if it grew with the square."""
    assert most_parts(text * (2**18 // len(text))) >= 0


def test_what_is_in_quotes_is_no_name(tmp_path):
    dots = ".".join("a" * 50)
    (tmp_path / "a.toml").write_text(
        f'# {dots}\na."{dots}" = """\n{dots}\n""" # {dots}\nb = \'{dots}\'\n'
    )
    assert read_config(tmp_path / "a.toml")["b"] == dots


def test_many_numbers_are_no_deep_name(tmp_path):
    (tmp_path / "a.toml").write_text(f"a = {[0.5] * 100}\n")
    assert len(read_config(tmp_path / "a.toml")["a"]) == 100


def test_mnist_by_key_or_variable(monkeypatch):
    monkeypatch.delenv("GPUNN_DATA", raising=False)
    with pytest.raises(ConfigError, match=r"data\.path.*GPUNN_DATA"):
        parse_config(with_value("data.dataset", "mnist"), HERE)
    monkeypatch.setenv("GPUNN_DATA", "/sets")
    config = parse_config(with_value("data.dataset", "mnist"), HERE)
    assert config.data.path == "/sets/mnist"
    given = parse_config(with_value("data", {"dataset": "mnist", "path": "digits"}), HERE)
    assert given.data.path == "/configs/digits"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("training.epochs=3", 3),
        ("training.epochs = 3", 3),
        ("seed=1_000", 1000),
        ("data.standardize=true", True),
        ("training.optimizer=sgd", "sgd"),
        ('training.optimizer="sgd"', "sgd"),
        ("training.optimizer.learning_rate=1e-3", 1e-3),
        ("training.optimizer={name='sgd', momentum=0.9}", {"name": "sgd", "momentum": 0.9}),
        ("training.class_weight.3=2.5", 2.5),
        ("model.layers.1.units=7", 7),
        ("model.layers[1].units=7", 7),
        ("model.layers.0=relu", "relu"),
        ("model.layers.0.label=first", "first"),
        ("training.metrics=['accuracy']", ["accuracy"]),
        ("backend=cupy:1", "cupy:1"),
        ("seed=1\nother = 2", "1\nother = 2"),
    ],
)
def test_set(setting, value):
    changed = raw()
    set_value(changed, setting)
    assert at(changed, setting.split("=")[0].strip()) == value


def test_options_of_the_backend():
    assert parse_config(raw(), HERE).get_backend("numpy").name == "numpy"
    set_value(changed := raw(), "backend_options.matmul_precision=tf32")
    options = parse_config(changed, HERE).backend_options
    assert (options.graph, options.matmul_precision) == (True, "tf32")


@pytest.mark.parametrize(
    ("written", "setting", "expected"),
    [
        ("", "learning_rate=0.1", "{name='adam', learning_rate=0.1}"),
        ("", "name=sgd", "{name='sgd'}"),
        ("", "learning_rate.rate=1.5", "{name='adam', learning_rate={name='constant', rate=1.5}}"),
        ("'sgd'", "learning_rate.name=cosine", "{name='sgd', learning_rate={name='cosine'}}"),
        (
            "{name='sgd', learning_rate=0.3}",
            "learning_rate.name=cosine",
            "{name='sgd', learning_rate={name='cosine', rate=0.3}}",
        ),
        (
            "{name='sgd', learning_rate='one_cycle'}",
            "learning_rate=0.3",
            "{name='sgd', learning_rate={name='one_cycle', rate=0.3}}",
        ),
        (
            "{name='sgd', learning_rate={name='warm_up'}}",
            "learning_rate.schedule.rate=0.1",
            "{name='sgd', learning_rate={name='warm_up', schedule={name='constant', rate=0.1}}}",
        ),
        (
            "{name='sgd', learning_rate={name='cosine', rate=0.1, final=0.01}}",
            "learning_rate=0.3",
            "{name='sgd', learning_rate={name='cosine', rate=0.3, final=0.01}}",
        ),
        (
            "{name='sgd', learning_rate={name='warm_up', epochs=2.0}}",
            "learning_rate=0.3",
            "{name='sgd', learning_rate={name='warm_up', epochs=2.0, schedule=0.3}}",
        ),
    ],
)
def test_set_opens_what_is_left_out_or_a_number(written, setting, expected):
    changed = raw()
    del changed["training"]["optimizer"]
    if written:
        set_value(changed, f"training.optimizer={written}")
    set_value(changed, f"training.optimizer.{setting}")
    assert changed["training"]["optimizer"] == tomllib.loads(f"found = {expected}")["found"]
    Objects(parse_config(changed, HERE))


DENSE = {"name": "dense", "units": 3}


@pytest.mark.parametrize(
    ("path", "written", "setting", "expected"),
    [
        ("training.optimizer", "adam", "learning_rate=0.5", {"name": "adam", "learning_rate": 0.5}),
        ("model.layers", ["flatten"], "0.label=first", [{"name": "flatten", "label": "first"}]),
        (
            "model.layers",
            [DENSE],
            "0.activation.name=tanh",
            [{**DENSE, "activation": {"name": "tanh"}}],
        ),
        (
            "model.layers",
            [{**DENSE, "activation": "leaky_relu"}],
            "0.activation.slope=0.5",
            [{**DENSE, "activation": {"name": "leaky_relu", "slope": 0.5}}],
        ),
        ("data", {"columns": "auto"}, "columns.zip=category", {"columns": {"zip": "category"}}),
        # What a run has written as left out, in its config.json.
        ("data", {"columns": None}, "columns.zip=category", {"columns": {"zip": "category"}}),
        ("backend_options", None, "threads=1", {"threads": 1}),
        ("training.class_weight", None, "3=2.0", {"3": 2.0}),
    ],
)
def test_set_opens_a_name_and_what_is_left_out(path, written, setting, expected):
    changed = with_value(path, copy.deepcopy(written))
    set_value(changed, f"{path}.{setting}")
    assert at(changed, path) == expected
    if path != "data":
        Objects(parse_config(changed, HERE))


def test_set_opens_no_word_that_is_not_a_name():
    changed = with_value("training.class_weight", "balanced")
    with pytest.raises(ConfigError, match="class_weight is 'balanced', which has no key"):
        set_value(changed, "training.class_weight.3=2.5")


def test_set_takes_paths_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changed = csv_data()
    set_value(changed, "data.path=b.csv")
    assert parse_config(changed, HERE).data.path == str(tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("training.epochs", "expected key=value"),
        ("=3", "expected key=value"),
        ("training..epochs=3", "expected key=value"),
        ("model.layers.2.units=3", r"model\.layers has no entry 2: .* has length 2"),
        ("model.layers.last.units=3", "is a list; expected an index, not 'last'"),
        ("seed=" + "[" * 100_000, "--set seed: the value is nested too deeply"),
        ("training.epochs.x=3", r"training\.epochs is 2, which has no key"),
    ],
)
def test_set_that_fits_nothing(setting, problem):
    with pytest.raises(ConfigError, match=problem):
        set_value(raw(), setting)


KEYS = st.lists(
    st.sampled_from(["training", "model", "layers", "0", "epochs", "x", "data", "seed"]),
    min_size=1,
    max_size=4,
)


@given(KEYS, st.text(max_size=8))
def test_set_never_makes_an_invalid_config_pass(keys, value):
    changed = raw()
    try:
        set_value(changed, f"{'.'.join(keys)}={value}")
        config = parse_config(changed, HERE)
    except ConfigError:
        return
    assert isinstance(config, Config)
    assert parse_config(config.plain(), HERE) == config


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.toml", b"seed = = 1", "not a valid TOML file.*line 1"),
        ("a.toml", b"\xff", "not a valid TOML file"),
        ("a.json", b"{", "not a valid JSON file"),
        ("a.json", b"[]", "expected a table of settings"),
        ("a.toml", b"a = " + b"[" * 100_000, "nested too deeply"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.toml", b"#" * (2**18 + 1), "larger than 262,144 bytes"),
        ("a.toml", b"a." * 40 + b"a = 1", "a key has more than 32 parts"),
        ("a.toml", b"a . " * 40 + b"a = 1", "a key has more than 32 parts"),
        ("a.toml", b'a."=".' * 12000 + b"a = 1", "a key has more than 32 parts"),
        ("a.toml", b"[" + b"'a'." * 9 + rb'"\"#]".' * 40 + b"a]", "a key has more than 32 parts"),
        ("a.toml", b"x = {" + b"'{}'.\t'=' ." * 20 + b"a = 1}", "a key has more than 32 parts"),
        ("a.toml", b"[" + b"'a'." * 40 + b"a]", "a key has more than 32 parts"),
    ],
)
def test_files_that_are_not_configurations(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigFileError, match=rf"{name}: .*{problem}"):
        read_config(tmp_path / name)


def test_json_and_toml_are_the_same(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(raw()))
    (tmp_path / "a.toml").write_text(
        "[data]\ndataset = 'digits'\n"
        "[model]\nlayers = ['flatten', {name = 'dense', units = 10}]\n"
        "[training]\nloss = 'softmax_cross_entropy'\noptimizer = 'adam'\nepochs = 2\n"
    )
    assert load_config(tmp_path / "a.json") == load_config(tmp_path / "a.toml")
    assert load_config(tmp_path / "a.toml", ["seed=4"]).seed == 4


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_the_configurations_that_come_along(path, monkeypatch):
    monkeypatch.setenv("GPUNN_DATA", "/sets")
    assert Objects(load_config(path)).layers


@pytest.mark.parametrize("key", ["backend", "data.dataset"])
def test_half_of_a_character(tmp_path, key):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(with_value(key, "\ud800")))
    with pytest.raises(
        ConfigFileError, match=rf"a\.json: {key}: expected a string that UTF-8 can encode"
    ):
        load_config(path)


def test_the_old_name_of_a_key(tmp_path):
    sweep = {"parameters": {"seed": {"low": 0, "high": 1}}}
    old, both = (
        {**raw(), "sweep": {**sweep, **it}}
        for it in ({"least_epochs": 2}, {"least_epochs": 2, "min_epochs": 3})
    )
    assert issubclass(DeprecatedNameWarning, FutureWarning)
    with pytest.warns(DeprecatedNameWarning, match=r"sweep\.least_epochs: .* sweep\.min_epochs"):
        config = parse_config(old, HERE)
    assert config.sweep.min_epochs == 2
    with pytest.warns(DeprecationWarning, match=r"Sweep\.least_epochs: .* min_epochs"):
        assert config.sweep.least_epochs == 2
    assert "least_epochs" in old["sweep"]
    with pytest.raises(ConfigError, match="least_epochs: unknown key; did you mean 'min_epochs'"):
        parse_config(both, HERE)
    # A run's file is gpunn's, so its user is not asked to change it.
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert load_config(tmp_path / "config.json").sweep.min_epochs == 2
