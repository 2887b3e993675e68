"""What a report makes of predictions that no run of the other tests has."""

import base64
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import gpunn
from gpunn.config import parse_config
from gpunn.experiment.splits import Split
from gpunn.layers import Conv2D, Dense, Flatten, Rescaling
from gpunn.reporting.findings import Classes, Findings, Labels, Numbers, image_shape, outcome
from gpunn.reporting.images import sample_image, weight_image
from gpunn.reporting.results import histogram, results
from gpunn.reporting.weights import first_layer

RANDOM = np.random.default_rng(0)


def findings(outcome, X=None, pixels=None) -> Findings:
    X = np.zeros((4, 2)) if X is None else X
    return Findings("validation", {"validation": len(X)}, X, pixels, outcome)


def pixels_of(source: str) -> np.ndarray:
    kind, _, text = source.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_many_classes_have_no_matrix():
    names = [f"class {number}" for number in range(60)]
    truth = np.repeat(np.arange(60), 3)
    predicted = truth.copy()
    predicted[[3, 4]], predicted[9] = 7, 0
    outcome = Classes(names, truth, predicted, np.linspace(0.5, 1, 180))
    found = results(findings(outcome, np.zeros((180, 2))), "a")
    assert found.charts == []
    tables = {table.title: table for table in found.tables}
    assert tables["Most confused classes"].rows == [
        ("class 1", "class 7", 2),
        ("class 3", "class 0", 1),
    ]
    assert [row[0] for row in tables["Most confidently wrong"].rows] == [9, 4, 3]


def test_a_class_that_does_not_occur():
    outcome = Classes(["a", "b"], np.array([0, 0]), np.array([0, 0]), np.ones(2))
    found = results(findings(outcome), "a")
    (table,) = found.tables
    assert table.rows[1] == ("b", "0", "–", "–", "–")
    assert found.charts[0].description.endswith("2 right, 0 wrong.")


def test_labels():
    truth = np.array([[True, False], [True, False], [False, False], [True, False]])
    predicted = np.array([[True, False], [False, False], [True, False], [True, False]])
    (table,) = results(findings(Labels(truth, predicted)), "a").tables
    cells = [list(row) for row in table.rows]
    space = "\N{NO-BREAK SPACE}"
    assert cells[0] == [0, "3", f"50.0{space}%", f"66.7{space}%", f"66.7{space}%"]
    assert cells[1] == [1, "0", f"100.0{space}%", "–", "–"]


def test_many_outputs(no_drawings):
    truth = RANDOM.normal(size=(3000, 6))
    found = results(findings(Numbers(truth, truth + 0.1)), "a")
    assert len(found.charts) == 3 * 4
    (table,) = found.tables
    assert len(table.rows) == 6
    assert table.rows[0][1:4] == ("0.1", "0.1", "0.1")
    assert "Charts show the first 4 outputs" in table.note
    assert len(found.charts[0].rows) == 2000
    assert "2,000 of 3,000 rows are shown." in found.charts[0].note


def test_outputs_have_names(no_drawings):
    truth = RANDOM.normal(size=(9, 2))
    found = results(findings(Numbers(truth, truth, ["rent", "price"])), "a")
    assert [row[0] for row in found.tables[0].rows] == ["rent", "price"]
    titles = [chart.title for chart in found.charts]
    assert titles[0].endswith(", rent")
    assert titles[-1].endswith(", price")


def test_constant_targets():
    truth = np.ones((9, 1))
    (table,) = results(findings(Numbers(truth, truth)), "a").tables
    assert table.rows[0][1:] == ("0", "0", "0", "–")


def config_of(dataset: str):
    raw = {
        "data": {"dataset": dataset, **({"path": "a"} if dataset != "digits" else {})},
        "model": {"layers": ["flatten"]},
        "training": {"loss": "mean_squared_error", "epochs": 1},
    }
    return parse_config(raw, Path())


@pytest.mark.parametrize(
    ("dataset", "shape", "dtype", "expected"),
    [
        ("digits", (64,), "float64", (8, 8)),
        ("npz", (64,), "float64", None),
        ("npz", (64,), "uint8", (8, 8)),
        ("npz", (9,), "uint8", None),
        ("npz", (65,), "uint8", None),
        ("npz", (8, 6), "float32", (8, 6)),
        ("npz", (8, 1), "float32", None),
        ("npz", (8, 6, 1), "float32", (8, 6)),
        ("npz", (8, 6, 3), "float32", (8, 6, 3)),
        ("npz", (8, 6, 5), "float32", None),
    ],
)
def test_what_is_an_image(dataset, shape, dtype, expected):
    assert image_shape(config_of(dataset), np.zeros((2, *shape), dtype)) == expected


def test_pictures():
    gray = RANDOM.integers(0, 17, (8, 6))
    assert np.array_equal(pixels_of(sample_image(gray, 0, 16)), np.round(255 * gray / 16))
    colors = RANDOM.integers(0, 256, (8, 6, 3))
    assert np.array_equal(pixels_of(sample_image(colors, 0, 255)), colors)
    assert not pixels_of(sample_image(np.zeros((2, 2)), 0, 0)).any()
    found = pixels_of(weight_image(np.array([[1.0, -0.5], [0.0, -3.0]]), 1.0))
    assert found[..., 3].tolist() == [[255, 128], [0, 255]]
    assert found[0, 0, 0] > found[0, 0, 2]  # more red than blue
    assert found[0, 1, 0] < found[0, 1, 2]


def test_weights_of_images():
    layers = [Flatten(), Rescaling(), Dense(60, "relu"), Dense(2)]
    model = gpunn.Sequential(layers, (6, 4), "numpy")
    weights = model.parameters["dense_1.weights"]
    weights[:, :12] = 0.001
    weights[3, 20] = -5
    found = first_layer(model, (6, 4))
    assert len(found.sources) == 48
    assert "48 of 60 units" in found.alternative
    shown = pixels_of(found.sources[20 - 12])
    assert shown.shape == (6, 4, 4)
    assert shown[0, 3, 3] == 255


@pytest.mark.parametrize("colors", [1, 3])
def test_filters_of_a_convolution_are_images(colors):
    layers = [Rescaling(), Conv2D(5, (2, 3)), Flatten(), Dense(2)]
    model = gpunn.Sequential(layers, (6, 6, colors), "numpy")
    model.parameters["conv_2d_1.weights"][...] = 0.5
    model.parameters["conv_2d_1.weights"][: 2 * colors, 4] = -0.5
    found = first_layer(model, (6, 6))
    assert len(found.sources) == 5
    assert (
        "all 5 filters of layer conv_2d_1, each as an image of 2 by 3 pixels" in found.alternative
    )
    shown = pixels_of(found.sources[4]).tolist()
    negative, positive = ([37, 99, 235, 255], [217, 119, 6, 255]) if colors == 1 else (
        [0, 0, 0], [255, 255, 255],
    )  # fmt: skip
    assert shown == [[negative, negative, positive], [positive] * 3]


def test_weights_of_columns():
    found = first_layer(gpunn.Sequential([Dense(7)], (3,), "numpy"), None)
    assert [pixels_of(source).shape for source in found.sources] == [(3, 7, 4)]
    assert first_layer(gpunn.Sequential([Dense(7)], (300,), "numpy"), None) is None
    assert first_layer(gpunn.Sequential([Rescaling()], (3,), "numpy"), None) is None


@pytest.mark.parametrize("value", [0.0, 3.0, -1e30])
def test_residuals_that_are_all_the_same(value):
    counts, edges = histogram(np.full(100, value))
    assert counts.sum() == 100
    assert edges[0] <= value <= edges[-1]
    assert (np.diff(edges) > 0).all()


def test_rates():
    """Poisson's predictions are logarithms of rates, however far off."""
    objects = SimpleNamespace(loss=gpunn.losses.Poisson())
    model = SimpleNamespace(target_names=["visits"])
    raw = np.array([[0.0], [np.log(3.0)], [1e4]], "float32")
    found = outcome(raw, Split(np.zeros((3, 1)), np.array([1, 3, 5])), objects, model)
    assert found.names == ["visits"]
    assert found.predicted[:2, 0] == pytest.approx([1, 3])
    assert np.isfinite(results(findings(found), "a").charts[0].rows).all()
