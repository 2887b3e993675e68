"""Prediction intervals and sets on the command line, up to the exported file."""

import re

import numpy as np
import pandas as pd
import pytest
from exported_files import run_file

TRAIN = ("train", "rows.csv", "--quiet", "--set", "training.epochs=2", "--target")
KINDS = ("prediction", "lower", "upper")
QUANTILES = ("--set", "model.parameters.quantiles=[0.05, 0.5, 0.95]")
LOGARITHMS = ("--set", "model.parameters.target_transform=log")


@pytest.fixture(autouse=True)
def rows():
    random = np.random.default_rng(0)
    x = random.random((200, 2)).round(3)
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": x.sum(axis=1) + random.random(200)})
    frame.assign(z=-frame["y"], class_=np.where(x[:, 0] > 0.5, "yes", "no")).to_csv(
        "rows.csv", index=False
    )


@pytest.mark.parametrize(
    ("targets", "options", "columns"),
    [
        (["y"], (), [*KINDS]),
        (["y"], QUANTILES, [*KINDS]),
        (["y"], LOGARITHMS, [*KINDS]),
        (["y", "--target", "z"], (), [f"{kind}_{name}" for name in "yz" for kind in KINDS]),
    ],
)
def test_bounds(gpunn, targets, options, columns):
    gpunn(*TRAIN, *targets, *options, "--output", "run")
    gpunn("predict", "run", "rows.csv", "--interval", 90, "--output", "a.csv")
    bounds = pd.read_csv("a.csv")
    assert list(bounds) == columns
    for start in range(0, len(columns), 3):
        predicted, lower, upper = bounds.to_numpy().T[start : start + 3]
        assert (lower <= predicted).all()
        assert (predicted <= upper).all()
        if options == LOGARITHMS:
            np.testing.assert_allclose(upper / predicted, predicted / lower, rtol=1e-5)
    gpunn("export", "run", "--python", "a.py")
    assert run_file("a.py", "rows.csv", "--interval", 90, "--output", "b.csv")[0] == 0
    np.testing.assert_allclose(pd.read_csv("b.csv"), bounds, rtol=1e-5, atol=1e-5)
    if options == QUANTILES:
        gpunn("predict", "run", "rows.csv", "--output", "c.csv")
        quantiles = pd.read_csv("c.csv")
        assert list(quantiles) == ["prediction_0.05", "prediction_0.5", "prediction_0.95"]
        assert (np.diff(quantiles) >= 0).all()
        gpunn("evaluate", "run")
        gpunn("report", "run")
    result = gpunn("predict", "run", "rows.csv", "--interval", 99, status=2)
    assert "99 % needs at least 99 held-out rows" in result.stderr
    status, _, messages = run_file("a.py", "rows.csv", "--interval", 99)
    assert (status, "99 % needs at least 99 held-out rows" in messages) == (2, True)


@pytest.mark.parametrize("options", [(), ("--set", "model.name=tabm"), ("--threshold-for", "f1")])
def test_sets(gpunn, options):
    gpunn(*TRAIN, "class_", *options, "--output", "run")
    wanted = ("--sets", 90, "--probabilities")
    gpunn("predict", "run", "rows.csv", *wanted, "--output", "a.csv")
    found = pd.read_csv("a.csv")
    columns = [f"{kind}_{name}" for kind in ("set", "probability") for name in ("no", "yes")]
    assert list(found) == ["prediction", *columns]
    for name in ("no", "yes"):
        assert found[f"set_{name}"][found["prediction"] == name].all()
    gpunn("export", "run", "--python", "a.py")
    assert run_file("a.py", "rows.csv", *wanted, "--output", "b.csv")[0] == 0
    pd.testing.assert_frame_equal(pd.read_csv("b.csv"), found, rtol=1e-4)
    gpunn("predict", "run", "rows.csv", "--sets", 90, "--output", "a.npy")
    np.testing.assert_array_equal(np.load("a.npy"), found[columns[:2]])
    result = gpunn("predict", "run", "rows.csv", "--sets", 99, status=2)
    assert "a set of 99 % needs at least 99 held-out rows" in result.stderr


@pytest.mark.parametrize(
    ("target", "option", "kind"), [("class_", "interval", "intervals"), ("y", "sets", "sets")]
)
def test_networks_without(gpunn, target, option, kind):
    gpunn(*TRAIN, target, "--output", "run")
    result = gpunn("predict", "run", "rows.csv", f"--{option}", 90, status=2)
    assert re.search(f"--{option}: the network has no .*{kind}", result.stderr)
    gpunn("export", "run", "--python", "a.py")
    status, _, messages = run_file("a.py", "rows.csv", f"--{option}", 90)
    assert (status, f"--{option}: this network has no" in messages) == (2, True)
