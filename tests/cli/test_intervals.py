"""Prediction intervals on the command line, up to the exported file."""

import numpy as np
import pandas as pd
import pytest
from exported_files import run_file

TRAIN = ("train", "rows.csv", "--quiet", "--set", "training.epochs=2", "--target")
KINDS = ("prediction", "lower", "upper")
QUANTILES = ("--set", "model.parameters.quantiles=[0.05, 0.5, 0.95]")


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
    gpunn("export", "run", "--python", "a.py")
    assert run_file("a.py", "rows.csv", "--interval", 90, "--output", "b.csv")[0] == 0
    np.testing.assert_allclose(pd.read_csv("b.csv"), bounds, rtol=1e-5, atol=1e-5)
    if options:
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


def test_networks_without_intervals(gpunn):
    gpunn(*TRAIN, "class_", "--output", "run")
    result = gpunn("predict", "run", "rows.csv", "--interval", 90, status=2)
    assert "--interval: the network has no intervals" in result.stderr
    gpunn("export", "run", "--python", "a.py")
    status, _, messages = run_file("a.py", "rows.csv", "--interval", 90)
    assert (status, "--interval: expected 1 to 99, for a" in messages) == (2, True)
