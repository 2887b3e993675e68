"""Configurations that start from another run, and freeze layers."""

import shutil

import numpy as np
import pytest
from run_folders import weights

from gpunn.config import load_config
from gpunn.errors import ConfigError, DataError
from gpunn.experiment import build

DIGITS = """\
backend = "numpy"
[data]
dataset = "digits"
[model]
layers = [
  { name = "dense", units = 8, activation = "relu" },
  { name = "batch_norm" },
  { name = "dense", units = 10 },
]
[training]
loss = "softmax_cross_entropy"
epochs = 1
batch_size = 512
"""
TABLE = """\
backend = "numpy"
[data]
dataset = "table"
path = "{path}"
target = "price"
validation_fraction = 0.25
[model]
name = "realmlp"
parameters = {{ hidden_layer_sizes = [8] }}
{model}
[training]
epochs = 1
batch_size = 16
"""


def configured(folder, name, text, **settings):
    (folder / f"{name}.toml").write_text(text)
    return load_config(folder / f"{name}.toml", [f"{k}={v}" for k, v in settings.items()])


def trained(gpunn, folder, name, text):
    (folder / f"{name}.toml").write_text(text)
    return gpunn("train", f"{name}.toml", "--output", f"runs/{name}")


def test_a_run_that_starts_from_another(gpunn, tmp_path):
    trained(gpunn, tmp_path, "first", DIGITS)
    second = DIGITS.replace("units = 8, ", "units = 8, trainable = false, ")
    second = second.replace(
        "[model]", '[model]\nstart_from = "runs/first"\nfrozen = ["batch_norm_1"]'
    )
    result = trained(gpunn, tmp_path, "second", second)
    assert f"initial weights from {tmp_path / 'runs' / 'first'}:\n" in result.stdout
    assert "  copied: dense_1, batch_norm_1, dense_2\n" in result.stdout
    assert "dense_1       dense       (8,)                 520  frozen\n" in result.stdout
    before, after = (weights(tmp_path / "runs" / name) for name in ("first", "second"))
    kept = {name for name in before if np.array_equal(before[name], after[name])}
    assert kept == {name for name in before if not name.startswith("dense_2")}
    # What was recorded trains the same again, and evaluates with the layers as they are.
    gpunn("evaluate", "runs/second")
    gpunn("train", "runs/second", "--output", "runs/third")
    again = weights(tmp_path / "runs" / "third")
    assert all(np.array_equal(again[name], after[name]) for name in after)


def test_a_run_that_started_from_another_is_resumed(gpunn, tmp_path):
    trained(gpunn, tmp_path, "first", DIGITS)
    text = DIGITS.replace("[model]", '[model]\nstart_from = "runs/first"\nfrozen = ["dense_1"]')
    trained(gpunn, tmp_path, "second", text)
    gpunn("train", "second.toml", "--output", "runs/second", "--resume", "--set=training.epochs=2")
    trained(gpunn, tmp_path, "whole", text.replace("epochs = 1", "epochs = 2"))
    found, expected = (weights(tmp_path / "runs" / name) for name in ("second", "whole"))
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_set_is_relative_to_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = configured(tmp_path, "any", DIGITS, **{"model.start_from": "runs/a"})
    assert config.model.start_from == str(tmp_path / "runs" / "a")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ('start_from = "runs/none"', "model.start_from: .*runs/none: there is no such file"),
        ('start_from = "../first"', "model.start_from: '../first' leads out of the config"),
        ('frozen = ["dense_9"]', "model.frozen: there is no 'dense_9'"),
        ('frozen = "dense_1"', "model.frozen: expected a list"),
    ],
)
def test_mistakes_name_the_key(tmp_path, model, message):
    text = DIGITS.replace("[model]", f"[model]\n{model}")
    with pytest.raises((ConfigError, OSError), match=message):
        build(configured(tmp_path, "any", text), "numpy")


def rows(folder, name, columns, seed=0):
    random = np.random.default_rng(seed)
    made = {
        "size": random.normal(50 + 50 * seed, 10, 80).round(2),
        "kind": random.choice(["flat", "house"], 80),
        "age": random.integers(0, 90, 80),
        "room": random.choice(["a", "b"], 80),
        "price": random.normal(100, 20, 80).round(2),
    }
    lines = [",".join(columns)]
    lines += [",".join(str(made[column][row]) for column in columns) for row in range(80)]
    (folder / f"{name}.csv").write_text("\n".join(lines))


COLUMNS = ["size", "kind", "age", "price"]


@pytest.fixture
def first(gpunn, tmp_path):
    rows(tmp_path, "old", COLUMNS)
    trained(gpunn, tmp_path, "first", TABLE.format(path="old.csv", model=""))
    return tmp_path


def test_a_table_is_read_as_the_first_network_did(first, caplog):
    rows(first, "new", ["price", "room", "age", "kind", "size"], seed=1)
    text = TABLE.format(path="new.csv", model='start_from = "runs/first"')
    experiment = build(configured(first, "second", text), "numpy")
    assert "column 'room' is not used" in caplog.text
    model, old = experiment.trainer.model, weights(first / "runs" / "first")
    assert model.schema.names == ["size", "age", "kind"]
    assert experiment.start is not None
    assert not experiment.start.reinitialized
    for name, array in model.parameters.to_host().items():
        np.testing.assert_array_equal(array, old[name])


@pytest.mark.parametrize(
    ("columns", "data", "message"),
    [
        (["size", "kind", "price"], "", "there is no column 'age', an input of the n"),
        (COLUMNS, 'drop = ["age"]', "data.drop: column 'age' is an input of the ne"),
        (COLUMNS, 'scaling = "quantile"', "data.scaling: the network .*'robust'"),
        (COLUMNS, 'columns = { age = "category" }', "data.columns.age: got 'category', but"),
        (["age", "size", "kind", "price", "room"], 'target = "age"', "data.target: co"),
    ],
)
def test_columns_that_do_not_fit_are_named(first, columns, data, message):
    rows(first, "new", columns)
    text = TABLE.format(path="new.csv", model='start_from = "runs/first"')
    if data.startswith("target"):
        text = text.replace('target = "price"', data)
    else:
        text = text.replace("[model]", f"{data}\n[model]", 1)
    with pytest.raises(ConfigError if data else DataError, match=message):
        build(configured(first, "second", text), "numpy")


def test_a_network_of_numbers_is_none_of_a_table(gpunn, first):
    trained(gpunn, first, "digits", DIGITS)
    text = TABLE.format(path="old.csv", model='start_from = "runs/digits"')
    with pytest.raises(ConfigError, match=r"model.start_from: the network of .* was not trained"):
        build(configured(first, "second", text), "numpy")


def test_a_file_of_the_run_may_be_named(first):
    shutil.copy(first / "runs" / "first" / "best.safetensors", first / "a.safetensors")
    text = TABLE.format(path="old.csv", model='start_from = "a.safetensors"')
    assert build(configured(first, "second", text), "numpy").start is not None
