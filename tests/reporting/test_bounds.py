"""The limits of a report on a run's files, and numbers that are too large to draw."""

import json
import shutil

import numpy as np
import pytest
from memory import peak_below
from reporting.pages import Page
from run_folders import write_lines

import gpunn
from gpunn.errors import DataFileError, ModelFileError
from gpunn.reporting.curves import by_layer, norm_charts
from gpunn.reporting.findings import Classes, Findings, Numbers
from gpunn.reporting.page import report_html
from gpunn.reporting.records import NormRow, history
from gpunn.reporting.results import by_class, results, worst_pairs

ROW = {"epoch": 1, "loss": 0.5, "learning_rate": 0.1, "seconds": 1.0, "samples_per_second": 9.0}


@pytest.fixture
def run(digits_run, tmp_path):
    shutil.copytree(digits_run, tmp_path / "run")
    return tmp_path / "run"


def write(run, *rows):
    write_lines(run / "history.jsonl", [{**ROW, **row} for row in rows])


def test_many_figures_are_refused(tmp_path):
    write(tmp_path, {f"figure_{number}": 1.0 for number in range(1000)})
    said = r"history\.jsonl, line 1: expected at most 100 metrics, .*; got 1,005"
    with pytest.raises(DataFileError, match=said):
        history(tmp_path / "history.jsonl")
    write(tmp_path, *({f"figure_{number}": 1.0} for number in range(1000)))
    with pytest.raises(DataFileError, match=r"line 96: .* got 101"):
        history(tmp_path / "history.jsonl")
    write(tmp_path, *({f"figure_{number}": 1.0} for number in range(95)))
    assert len(history(tmp_path / "history.jsonl")) == 95


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("epoch", 0),
        ("epoch", -1),
        ("epoch", 1e308),
        ("seconds", -1e-9),
        ("seconds", 1e308),
        ("samples_per_second", -5),
        ("samples_per_second", 1e300),
    ],
)
def test_figures_that_cannot_be(run, name, figure):
    write(run, {name: figure})
    with pytest.raises(DataFileError, match=rf"history\.jsonl, line 1: damaged: '{name}' is "):
        report_html([run], "numpy")


def write_figure(run, figure):
    """Replace every number that is drawn of a run, and leave no network to predict with."""
    rows = [{"epoch": 1}, {"epoch": 2, "loss": figure, "val_loss": -figure, "accuracy": figure}]
    write(run, *({**row, "learning_rate": figure} for row in rows))
    norms = {"dense_1.weights": abs(figure), "dense_1.biases": abs(figure)}
    row = {"epoch": 1, "parameters": norms, "gradients": norms}
    write_lines(run / "norms.jsonl", [row])
    test = {"rows": figure, "loss": figure, "accuracy": figure}
    ending = {"epochs": 2, "stopped": "", "test": test}
    (run / "evaluation.json").write_text(json.dumps(ending))
    shutil.rmtree(run / "checkpoints")
    for network in run.glob("*.safetensors"):
        network.unlink()


@pytest.mark.filterwarnings("error")
def test_figures_that_no_drawing_has_room_for(digits_run, tmp_path, draw_only):
    """The tables have them. All charts are drawn for the first run alone."""
    draw_only("compare-loss|run-1|run-.-(loss|gradients)")
    figures = [1e308, -1e308, 5e-324, 1e150, 1.7e151]
    runs = [shutil.copytree(digits_run, tmp_path / str(figure)) for figure in figures]
    for run, figure in zip(runs, figures, strict=True):
        write_figure(run, figure)
    charts = Page(report_html(runs, "numpy")).charts()
    for number, figure in enumerate(figures, 1):
        assert f"{figure:.4g}" in charts[f"run-{number}-loss"].text
        assert f"{figure:.4g}" in charts["compare-loss"].text


def test_predictions_that_no_drawing_has_room_for():
    truth = np.array([[1.0], [2.0], [-1.7e308]])
    outcome = Numbers(truth, -truth)
    found = results(Findings("test", {"test": 3}, truth, None, outcome), "a")
    assert found.charts == []
    assert "Outputs with numbers above 1e+150 have no charts" in found.tables[0].note


def test_many_layers_are_drawn_in_part(digits_run, no_drawings):
    norms = {f"dense_{number}.weights": 1.0 for number in range(1, 301)}
    rows = [NormRow(epoch, norms, norms) for epoch in (1, 2)]
    record = gpunn.reporting.records.read_run(digits_run)
    object.__setattr__(record, "norms", rows)
    for chart in norm_charts(record, "a"):
        assert len(chart.legend) == 48
        assert chart.note.endswith("48 of 300 layers are shown.")


def test_norms_by_layer_where_some_are_missing():
    rows = [
        NormRow(1, {"a.w": 3.0, "a.b": 4.0, "b.w": 1.0}, {}),
        NormRow(2, {"a.w": None, "a.b": 4.0}, {}),
    ]
    found = {line.name: line.y for line in by_layer(rows, "parameters")}
    np.testing.assert_equal(found, {"a": [5.0, np.nan], "b": [1.0, np.nan]})


def test_many_classes_need_no_matrix():
    """20,000 classes would have one of 3 GB."""
    count = 20_000
    truth = np.array([5, 5, 7, count - 1, 0])
    predicted = np.array([5, 7, 7, 0, count - 1])
    names = [str(number) for number in range(count)]
    outcome = Classes(names, truth, predicted, np.ones(5))
    with peak_below(2**25):
        table, pairs = by_class(outcome), worst_pairs(outcome, 2)
    assert pairs == [("0", str(count - 1), 1), ("5", "7", 1)]
    assert [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in table.rows[7]] == [
        *("7", "1", "50.0 %", "100.0 %", "66.7 %")
    ]


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (5, "classes: expected a list; got 5"),
        ([], "classes: expected a non-empty list of unique strings"),
        ([1, 2], r"classes\[0\]: expected a string; got 1"),
        (["a"] * 10, "classes: expected a non-empty list of unique strings"),
        ({"a": 1}, "classes: expected a list; got"),
        ("0123456789", "classes: expected a list; got"),
        (["x" * 10**5, *"123456789"], "classes: expected names of at most 256 .*; got 100000"),
    ],
)
@pytest.mark.usefixtures("no_drawings")
def test_classes_that_are_none(run, classes, said):
    model = gpunn.load_model(run / "final.safetensors", "numpy")
    model.metadata["classes"] = classes
    model.save(run / "final.safetensors")
    with pytest.raises(ModelFileError, match=rf"\.safetensors: the metadata is damaged: {said}"):
        report_html([run], "numpy")
