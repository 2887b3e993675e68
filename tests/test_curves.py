"""Curves as text and as SVG, without anything to train."""

import itertools
import math
from xml.etree import ElementTree as ET

import pytest

from gpunn.drawing import curves_drawing, text_curves
from gpunn.drawing.panels import Panel, panels

ROWS = [
    {"epoch": epoch, "loss": 1 / epoch, "val_loss": 1 + 1 / epoch, "learning_rate": 0.1}
    for epoch in range(1, 11)
]


def dots(line):
    return sum(ord(letter) > 0x2800 for letter in line)


def test_text_curves():
    lines = text_curves(ROWS, 60, 8, colors=False)
    assert lines[0].startswith("Loss: train 0.1 val 1.1 ")
    assert lines[-1].split() == ["epoch", "1", "10"]
    assert len(lines) == 8
    assert {len(line) for line in lines} == {58}
    assert all(dots(line) for line in lines[1:-1])
    assert [line[:8].strip() for line in lines[1:-1] if line[:8].strip()] == ["2", "1"]


def test_lines_of_training_and_dots_of_validation():
    flat = [{"epoch": n, "a": 0.0, "val_a": 1.0} for n in (1, 2)]
    upper, *_, lower = text_curves(flat, 40, 6, colors=False)[1:-1]
    curve = upper[9:].rstrip()
    assert lower[9:] == "⣀" * 29
    assert set(curve) > {"⠉"}  # gaps
    colored = text_curves(flat, 40, 6)
    assert "\x1b[33m" in colored[1]
    assert "\x1b[34m" not in colored[1]
    assert "\x1b[34m" in colored[-2]


def test_panels_side_by_side_as_far_as_there_is_room():
    rows = [{"epoch": 1, "loss": 1.0, "a": 2.0, "b": 3.0}]
    assert "A:" in text_curves(rows, 80, 6, colors=False)[0]
    assert "B:" not in text_curves(rows, 80, 6, colors=False)[0]
    assert "A:" not in text_curves(rows, 71, 6, colors=False)[0]
    assert text_curves(rows, 40, 6, ["b"], colors=False)[0].startswith("B: train 3")


@pytest.mark.parametrize(
    "values",
    [
        [1.0],
        [0.0, 0.0],
        [1e-300, 2e-300],
        [5e-324, 1e-323],
        [math.nan, math.inf, 1.0],
        [math.nan],
        [-1e300, 1.0],
        [1e9, 1e9 + 1e-7],
    ],
)
def test_all_that_a_history_can_hold(values):
    rows = [{"epoch": n, "loss": value} for n, value in enumerate(values, start=1)]
    assert len({len(line) for line in text_curves(rows, 50, 8, colors=False)}) == 1
    ET.fromstring(curves_drawing(rows).svg)


def test_no_epoch():
    assert text_curves([], 80, 8) == []
    assert curves_drawing([]).text == "Curves up to no epoch yet. "


@pytest.mark.parametrize("epochs", [1, 2, 399, 400, 401, 798, 10_000])
def test_many_epochs_are_thinned_and_keep_the_first_and_the_last(epochs):
    rows = [{"epoch": n, "loss": n} for n in range(1, epochs + 1)]
    (panel,) = panels(rows)
    assert min(epochs, 200) <= len(panel.training) <= 400
    assert len(set(panel.training)) == len(panel.training)
    assert panel.training[0] == (1, 1)
    assert panel.training[-1] == (epochs, epochs)


@pytest.mark.parametrize("values", [(0.0, 1.0), (0.13, 0.17), (-5e6, 3e6), (2.0, 2.0)])
@pytest.mark.parametrize("most", [2, 4, 6])
def test_ticks_are_round_and_within(values, most):
    panel = Panel("", list(enumerate(values)), [])
    low, high = panel.y_range
    ticks = panel.ticks(most)
    assert len(ticks) <= most
    assert all(low <= tick <= high for tick in ticks)
    assert all(len(text) <= 7 for text in ticks.values())


@pytest.mark.parametrize("values", [(1.00001, 1.00003), (12344.0, 12351.0), (-0.5, -0.49999)])
def test_ticks_of_a_small_range_are_told_apart(values):
    rows = [{"epoch": n, "loss": value} for n, value in enumerate(values, start=1)]
    lines = text_curves(rows, 50, 12, colors=False)
    assert len({len(line) for line in lines}) == 1
    marks = [line.split()[0] for line in lines[1:-1] if line.split()[0][-1].isdecimal()]
    assert 3 <= len(marks) == len(set(marks))
    numbers = [float(text) for text in marks]
    steps = [upper - lower for upper, lower in itertools.pairwise(numbers)]
    assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-3)
    drawn = ET.fromstring(curves_drawing(rows).svg)
    ends = [text for text in drawn.iter() if text.get("text-anchor") == "end"][:-1]
    assert {text.text for text in ends} >= set(marks)
    # About 6.6 units a digit: none begins outside the picture.
    assert all(float(text.get("x")) > 6.6 * len(text.text) for text in ends)


def test_last_values_that_are_not_finite_are_told():
    rows = [
        {"epoch": 1, "loss": 1.0, "val_loss": 2.0, "a": 1.0, "val_a": math.nan},
        {"epoch": 2, "loss": 0.5, "val_loss": math.inf, "a": 2.0, "val_a": math.nan},
    ]
    text = text_curves(rows, 80, 8, colors=False)[0]
    assert text.split() == [
        *("Loss:", "train", "0.5", "val", "inf", "A:", "train", "2", "val", "nan")
    ]
    picture = curves_drawing(rows)
    assert picture.text.endswith(
        "Loss: training 0.5, validation inf; A: training 2, validation nan"
    )
    assert ">validation inf<" in picture.svg
    assert ">validation nan<" in picture.svg


def test_the_picture_is_described():
    picture = curves_drawing(ROWS)
    root = ET.fromstring(picture.svg)
    found = root.find("{http://www.w3.org/2000/svg}desc").text
    assert found == "Curves up to epoch 10. Loss: training 0.1, validation 1.1" == picture.text
