"""`gpunn train --time`: the run folder serves all commands, whatever the targets are."""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from exported_files import run_file
from run_folders import edited, evaluation, history

from gpunn.config import parse_config
from gpunn.errors import ConfigError
from gpunn.experiment import build
from gpunn.sklearn import TabularClassifier, TabularRegressor
from gpunn.sklearn.automatic import time_limit
from gpunn.sklearn.automatic.search import TabularSearch

ROWS = 120
SHORT = ("--set", "model.parameters.n_cv=2", "--set", "backend_options.threads=1")


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(0)
    x = random.random((ROWS, 2)).round(3)
    noisy = x[:, 0] + random.normal(0, 0.2, ROWS)
    return pd.DataFrame(
        {
            "id": [f"user{row}" for row in range(ROWS)],
            "size": x[:, 0],
            "city": random.choice(["Bern", "Oslo", "Rome"], ROWS),
            "visit": np.arange(ROWS) // 4,
            "left": np.where(noisy > 0.5, "yes", "no"),
            "rent": 500 + 100 * noisy,
            "a": (noisy > 0.3).astype(int),
            "b": (x[:, 1] > 0.5).astype(int),
        }
    )


@pytest.fixture(autouse=True)
def rows(table, monkeypatch):
    """A table, and a clock that advances by a second whenever it is read."""
    seconds = itertools.count()
    monkeypatch.setattr(time_limit, "clock", lambda: float(next(seconds)))
    table.to_csv("rows.csv", index=False)


def targets(*names):
    others = {"left", "rent", "a", "b"}.difference(names)
    return [f"--target={name}" for name in names] + [f"--drop={name}" for name in others]


def test_one_run_for_all_commands(gpunn, table, tmp_path, no_drawings):
    options = ("--positive", "no", "--threshold-for", "recall=0.9", "--time", "24s", *SHORT)
    printed = gpunn("train", "rows.csv", *targets("left"), *options, "--output", "run").output
    for text in ("TabM 1: log_loss", "RealMLP 1: log_loss", "\nensemble  ", "Test: loss"):
        assert text in printed
    (row,) = history(tmp_path / "run")
    board = pd.read_csv("run/leaderboard.csv")
    assert row["val_log_loss"] == board["score"][0]
    scores = evaluation(tmp_path / "run")["test"]
    assert json.loads(gpunn("evaluate", "run", "--json").output).items() >= scores.items()
    (listed,) = json.loads(gpunn("runs", ".", "--json").output)["runs"]
    assert (listed["state"], listed["metrics"]) == (
        "finished",
        {"val_log_loss": row["val_log_loss"]},
    )

    gpunn("predict", "run", "rows.csv", "--probabilities", "--output", "a.csv")
    predicted = pd.read_csv("a.csv")
    estimator = TabularClassifier.load("run/final.safetensors", "numpy")
    assert estimator.classes_.tolist() == ["yes", "no"], "the positive class is second"
    inputs = table[["size", "city", "visit"]]
    np.testing.assert_allclose(estimator.predict_proba(inputs)[:, 1], predicted.iloc[:, -1], 1e-5)
    assert estimator.predict(inputs).tolist() == predicted["prediction"].tolist()
    gpunn("export", "run", "--python", "a.py")
    _, exported, _ = run_file("a.py", "rows.csv")
    assert exported.split()[1:] == predicted["prediction"].tolist()
    gpunn("report", "run")
    assert "<h4>Leaderboard</h4>" in (tmp_path / "report.html").read_text()

    with edited(tmp_path / "run" / "config.json") as config:
        assert config["model"]["parameters"] == {"time_limit": 24.0, "n_cv": 2}
    resumed = gpunn("train", "run", "--resume", "--time", "2m").output
    assert "training for 2 min" in resumed
    names, more = board["name"], pd.read_csv("run/leaderboard.csv")["name"]
    assert set(names) < set(more)
    other = gpunn("train", "run", "--resume", "--set", "seed=1", status=2).stderr
    assert "seed: the run in run has 0 and cannot resume with 1" in other
    table[:-5].to_csv("rows.csv", index=False)
    assert "was trained on other data" in gpunn("evaluate", "run", status=2).stderr
    gpunn(
        "train",
        "rows.csv",
        *targets("rent"),
        "--set=training.epochs=1",
        "--output=run",
        "--overwrite",
    )
    assert not (tmp_path / "run" / "candidates").exists()


def test_ctrl_c_keeps_the_best_so_far(gpunn, tmp_path, monkeypatch):
    train = TabularSearch._train_candidate
    calls = itertools.count()

    def interrupted(*arguments, **options):
        if next(calls) == 1:
            raise KeyboardInterrupt
        return train(*arguments, **options)

    monkeypatch.setattr(TabularSearch, "_train_candidate", interrupted)
    options = (*targets("rent"), "--time", "20s", *SHORT)
    printed = gpunn("train", "rows.csv", *options, status=130).output
    assert printed.index("Test: loss") < printed.index(
        "To continue: gpunn train runs/rows --resume"
    )
    assert "Ctrl-C" in evaluation(tmp_path / "runs" / "rows")["stopped"]
    (listed,) = json.loads(gpunn("runs", "--json").output)["runs"]
    assert listed["state"] == "interrupted"
    next(calls)
    gpunn("train", "runs/rows", "--resume")
    assert evaluation(tmp_path / "runs" / "rows")["stopped"] == ""


def test_dates_keep_the_order_that_the_user_chose(gpunn, table):
    days = [f"{row % 12 + 1}/{row // 12 + 1}/2014" for row in range(ROWS)]
    table.assign(visit=days)[["visit", "size", "rent"]].to_csv("rows.csv", index=False)
    order = ("--column", "visit=day/month/year")
    gpunn("train", "rows.csv", "--target=rent", *order, "--time", "9s", *SHORT, "--output", "run")
    columns = TabularRegressor.load("run/final.safetensors").schema_.columns
    assert columns[0].format == "day/month/year"


@pytest.mark.parametrize(
    ("names", "options", "metric", "kind"),
    [
        (["rent"], ["--split", "group=visit"], "root_mean_squared_error", TabularRegressor),
        pytest.param(
            ["rent"],
            ["--set", "model.parameters.quantiles=[0.1, 0.5, 0.9]"],
            "loss",
            TabularRegressor,
            marks=pytest.mark.full,
        ),
        (["rent", "a"], ["--set", "training.loss=mean_squared_error"], "r2", TabularRegressor),
        (
            ["a", "b"],
            ["--distill", "--set", "data.validation_fraction=0.2"],
            "log_loss",
            TabularClassifier,
        ),
        (["left"], ["--split", "time=visit"], "log_loss", TabularClassifier),
    ],
)
def test_kinds_of_targets(gpunn, tmp_path, names, options, metric, kind):
    several = () if {"--split", "data.validation_fraction=0.2"} & set(options) else SHORT[:2]
    gpunn("train", "rows.csv", *targets(*names), "--time=8", *options, *several, "--quiet")
    run = tmp_path / "runs" / "rows"
    assert set(history(run)[0]) == {"epoch", f"val_{metric}", "seconds"}
    scores = evaluation(run)["test"]
    assert json.loads(gpunn("evaluate", run, "--json").output).items() >= scores.items()
    predicted = gpunn("predict", run, "rows.csv").output.splitlines()
    assert len(predicted) == ROWS + 1
    best = "distilled" if "--distill" in options else "ensemble"
    assert pd.read_csv(run / "leaderboard.csv")["name"][0] == best
    assert kind.load(run / "final.safetensors").metric_ == metric


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--time", "10x"], "--time: expected a time such as 90s, 10m or 2h; got '10x'"),
        (["--time", "0"], "--time: expected a time"),
        (
            ["--time", "1s", "--model", "tabm"],
            "--time: cannot be combined with --model tabm; remove one of",
        ),
        (
            ["--compare", "lightgbm"],
            "--compare: give a table with --target and --time, or the folder",
        ),
        (["--distill"], "--distill: give a table with --target and --time, or the folder"),
        (["--time", "1s", "--compare", "lightgbn"], "model.parameters.compare: unknown"),
        (["--time", "1s", "--live"], "does not support --live or several processes"),
        (["--time", "1s", "--set", "training.epochs=3"], "training.epochs: the model 'auto' sets"),
        (["--time", "1s", "--set", "model.parameters.seed=3"], "parameters.seed: 'auto' has no"),
        (["--time", "1s", "--set", "model.parameters.dtype='x'"], "dtype: set dtype instead"),
        (["--time", "1s", "--set", "model.parameters.n_cv=0"], "model.parameters: The 'n_cv'"),
        (["--time", "1s", "--set", "data.scaling=robust"], "data.scaling: the model 'auto' does"),
        (["--time", "1s", "--set", "model.parameters.metric=r2"], "model.parameters.metric: 'r2'"),
    ],
)
def test_errors(gpunn, tmp_path, arguments, problem):
    assert problem in gpunn("train", "rows.csv", *targets("left"), *arguments, status=2).stderr
    assert not (tmp_path / "runs").exists()


def test_without_scikit_learn(gpunn, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    printed = gpunn("train", "rows.csv", *targets("left"), "--time", "1s", status=2).stderr
    assert "the model 'auto' needs the package 'sklearn'" in printed


def test_a_sweep_needs_one_network(gpunn):
    data = {"dataset": "table", "path": "rows.csv", "target": "left", "validation_fraction": 0.2}
    config = parse_config({"data": data, "model": {"name": "auto"}}, Path())
    with pytest.raises(ConfigError, match="only gpunn train has the model 'auto'"):
        build(config, "numpy")
