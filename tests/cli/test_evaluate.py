import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from run_folders import evaluation


def test_the_best_epoch(gpunn, digits):
    gpunn("train", digits, "--output", "run", "--set", "training.monitor=epoch")
    best = json.loads(gpunn("evaluate", "run", "--best", "--json").stdout)
    final = json.loads(gpunn("evaluate", "run", "--json").stdout)
    assert best["accuracy"] < final["accuracy"]  # "epoch" is least at first


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("width,species,length\n1,tulip,2\n", "'tulip', which is not a class of the training data"),
        ("width,species,length\n1,4,2\n", "'4', which is not a class of the training data"),
        ("width,species\n1,rose\n", "no column 'length'"),
        ("width,length\n1,2\n", "no column 'species'"),
    ],
)
def test_a_csv_file_that_does_not_fit(gpunn, flowers, tmp_path, text, problem):
    gpunn("train", flowers, "--output", "run", "--set", "training.epochs=1")
    (tmp_path / "other.csv").write_text(text)
    assert problem in gpunn("evaluate", "run", "--data-path", "other.csv", status=2).stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["none"], "none: expected a folder that gpunn train wrote"),
        (["run", "--data-path", "digits.toml"], "digits.toml: expected a file name that ends in"),
        (["run", "--data-path", "none.txt"], "none.txt: there is no such file"),
        (["run", "--data-path", "none.csv"], "none.csv: there is no such file"),
        (["run", "--data-path", "a.csv"], "was not trained on a CSV file"),
        (["run", "--data-path", "X.npy"], "give the inputs as an NPY file, and the targets"),
        (["run", "--data-path", "a.npz", "--target-path", "y.npy"], "give the inputs as"),
        (["run", "--target-path", "y.npy"], "--target-path: give the NPY file of the inputs"),
        (["run", "--data-path", "wrong.npz"], "expects shape (rows, 64)"),
        (["run", "--data-path", "labels.npz"], "labels must be from 0 to 9"),
        (["run", "--data-path", "."], "lacks train-images-idx3-ubyte"),
        (["run", "--backend", "nump"], "there is no backend 'nump'"),
    ],
)
def test_what_cannot_be_evaluated(gpunn, run, arguments, problem):
    np.savez("wrong.npz", X=np.zeros((3, 5)), y=np.zeros(3, int))
    Path("a.csv").write_text("1,2\n")
    np.savez("labels.npz", X=np.zeros((3, 64)), y=np.full(3, 10))
    assert problem in gpunn("evaluate", *arguments, status=2).stderr


def test_no_test_part(gpunn, flowers):
    gpunn("train", flowers, "--output", "run", "--set", "data.test_fraction=0")
    assert "the run's data has no test split" in gpunn("evaluate", "run", status=2).stderr
    assert "the run had no validation rows" in gpunn("evaluate", "run", "--best", status=2).stderr


def test_a_damaged_network(gpunn, run, tmp_path):
    (tmp_path / "run" / "final.safetensors").write_bytes(b"damaged")
    assert "final.safetensors: not a readable" in gpunn("evaluate", "run", status=2).stderr


@pytest.mark.parametrize("kind", ["csv", "table"])
@pytest.mark.parametrize("change", [lambda lines: lines + lines[:3], lambda lines: lines[::-1]])
def test_data_that_changed_after_training(gpunn, flowers, kind, change):
    path = Path("flowers.csv")
    table = [path, "--target", "species", "--set", "training.epochs=1"]
    gpunn("train", *([flowers] if kind == "csv" else table), "--output", "run")
    told = gpunn("evaluate", "run").stdout
    unchanged = path.read_text()
    header, *lines = unchanged.splitlines()
    path.write_text("\n".join([header, *change(lines)]) + "\n")
    problem = "the run in run was trained on other data"
    assert problem in gpunn("evaluate", "run", status=2).stderr
    assert problem in gpunn("export", "run", "--c", "a.h", "--int8", status=2).stderr
    gpunn("report", "run")
    assert problem in Path("report.html").read_text()
    assert f"{len(change(lines))} rows" in gpunn("evaluate", "run", path).stdout
    path.write_text(unchanged)
    assert gpunn("evaluate", "run").stdout == told
    gpunn("report", "run")
    assert problem not in Path("report.html").read_text()


@pytest.mark.parametrize(
    ("recorded", "problem"),
    [
        ('{"data": 3}', "run/evaluation.json: data: expected a table; got 3"),
        ('{"data": {"training": 3}}', "run/evaluation.json: data.training: expected a list"),
        ('{"data": {"training": []}}', "trained on other data: its rows were 0 training; now"),
        ("[]", "run/evaluation.json: expected a table of settings"),
    ],
)
def test_a_damaged_record_of_the_data(gpunn, run, recorded, problem):
    (run / "evaluation.json").write_text(recorded)
    assert problem in gpunn("evaluate", "run", status=2).stderr


@pytest.mark.parametrize("kind", ["csv", "table", "npz"])
def test_training_rows_are_not_new_rows(gpunn, flowers, digits, kind):
    path = Path("rows.npz" if kind == "npz" else "flowers.csv")
    if kind == "npz":
        np.savez(path, X=np.eye(64)[:40] * 16, y=np.arange(40) % 10)
        data = "data={dataset='npz', path='rows.npz', test_fraction=0.25}"
        gpunn("train", digits, "--output", "run", "--set", data)
    else:
        table = [path, "--target", "species", "--set", "training.epochs=1"]
        gpunn("train", *([flowers] if kind == "csv" else table), "--output", "run")
    shutil.copy(path, f"other{path.suffix}")
    said = "the network was trained on rows of this file"
    for rows in (path, Path("run", "..", path)):
        assert f"{rows}: {said}" in gpunn("evaluate", "run", rows).stderr
    assert said not in gpunn("evaluate", "run", f"other{path.suffix}").stderr
    assert said not in gpunn("evaluate", "run").stderr


def test_metrics_by_name(gpunn, flowers, tmp_path):
    metrics = "['auc', {name='f1', average='macro'}, 'log_loss', 'brier_score']"
    settings = ["--set", f"training.metrics={metrics}", "--set", "training.monitor=auc"]
    gpunn("train", flowers, "--output", "run", *settings)
    told = json.loads(gpunn("evaluate", "run", "--json").stdout)
    assert told["auc"] > 0.95
    assert told["f1"] > 0.9
    assert told["log_loss"] == pytest.approx(told["loss"], rel=1e-5)
    assert told == evaluation(tmp_path / "run")["test"], "drawn at random, the rows are the same"
    assert told["rows"] == 23
    gpunn("report", "run")
    assert "Brier score" in Path("report.html").read_text()


def test_a_figure_that_is_not_a_number_is_null(gpunn, flowers, tmp_path):
    gpunn("train", flowers, "--output", "run", "--set", "training.metrics=['auc']")
    header, *rows = Path("flowers.csv").read_text().splitlines()
    one_class = [row for row in rows if ",iris," in row]
    Path("one.csv").write_text("\n".join([header, *one_class]) + "\n")
    text = gpunn("evaluate", "run", "--data-path", "one.csv", "--json").stdout
    assert json.loads(text, parse_constant=pytest.fail)["auc"] is None
