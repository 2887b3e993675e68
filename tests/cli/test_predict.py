import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_folders import evaluation

from gpunn import load_model
from gpunn.data import load_digits

SPECIES = ["iris", "lily", "rose"]


def table(text: str) -> list[list[str]]:
    return list(csv.reader(text.splitlines()))


def test_classes_by_name(gpunn, flowers, tmp_path):
    gpunn("train", flowers, "--output", "run")
    (tmp_path / "new.csv").write_text("length,width,note\n0,-5,7\n0,104,7\n0.001,200,7\n")
    result = gpunn("predict", "run", "--input", "new.csv")
    assert table(result.stdout) == [["prediction"], *([name] for name in SPECIES)]
    gpunn("predict", "run", "--input", "new.csv", "--output", "out.csv", "--probabilities")
    header, *rows = table((tmp_path / "out.csv").read_text())
    assert header == ["prediction", *(f"probability_{name}" for name in SPECIES)]
    for row, name in zip(rows, SPECIES, strict=True):
        probabilities = dict(zip(SPECIES, map(float, row[1:]), strict=True))
        assert row[0] == name == max(probabilities, key=lambda key: probabilities[key])
        assert sum(probabilities.values()) == pytest.approx(1)
    gpunn("predict", "run", "--input", "new.csv", "--output", "out.npy")
    assert np.load("out.npy").tolist() == SPECIES
    # Python gives the same probabilities.
    gpunn("predict", "run", "--input", "new.csv", "--probabilities", "--output", "out.npy")
    model = load_model("run/final.safetensors", "numpy")
    frame = pd.read_csv("new.csv").drop(columns="note")
    assert model.classes == SPECIES
    assert model.feature_names == ["width", "length"]
    np.testing.assert_array_equal(model.predict_proba(frame), np.load("out.npy"))


UNNAMED = "classes: a network with 3 outputs is for 3 classes; got 2: 'iris', 'lily'. Set"


def test_more_outputs_than_named_classes_do_not_train(gpunn, flowers, tmp_path):
    table = tmp_path / "flowers.csv"
    lines = [line for line in table.read_text().splitlines() if "rose" not in line]
    table.write_text("\n".join(lines) + "\n")
    assert UNNAMED in gpunn("train", flowers, status=2).stderr
    assert not (tmp_path / "runs").exists()
    gpunn("train", flowers, "--set", "model.layers.1.units=2", "--set", "training.epochs=1")


def test_a_run_with_more_outputs_than_named_classes(gpunn, flowers, tmp_path):
    """As earlier releases trained them: no row may have more cells than the header."""
    gpunn("train", flowers, "--output", "run")
    model = load_model("run/final.safetensors", "numpy")
    model.metadata["classes"] = SPECIES[:2]
    model.save("run/final.safetensors")
    (tmp_path / "new.csv").write_text("length,width\n0,-5\n0.001,200\n")
    for options in ([], ["--probabilities"], ["--output", "out.npy"]):
        refused = gpunn("predict", "run", "--input", "new.csv", *options, status=2)
        assert UNNAMED in refused.stderr
        assert refused.stdout == ""
    gpunn("report", "run")
    page = (tmp_path / "report.html").read_text()
    assert "Predictions are missing" in page
    assert "a network with 3 outputs is for 3 classes; got 2" in page
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize("kind", ["npy", "npz", "csv"])
def test_inputs_of_each_kind(gpunn, run, kind):
    _, _, X, y = load_digits()
    if kind == "npy":
        np.save("new.npy", X)
    elif kind == "npz":
        np.savez("new.npz", X=X)
    else:
        np.savetxt("new.csv", X, "%d", delimiter=",")
    arguments = ["--input", f"new.{kind}", "--output", "out.npy"]
    gpunn("predict", "run", *arguments, "--probabilities")
    probabilities = np.load("out.npy")
    assert probabilities.shape == (360, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    gpunn("predict", "run", *arguments)
    predicted = np.load("out.npy")
    assert predicted.dtype == np.int64
    assert np.array_equal(predicted, probabilities.argmax(axis=1))
    assert np.mean(predicted == y) == pytest.approx(evaluation(Path("run"))["test"]["accuracy"])


REGRESSION = """\
data = {dataset = "csv", path = "a.csv", target = TARGET, standardize = true}
model.layers = [{name = "dense", units = 1}]
[training]
loss = "mean_squared_error"
optimizer = {name = "adam", learning_rate = 0.2}
epochs = 60
batch_size = 8
metrics = ["r2"]
"""


def numbers():
    X = np.random.default_rng(0).normal(5, 2, (64, 2))
    return X, 3 * X[:, 0] - X[:, 1]


@pytest.mark.parametrize("target", [0, -1])
@pytest.mark.parametrize("with_target", [False, True])
def test_numbers_from_a_file_without_header(gpunn, tmp_path, target, with_target):
    X, y = numbers()
    columns = [y, *X.T] if target == 0 else [*X.T, y]
    np.savetxt("a.csv", np.stack(columns, axis=1), delimiter=",")
    (tmp_path / "a.toml").write_text(REGRESSION.replace("TARGET", str(target)))
    gpunn("train", "a.toml", "--output", "run")
    np.savetxt("new.csv", np.stack(columns, axis=1) if with_target else X, delimiter=",")
    gpunn("predict", "run", "--input", "new.csv", "--output", "out.npy")
    np.testing.assert_allclose(np.load("out.npy"), y, atol=0.5)
    first, second, *_ = table(gpunn("predict", "run", "--input", "new.csv").stdout)
    assert first == ["prediction"]
    assert np.float32(second[0]) == np.load("out.npy")[0]
    refused = gpunn("predict", "run", "--input", "new.csv", "--probabilities", status=2)
    assert "'mean_squared_error' predicts no probabilities" in refused.stderr


def test_no_rows(gpunn, run):
    np.save("none.npy", np.zeros((0, 64)))
    assert gpunn("predict", "run", "--input", "none.npy").stdout == "prediction\n"


@pytest.mark.parametrize("target", [0, "label"])
def test_columns_whose_names_are_digits(gpunn, tmp_path, target):
    """A model must not take names of columns for their numbers."""
    X, y = numbers()

    def save(path, header, *columns):
        np.savetxt(path, np.stack(columns, axis=1), delimiter=",", header=header, comments="")

    save("a.csv", "label,0,1", y, *X.T)
    save("test.csv", "label,1,0", y, X[:, 1], X[:, 0])
    text = REGRESSION.replace("TARGET", json.dumps(target))
    (tmp_path / "a.toml").write_text(text)
    gpunn("train", "a.toml", "--output", "run", "--set", "data.test_path=test.csv")
    assert evaluation(tmp_path / "run")["test"]["r2"] > 0.99
    told = json.loads(gpunn("evaluate", "run", "--data-path", "test.csv", "--json").stdout)
    assert told["r2"] > 0.99
    save("new.csv", "other,1,0", y * 0, X[:, 1], X[:, 0])
    gpunn("predict", "run", "--input", "new.csv", "--output", "out.npy")
    np.testing.assert_allclose(np.load("out.npy"), y, atol=0.5)


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("data.target=lable", "data.target: "),
        ("data.delimiter=;;", "data.delimiter: expected one character"),
        ("data.features=['x', 'w']", "data.features: "),
    ],
)
def test_columns_that_are_not_there(gpunn, tmp_path, setting, problem):
    (tmp_path / "a.csv").write_text("x,y,label\n1,2,3\n4,5,6\n")
    (tmp_path / "a.toml").write_text(REGRESSION.replace("TARGET", '"label"'))
    assert f"Error: {problem}" in gpunn("train", "a.toml", "--set", setting, status=2).stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--input", "header.csv"], "header.csv: line 1: expected 64 columns; got 2"),
        (["--input", "none.npy"], "none.npy"),
        (["--input", "none.xls"], "none.xls: there is no such file"),
        (["--input", "digits.toml"], "digits.toml: expected a file name that ends in .npy"),
        (["--input", "wrong.npy"], "expects shape (rows, 64)"),
        (["--input", "nan.npy"], "expected finite numbers"),
        (["--input", "fine.npy", "--output", "out.txt"], "--output: expected a file name"),
        (["--input", "fine.npy", "--output", "none/out.npy"], "none"),
        (["--input", "fine.npy", "--skip-broken"], "--skip-broken: needs CSV or JSON lines, and f"),
        (["--input", "fine.npy", "--no-header"], "--header: needs CSV or JSON lines, and fine.npy"),
        (["-", "--to", "csv", "--output", "out.npy"], "--to: out.npy is an NPY file; remove"),
    ],
)
def test_what_cannot_be_predicted(gpunn, run, tmp_path, arguments, problem):
    np.save("wrong.npy", np.zeros((3, 5)))
    Path("header.csv").write_text("a,b\n")
    np.save("nan.npy", np.full((3, 64), np.nan))
    np.save("fine.npy", np.zeros((3, 64)))
    before = sorted(tmp_path.iterdir())
    assert problem in gpunn("predict", "run", *arguments, status=2).stderr
    assert sorted(tmp_path.iterdir()) == before
