"""What a page shows of a sweep."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from digits import configuration
from matplotlib.figure import Figure
from reporting.pages import Page, numbers
from run_folders import edited

from gpunn.errors import ArgumentError, DataFileError
from gpunn.reporting import charts, write_report
from gpunn.reporting.charts import Chart
from gpunn.reporting.page import report_html
from gpunn.reporting.sweeps import view_sweep
from gpunn.sweep import TRIALS, Source, read_trials, run_worker

pytest.importorskip("optuna")

CONFIG = f"""\
backend = "numpy"
{configuration('{ name = "dense", units = 4 }', epochs=2, batch_size=256)}
[sweep]
trials = 4
pruner = "none"
[sweep.parameters]
training.optimizer.learning_rate = {{ low = 1e-4, high = 0.1, log = true }}
"model.layers.1.activation" = {{ choices = ["relu", {{ name = "elu", alpha = 0.5 }}] }}
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
    with edited(sweep / TRIALS) as content:
        for trial in content["trials"]:
            trial |= {key: value for key, value in keys.items() if key in trial}


def test_the_page_of_a_sweep(trained, no_drawings):
    text = report_html([trained], "numpy")
    document, found = Page(text), read_trials(trained)
    card = document.cards()["Trials"]
    header = [cell.text for cell in card.all("thead")[0].all("th")]
    assert header == [
        "trial",
        "state",
        "training.optimizer.learning_rate",
        "model.layers.1.activation",
        "Accuracy (validation)",
        "best epoch",
        "epochs",
    ]
    rows = numbers(card)
    assert [row[0] for row in rows] == [trial.folder for trial in found.ranked]
    assert [row[1] for row in rows] == ["complete, best", "complete", "complete", "complete"]
    assert {row[3] for row in rows} == {"relu", "elu (alpha 0.5)"}
    assert "does not affect the comparison" in card.text
    assert f"Best by validation: {found.best.folder}" in text
    assert "What differs" not in text
    (runs,) = document.root.all("section", class_="run")
    assert runs.all("h2")[0].text == f"Best by validation: {found.best.folder}"


def test_the_comparison_has_no_test_figures(trained, no_drawings):
    (compared,) = Page(report_html([trained], "numpy")).root.all("section", id="compare")
    assert "test split does not affect" in compared.text
    assert "Test" not in compared.text


def test_the_metric_beside_each_parameter(trained, draw_only):
    draw_only("^sweep")
    document, found = Page(report_html([trained], "numpy")), read_trials(trained)
    charts = {key: chart for key, chart in document.charts().items() if re.match(r"sweep-\d", key)}
    assert list(charts) == [
        "sweep-1-training-optimizer-learning-rate",
        "sweep-2-model-layers-1-activation",
    ]
    for chart in charts.values():
        assert [row[0] for row in numbers(chart)] == [trial.folder for trial in found.ranked]
        assert f"The ring marks the best trial, {found.best.folder}" in chart.text
        marks = [one for one in chart.all("g") if "-mark-0" in one.attributes.get("id", "")]
        assert len(marks) == 1
    assert "elu (alpha 0.5)" in charts["sweep-2-model-layers-1-activation"].all("svg")[0].text
    assert "mathdefault" not in charts["sweep-1-training-optimizer-learning-rate"].text


SPACE = {
    "rate": {"low": 1e-4, "high": 0.1, "log": True},
    "units": {"low": 8, "high": 64, "step": 8},
    "activation": {"choices": ["relu", "tanh", 16]},
}


def many(count: int, **changes: object) -> list[dict[str, object]]:
    """Trials of which those with a rate near 0.01 are the best."""
    random = np.random.default_rng(0)
    rates = np.exp(random.uniform(np.log(1e-4), np.log(0.1), count))
    return [
        {
            "number": number,
            "folder": f"trial-{number:04d}",
            "state": "complete",
            "parameters": {
                "rate": rate,
                "units": 8 * int(random.integers(1, 9)),
                "activation": ["relu", "tanh"][random.integers(2)],
            },
            "value": math.log(rate / 0.01) ** 2,
            "epochs": 3,
            **changes,
        }
        for number, rate in enumerate(rates.tolist())
    ]


def written(sweep: Path, trials: list[dict[str, object]], **keys: object) -> dict[str, Chart]:
    content = {"metric": "val_loss", "direction": "min", "trials": trials, "space": SPACE, **keys}
    (sweep / TRIALS).write_text(json.dumps(content))
    return {chart.key: chart for chart in view_sweep(sweep).charts}


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The axes of each chart, without a drawing of them."""
    found: dict[str, object] = {}

    def kept(key, draw, **_):
        found[key] = Figure().add_subplot()
        draw(found[key])
        return '<svg viewBox="0 0 1 1"></svg>'

    monkeypatch.setattr(charts, "drawn", kept)
    return found


def test_axes_are_those_of_the_space(sweep, axes):
    """Whatever values the trials happen to have."""
    written(sweep, many(3))
    rate, units, activation = (axes[f"sweep-{n}-{name}"] for n, name in enumerate(SPACE, start=1))
    assert rate.get_xscale() == "log"
    assert rate.get_xlim()[0] < 1e-4 < 0.1 < rate.get_xlim()[1]
    assert units.get_xscale() == "linear"
    assert 0 < units.get_xlim()[0] < 8 < 64 < units.get_xlim()[1] < 72
    assert all(float(tick).is_integer() for tick in units.get_xticks())
    assert [one.get_text() for one in activation.get_xticklabels()] == ["relu", "tanh", "16"]


@pytest.mark.parametrize(
    ("space", "scale"),
    [({**SPACE, "rate": {"low": 0.0001, "high": 0.1}}, "linear"), ({}, "log")],
    ids=["not logarithmic", "of an earlier version"],
)
def test_an_axis_is_that_of_its_range_or_else_of_its_values(sweep, axes, space, scale):
    written(sweep, many(30), space=space)
    assert axes["sweep-1-rate"].get_xscale() == scale
    assert ("sweep-importance" in axes) == bool(space)


def test_how_far_pruned_trials_came(sweep, axes):
    trials = many(4)
    trials[1] |= {"state": "pruned", "epochs": 1}
    trials[2] |= {"state": "diverged", "reason": "the loss is not finite", "value": None}
    trials[3] |= {"state": "running", "epochs": 2}
    history = written(sweep, trials)["sweep-history"]
    states = [row[-1] for row in history.rows]
    assert states == ["complete", "pruned after epoch 1", "running; epochs so far: 2"]
    (hollow,) = [one for one in axes["sweep-history"].lines if one.get_gid() == "hollow-0"]
    assert hollow.get_xdata().tolist() == [1, 3]
    table = view_sweep(sweep).overview
    assert {row[1] for row in table.rows} >= {"diverged: the loss is not finite"}
    assert "1 complete, 1 pruned, 1 diverged, 1 running" in table.note


@pytest.mark.parametrize("changed", [{"units": 8}, {"rate": "fast"}])
def test_the_best_trial_without_a_value_in_a_chart_has_no_ring(sweep, no_drawings, changed):
    trials = many(4)
    trials[1] |= {"value": -1e9, "parameters": changed}
    chart = written(sweep, trials)["sweep-1-rate"]
    assert "The best trial, trial-0001, has no value in this chart." in chart.description
    assert "ring" not in f"{chart.description} {chart.note}"


@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_best_so_far(sweep, no_drawings, direction):
    trials = many(9)
    trials[0] |= {"state": "pruned", "value": -1e9 if direction == "min" else 1e9}
    rows = written(sweep, trials, direction=direction)["sweep-history"].rows
    better = min if direction == "min" else max
    expected = [better(row[1] for row in rows[1:end]) for end in range(2, 10)]
    assert math.isnan(rows[0][2])
    assert [row[2] for row in rows[1:]] == expected


def test_what_matters_is_what_the_values_depend_on(sweep, no_drawings):
    rows = written(sweep, many(200))["sweep-importance"].rows
    assert rows[0][0] == "rate"
    assert rows[0][1] > 0.8
    assert sum(share for _, share in rows) == pytest.approx(1)
    assert {name for name, _ in rows} == set(SPACE)


@pytest.mark.parametrize(
    "changes", [{"value": None}, {"state": "pruned"}, {"parameters": {"rate": "fast"}}]
)
def test_no_importance_of_too_few_trials(sweep, no_drawings, changes):
    assert "sweep-importance" not in written(sweep, many(200, **changes))
    assert "sweep-importance" not in written(sweep, many(5))


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"log": 3}, "log"),
        ({"high": 10**400}, "high"),
        ({"step": 10**400}, "step"),
        ({"low": 9}, "high"),
    ],
)
def test_a_space_is_checked_as_it_is_read(sweep, changed, key):
    with pytest.raises(DataFileError, match=rf"damaged: space.rate.{key}: "):
        written(sweep, many(1), space={"rate": {"low": 1, "high": 2, **changed}})


def test_a_space_of_the_largest_numbers(sweep):
    space = {**SPACE, "rate": {"low": -1e308, "high": 1e308}}
    trials = many(30)
    for trial in trials[::2]:
        trial["parameters"]["rate"] = 1e308
    assert set(SPACE) == {
        row[0] for row in written(sweep, trials, space=space)["sweep-importance"].rows
    }


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
    assert [[row[1], *row[-3:]] for row in rows] == [["failed", "–", "–", "2"]] * 4


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
    with pytest.raises(ArgumentError, match="is a sweep folder, which needs a separate report"):
        write_report([run, trained], tmp_path / "report.html")
    assert not list(tmp_path.iterdir())
