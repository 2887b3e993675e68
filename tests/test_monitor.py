import math

import pytest

from gpunn.errors import ArgumentError
from gpunn.monitor import direction, improved, improvement_start, monitored


@pytest.mark.parametrize(
    ("mode", "monitor", "expected"),
    [
        ("min", "val_accuracy", "min"),
        ("max", "val_loss", "max"),
        ("auto", "val_loss", "min"),
        ("auto", "mean_absolute_error", "min"),
        ("auto", "accuracy", "max"),
        ("auto", "val_top_k_accuracy", "max"),
        ("auto", "val_r2", "max"),
    ],
)
def test_direction(mode, monitor, expected):
    assert direction(mode, monitor) == expected


def test_impossible_mode():
    with pytest.raises(ArgumentError, match="mode: expected 'auto', 'min' or 'max'; got 'least'"):
        direction("least", "val_loss")


@pytest.mark.parametrize(
    ("mode", "figure", "best", "min_delta", "expected"),
    [
        ("min", 0.9, 1.0, 0.0, True),
        ("min", 1.0, 1.0, 0.0, False),
        ("min", 1.1, 1.0, 0.0, False),
        ("min", 0.75, 1.0, 0.25, False),
        ("min", 0.7, 1.0, 0.25, True),
        ("max", 1.1, 1.0, 0.0, True),
        ("max", 0.9, 1.0, 0.0, False),
        ("max", 1.25, 1.0, 0.25, False),
        ("min", math.nan, 1.0, 0.0, False),
        ("max", math.nan, 1.0, 0.0, False),
    ],
)
def test_improved(mode, figure, best, min_delta, expected):
    assert improved(mode, figure, best, min_delta) is expected


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("figure", [-1e300, 0.0, 1e300])
def test_every_finite_figure_improves_on_the_start(mode, figure):
    assert improved(mode, figure, improvement_start(mode))


def test_monitored():
    logs = {"loss": 0.5, "val_loss": 0.75}
    assert monitored(logs, "val_loss") == 0.75
    with pytest.raises(ArgumentError, match="did you mean 'val_loss'"):
        monitored(logs, "val_los")
    with pytest.raises(ArgumentError, match="needs validation data"):
        monitored({"loss": 0.5}, "val_accuracy")
