"""Imbalanced classes on the command line: what is shown, and the threshold up to the exports."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from exported_files import run_file
from run_folders import edited, history

from gpunn import load_model
from gpunn.cli.options import load_run
from gpunn.meaning import probabilities
from gpunn.reporting.findings import examine
from gpunn.thresholds import decision_metrics

TABLE = """\
[data]
dataset = "table"
path = "rare.csv"
target = "fraud"
test_fraction = 0.25
validation_fraction = 0.25

[model]
layers = [{ name = "dense", units = UNITS }]

[training]
loss = "LOSS"
optimizer = { name = "adam", learning_rate = 0.05 }
epochs = 6
metrics = ["METRIC"]
"""

LOSSES = {
    "softmax": ("2", "softmax_cross_entropy", "accuracy"),
    "sigmoid": ("1", "binary_cross_entropy", "binary_accuracy"),
}


def renamed(second: str, first: str) -> None:
    text = Path("rare.csv").read_text()
    Path("rare.csv").write_text(text.replace(",yes", f",{second}").replace(",no", f",{first}"))


EACH_LOSS = pytest.mark.parametrize("rare", LOSSES, indirect=True)


@pytest.fixture
def rare(request, tmp_path) -> Path:
    """The configuration of a table with 8 % frauds."""
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 600)).round(3)
    truth = random.random(600) < 1 / (1 + np.exp(4.2 - 2.5 * a))
    lines = [f"{x},{y},{'yes' if t else 'no'}" for x, y, t in zip(a, b, truth, strict=True)]
    Path("rare.csv").write_text("\n".join(["a,b,fraud", *lines]))
    text, loss = TABLE, getattr(request, "param", "softmax")
    for word, value in zip(("UNITS", "LOSS", "METRIC"), LOSSES[loss], strict=True):
        text = text.replace(word, value)
    path = tmp_path / "rare.toml"
    path.write_text(text)
    return path


def answers(text: str) -> list[str]:
    return [row["prediction"] for row in csv.DictReader(text.splitlines())]


def truth() -> np.ndarray:
    return (pd.read_csv("rare.csv")["fraud"] == "yes").to_numpy()


@EACH_LOSS
def test_a_test_shows_what_an_imbalance_hides(gpunn, rare):
    said = gpunn("train", rare, "--output", "run").stdout
    test = said[said.index("Test: ") :].splitlines()
    assert "log_loss" in test[0]
    assert "auc" in test[0]
    assert "are 'yes'; the best constant prediction has accuracy 0.9" in test[1]
    assert test[2].startswith("threshold 0.5 for 'yes': accuracy 0.9")
    assert "f1" in test[2]
    said = gpunn("evaluate", "run").stdout
    assert said.splitlines() == [test[0].removeprefix("Test: "), *test[1:3]]
    found = json.loads(gpunn("evaluate", "run", "rare.csv", "--json").stdout)
    rate = truth().mean()
    assert found["base_rate"] == pytest.approx(rate)
    outputs = load_model("run").predict(pd.read_csv("rare.csv"))
    chance = probabilities(outputs, load_model("run").output_activation)[:, 1]
    assert found["log_loss"] == pytest.approx(
        -np.log(np.where(truth(), chance, 1 - chance)).mean(), rel=1e-5
    )
    pairs = chance[truth()][:, None] - chance[~truth()]
    assert found["auc"] == pytest.approx((pairs > 0).mean(), abs=1e-3)
    decisions = {"threshold": 0.5, **decision_metrics(chance >= 0.5, truth())}
    assert found["decisions"] == pytest.approx(decisions)


@EACH_LOSS
def test_a_threshold_is_kept_and_can_be_overridden(gpunn, rare):
    said = gpunn("train", rare, "--output", "run", "--threshold-for", "recall=0.9").stdout
    threshold = load_model("run").threshold
    assert 0 < threshold < 0.5
    assert f"threshold {threshold:.4g} for 'yes'" in said
    config = json.loads(Path("run/config.json").read_text())
    assert config["training"]["threshold_for"] == "recall=0.9"
    gpunn("predict", "run", "rare.csv", "--probabilities", "--output", "p.csv")
    chance = pd.read_csv("p.csv")["probability_yes"].to_numpy()
    for options, least in ([], threshold), (["--threshold", "0.7"], 0.7), (["--threshold=0"], 0):
        found = np.array(answers(gpunn("predict", "run", "rare.csv", *options).stdout)) == "yes"
        np.testing.assert_array_equal(found, chance >= least)
        said = gpunn("evaluate", "run", "rare.csv", "--json", *options).stdout
        decisions = {"threshold": least, **decision_metrics(found, truth())}
        assert json.loads(said)["decisions"] == pytest.approx(decisions)
    part = [name for name in ("final", "best") if Path(f"run/{name}.safetensors").exists()]
    for name in part:
        assert load_model(f"run/{name}.safetensors").threshold is not None
    assert "best" in part
    predicted = gpunn("predict", "run/final.safetensors", "rare.csv", "--threshold=1").stdout
    assert set(answers(predicted)) == {"no"}


def test_a_criterion_out_of_reach_is_said_once(gpunn, rare, caplog):
    """Also if several epochs are the best so far, each of which is kept with its threshold."""
    lines = [f"{n % 2},{n % 3},{'no' if n % 11 else 'yes'}" for n in range(400)]
    Path("rare.csv").write_text("\n".join(["a,b,fraud", *lines]))
    options = ["--threshold-for=precision=0.9", "--set=training.monitor=val_loss"]
    gpunn("train", rare, "--output", "run", *options)
    losses = [row["val_loss"] for row in history(Path("run"))]
    assert losses[1] < losses[0]
    said = [each for each in caplog.messages if each.startswith("threshold_for: no threshold")]
    assert len(said) == 1
    assert load_model("run").threshold is not None


@pytest.mark.parametrize(
    ("rare", "flavor"), [("softmax", []), ("sigmoid", ["--pure"])], indirect=["rare"]
)
def test_exported_python_decides_alike(gpunn, rare, flavor):
    gpunn("train", rare, "--output", "run", "--threshold-for", "f1")
    gpunn("export", "run", "--python", "a.py", *flavor)
    for options in [], ["--threshold", "0.8"], ["--threshold=0"]:
        expected = gpunn("predict", "run", "rare.csv", *options).stdout
        assert run_file("a.py", "rare.csv", *options) == (0, expected, "")
    status, _, said = run_file("a.py", "rare.csv", "--threshold=2")
    assert status == 2
    assert "--threshold: expected a number from 0 to 1" in said


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--threshold-for=f3"], "training.threshold_for: there is no criterion 'f3'"),
        (["--threshold-for=f1", "--set=data.validation_fraction=0"], "data.validation_fraction"),
        (["--positive=si"], "data.positive: there is no class 'si'"),
        (["--positive=1", "--set=training.loss=huber", "--set=data.target=a"], "has numbers"),
    ],
)
def test_thresholds_and_classes_that_cannot_be_chosen(gpunn, rare, options, problem):
    assert problem in gpunn("train", rare, "--output", "run", *options, status=2).stderr
    assert not Path("run").exists()


FAST = ["--set=model.parameters.hidden_layer_sizes=[8]", "--set=training.epochs=2"]


@pytest.mark.parametrize("target", ["classes", "labels"])
def test_networks_without_two_classes_have_no_threshold(gpunn, flowers, target):
    train, path = ["train", flowers, "--output=run"], "flowers.csv"
    if target == "labels":
        path = "labels.csv"
        lines = [f"{n % 7},{n % 2},{n % 3 // 2}" for n in range(90)]
        Path(path).write_text("\n".join(["a,b,c", *lines]))
        train = ["train", path, "--target=b", "--target=c", "--output=run", *FAST]
    said = gpunn(*train, "--threshold-for=f1", status=2).stderr
    assert "training.threshold_for: only a network with two classes" in said
    gpunn(*train)
    for command in (["predict", "run", path], ["evaluate", "run"]):
        said = gpunn(*command, "--threshold=0.3", status=2).stderr
        assert "--threshold: needs a network with two classes" in said
    assert "0<=x<=1" in gpunn("predict", "run", path, "--threshold=3", status=2).stderr


@pytest.mark.parametrize(
    ("rare", "words"),
    [("softmax", ("fraud", "ok")), ("sigmoid", ("False", "True"))],
    indirect=["rare"],
)
def test_the_class_that_is_looked_for_may_be_the_first(gpunn, rare, words):
    """The same run, with the classes called otherwise, decides the same rows."""
    gpunn("train", rare, "--output", "run", "--threshold-for", "recall=0.9")
    expected = answers(gpunn("predict", "run", "rare.csv").stdout)
    found, other = words
    renamed(found, other)
    options = ["--threshold-for", "recall=0.9", "--positive", found]
    said = gpunn("train", rare, "--output", "other", *options).stdout
    assert f"are {found!r}; the best constant" in said
    assert load_model("other").classes == [other, found]
    assert load_model("other").threshold == load_model("run").threshold
    predicted = answers(gpunn("predict", "other", "rare.csv").stdout)
    assert predicted == [found if answer == "yes" else other for answer in expected]


@pytest.mark.parametrize(
    ("criterion", "options", "warned"),
    [("f1", [], 1), ("f1", ["--positive", "ok"], 0), ("balanced_accuracy", [], 0)],
)
def test_a_threshold_for_the_commoner_class_is_warned_of_once(
    gpunn, rare, caplog, criterion, options, warned
):
    renamed("bad", "ok")
    gpunn("train", rare, "--output", "run", "--threshold-for", criterion, *options)
    said = "threshold_for: f1 treats the more common class 'ok' as positive; to choose 'bad'"
    assert caplog.text.count(said) == warned


@pytest.mark.parametrize(
    ("words", "positive", "place"),
    [(("true", "false"), "false", "False"), (("😀", "no"), "😀", "😀"), (("1", "0"), "0.0", "0")],
)
def test_the_class_that_is_looked_for_may_be_spelt_as_in_the_table(
    gpunn, rare, words, positive, place
):
    renamed(*words)
    gpunn("train", rare, "--output", "run", "--positive", positive)
    assert load_model("run").classes[1] == place


def test_class_weights_are_said_to_change_probabilities(gpunn, rare):
    notice = "class weights change the network's probabilities"
    weights = ["--set", 'training.class_weight="balanced"']
    assert notice in gpunn("train", rare, "--output", "a", *weights).stdout
    assert notice not in gpunn("train", rare, "--output", "b").stdout


@pytest.mark.parametrize("classes", [2, 3])
def test_class_weights_of_rows_without_schema_are_said_to_change_probabilities(gpunn, classes):
    lines = [f"{n % 7},{n % classes}" for n in range(90)]
    Path("rows.csv").write_text("\n".join(["a,b", *lines]))
    config = TABLE.replace('"table"', '"csv"').replace("rare", "rows").replace('"fraud"', '"b"')
    for word, value in zip(("UNITS", "LOSS", "METRIC"), LOSSES["softmax"], strict=True):
        config = config.replace(word, str(classes) if word == "UNITS" else value)
    config = config.replace("test_fraction = 0.25\n", "")
    Path("rows.toml").write_text(config + 'class_weight = "balanced"\n')
    said = gpunn("train", "rows.toml", "--output", "run").stdout
    assert "class weights change the network's probabilities" in said
    assert ("use --threshold-for" in said) == (classes == 2)


def test_a_table_without_configuration_shows_validation_metrics(gpunn, rare):
    said = gpunn("train", "rare.csv", "--target=fraud", *FAST, "--output=run").stdout
    last = json.loads(Path("run/history.jsonl").read_text().splitlines()[-1])
    assert {"val_log_loss", "val_auc"} <= set(last)
    assert not {"log_loss", "auc"} & set(last)
    assert f"val_auc {last['val_auc']:.4g}" in said
    config = json.loads(Path("run/config.json").read_text())["training"]
    assert [each["name"] for each in config["validation_metrics"]] == ["log_loss", "auc"]
    assert "val_log_loss" in json.dumps(config["callbacks"])  # which selects the epoch


def test_a_run_of_an_earlier_release_resumes_without_validation_metrics(gpunn, rare):
    gpunn("train", "rare.csv", "--target=fraud", *FAST, "--output=run")
    with edited(Path("run/config.json")) as config:
        for key in ("validation_metrics", "threshold_for"):
            del config["training"][key]
        config["training"]["callbacks"] = [{"name": "csv_log", "path": "own.csv"}]
    gpunn("train", "run", "--output", "earlier")
    gpunn("train", "earlier", "--resume", "--set=training.epochs=3")
    assert "val_auc" not in Path("earlier/own.csv").read_text()


@EACH_LOSS
def test_a_report_decides_by_the_threshold(gpunn, rare):
    gpunn("train", rare, "--output", "run", "--threshold-for", "recall=0.9")
    found = json.loads(gpunn("evaluate", "run", "--json").stdout)["decisions"]
    outcome = examine(Path("run"), *load_run(Path("run"), False, "numpy")).outcome
    decisions = decision_metrics(outcome.predicted == 1, outcome.truth == 1)
    assert {"threshold": load_model("run").threshold, **decisions} == found
    assert found["recall"] > 0.5
