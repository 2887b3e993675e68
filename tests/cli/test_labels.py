"""Several targets that are 0 or 1: labels, by default, and what comes of them in every form."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from exported_files import run_file
from sklearn.metrics import roc_auc_score

SMALL = ["--set", "training.epochs=4", "--set", "training.batch_size=32"]
SMALL += ["--set", "model.parameters.hidden_layer_sizes=[16]", "--drop", "rent"]
TARGETS = ["--target", "old", "--target", "roman", "--target", "member"]


def people():
    random = np.random.default_rng(0)
    rows = [["age", "city", "old", "roman", "member", "rent"]]
    for _ in range(160):
        age, city = random.normal(40, 10), random.choice(["Lima", "Oslo", "Rome"])
        member = "true" if age + random.normal(0, 5) > 38 else "false"
        rows.append([f"{age:.3f}", city, int(age > 45), f"{city == 'Rome':.1f}", member, 10 * age])
    return rows


@pytest.fixture
def table(tmp_path):
    with (tmp_path / "people.csv").open("w", newline="") as file:
        csv.writer(file).writerows(people())
    return "people.csv"


def read(text):
    header, *rows = csv.reader(io.StringIO(text))
    return header, np.array(rows, dtype=float)


TRUTH = np.array([[row[2], float(row[3]), row[4] == "true"] for row in people()[1:]], dtype=float)


@pytest.mark.parametrize("network", ["realmlp", "realmlp_s", "tabm"])
def test_several_targets_of_0_and_1_are_labels(gpunn, table, network):
    metric = ["--set", "model.parameters.metric=auc", "--model", network]
    result = gpunn("train", table, *TARGETS, *SMALL, *metric, "--output", "run")
    said = (
        "target: old, roman, member (3 labels, with binary cross-entropy; to predict numbers, use "
    )
    assert f"{said}--set training.loss=mean_squared_error)" in result.stdout
    training = json.loads(Path("run/config.json").read_text())["training"]
    assert training["loss"]["name"] == "binary_cross_entropy"
    assert training["callbacks"][0]["monitor"] == "val_auc"

    text = gpunn("predict", "run", table, "--probabilities").stdout
    header, found = read(text)
    assert header[:3] == ["prediction_old", "prediction_roman", "prediction_member"]
    assert header[3:] == ["probability_old", "probability_roman", "probability_member"]
    np.testing.assert_array_equal(found[:, :3], found[:, 3:] > 0.5)
    evaluated = json.loads(gpunn("evaluate", "run", table, "--json").stdout)
    expected = roc_auc_score(TRUTH, found[:, 3:], average="macro")
    assert evaluated["auc"] == pytest.approx(expected, abs=1e-3)
    p = np.clip(found[:, 3:], 1e-9, 1 - 1e-9)
    loss = -(TRUTH * np.log(p) + (1 - TRUTH) * np.log(1 - p)).mean()
    if network != "tabm":  # whose loss is the mean of its members'
        assert evaluated["loss"] == pytest.approx(loss, rel=1e-4)

    # What the run has written out is the same training again.
    gpunn("train", "run", "--output", "again", "--quiet")
    assert (
        Path("again/final.safetensors").read_bytes() == Path("run/final.safetensors").read_bytes()
    )

    for flavor in ([], ["--pure"]):
        gpunn("export", "run", "--python", "a.py", *flavor)
        names, exported = read(run_file("a.py", table, "--probabilities")[1])
        assert names == header
        np.testing.assert_allclose(exported, found, atol=1e-5)


@pytest.mark.parametrize(
    ("targets", "options", "said"),
    [
        (
            TARGETS,
            [*SMALL, "--set", "training.loss=mean_squared_error"],
            "(numbers; to predict labels, use --set training.loss=binary_cross_entropy)",
        ),
        (
            ["--target", "old", "--target", "rent"],
            [option for option in SMALL if option not in ("--drop", "rent")],
            "target: old, rent (numbers, because 'rent' is not 0 or 1 in every row)",
        ),
    ],
    ids=["by the loss", "mixed"],
)
def test_what_is_numbers(gpunn, table, targets, options, said):
    result = gpunn("train", table, *targets, *options, "--output", "run")
    assert said in result.stdout
    training = json.loads(Path("run/config.json").read_text())["training"]
    assert training["loss"]["name"] == "mean_squared_error"
    assert training["metrics"][0]["name"] == "r2"


def test_inspect_tells_labels(gpunn, table):
    result = gpunn("inspect", table, *TARGETS, "--target", "rent")
    counts = TRUTH.sum(axis=0).astype(int)
    for name, count in zip(("old", "roman", "member"), counts, strict=True):
        assert f"Target {name!r}: label; yes in {count} of 160 rows" in result.stdout
    assert "Target 'rent': numbers, " in result.stdout


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["model.parameters.metric=accuracy"], "'accuracy' evaluates one class per row"),
        (["model.parameters.metric=f1"], "evaluates one of two classes, but there are 3"),
        (["model.parameters.label_smoothing=0.1"], "label_smoothing: expected 0 for multilabel"),
        (["training.class_weight=balanced"], "are not classes"),
    ],
)
def test_what_labels_are_not_for(gpunn, table, settings, problem):
    options = [f"--set={each}" for each in settings]
    assert problem in gpunn("train", table, *TARGETS, *SMALL, *options, status=2).stderr
