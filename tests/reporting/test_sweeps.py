"""What a page shows of a sweep."""

import json
import shutil
from pathlib import Path

import pytest
from reporting.pages import Page, numbers

from gpunn.errors import ArgumentError, DataFileError
from gpunn.reporting import write_report
from gpunn.reporting.page import report_html
from gpunn.sweep import TRIALS, Source, read_trials, run_worker

pytest.importorskip("optuna")

CONFIG = """\
backend = "numpy"
[data]
dataset = "digits"
validation_fraction = 0.2
[model]
layers = [{ name = "dense", units = 4 }, { name = "dense", units = 10 }]
[training]
loss = "softmax_cross_entropy"
epochs = 2
batch_size = 256
metrics = ["accuracy"]
[sweep]
trials = 4
pruner = "none"
[sweep.parameters]
training.optimizer.learning_rate = { low = 1e-4, high = 0.1, log = true }
"model.layers.0.activation" = { choices = ["relu", { name = "elu", alpha = 0.5 }] }
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps")
    (folder / "small.toml").write_text(CONFIG)
    run_worker(Source(folder / "small.toml"), folder / "small")
    return folder / "small"


@pytest.fixture
def sweep(trained: Path, tmp_path: Path) -> Path:
    """A copy, to change things in."""
    return shutil.copytree(trained, tmp_path / "sweep")


def changed(sweep: Path, **keys: object) -> None:
    content = json.loads((sweep / TRIALS).read_text())
    for trial in content["trials"]:
        trial |= {key: value for key, value in keys.items() if key in trial}
    (sweep / TRIALS).write_text(json.dumps(content))


def test_the_page_of_a_sweep(trained):
    text = report_html([trained], "numpy")
    document, found = Page(text), read_trials(trained)
    card = document.cards()["Trials"]
    header = [cell.text for cell in card.all("thead")[0].all("th")]
    assert header == [
        "trial",
        "training.optimizer.learning_rate",
        "model.layers.0.activation",
        "Accuracy (validation)",
        "best epoch",
        "epochs",
        "state",
    ]
    rows = numbers(card)
    assert [row[0] for row in rows] == [trial.folder for trial in found.ranked]
    assert [row[-1] for row in rows] == ["complete, best", "complete", "complete", "complete"]
    assert {row[2] for row in rows} == {"relu", "elu (alpha 0.5)"}
    assert "no say in which one is the best" in card.text
    assert f"Best by validation: {found.best.folder}" in text
    assert "What differs" not in text
    (runs,) = document.root.all("section", class_="run")
    assert runs.all("h2")[0].text == f"Best by validation: {found.best.folder}"


def test_the_comparison_has_no_test_figures(trained, no_drawings):
    (compared,) = Page(report_html([trained], "numpy")).root.all("section", id="compare")
    assert "test part has no say" in compared.text
    assert "Test" not in compared.text


def test_the_metric_beside_each_parameter(trained):
    document, found = Page(report_html([trained], "numpy")), read_trials(trained)
    charts = {key: chart for key, chart in document.charts().items() if key.startswith("sweep-")}
    assert list(charts) == [
        "sweep-1-training-optimizer-learning-rate",
        "sweep-2-model-layers-0-activation",
    ]
    for chart in charts.values():
        assert [row[0] for row in numbers(chart)] == [trial.folder for trial in found.ranked]
        assert f"The ring is the best trial, {found.best.folder}" in chart.text
        marks = [one for one in chart.all("g") if "-mark-0" in one.attributes.get("id", "")]
        assert len(marks) == 1
    assert "elu (alpha 0.5)" in charts["sweep-2-model-layers-0-activation"].all("svg")[0].text
    assert "mathdefault" not in charts["sweep-1-training-optimizer-learning-rate"].text


def test_without_a_complete_trial(sweep, no_drawings):
    changed(sweep, state="pruned")
    text = report_html([sweep], "numpy")
    assert "complete, best" not in text
    assert "No trial is complete." in text
    assert not Page(text).root.all("section", class_="run")


def test_trials_without_a_run(sweep, no_drawings):
    for folder in sweep.glob("trial-*"):
        shutil.rmtree(folder)
    changed(sweep, state="failed", value=None, epoch=None)
    rows = numbers(Page(report_html([sweep], "numpy")).cards()["Trials"])
    assert [row[-4:] for row in rows] == [["–", "–", "2", "failed"]] * 4


@pytest.mark.parametrize(
    "folder", ["../other", "/etc", "..", "", "trial-0\0", "trial-" + 300 * "0"]
)
def test_no_trial_leads_out_of_the_folder(sweep, no_drawings, folder):
    changed(sweep, folder=folder)
    with pytest.raises(DataFileError, match=r"trials\.json: damaged: trials\[0\]\.folder: "):
        report_html([sweep], "numpy")


def test_text_stays_text(sweep):
    evil = "</svg><script>alert(1)</script>{{ 1 }}$x_{"
    changed(sweep, parameters={evil: evil, "seed": 1}, state=evil)
    text = report_html([sweep], "numpy")
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_a_sweep_is_reported_on_alone(trained, tmp_path):
    run = trained / "trial-0000"
    with pytest.raises(ArgumentError, match="is the folder of a sweep, which is reported on alone"):
        write_report([run, trained], tmp_path / "report.html")
    assert not list(tmp_path.iterdir())
