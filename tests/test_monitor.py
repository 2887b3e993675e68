import math

import pytest

from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.metrics import R2, Accuracy, MeanAbsoluteError, Metric, TopKAccuracy
from gpunn.monitor import Best, BestSoFar, direction, directions, monitored


class Larger(Metric):
    name = "ranking"
    larger_is_better = True


class Silent(Metric):
    name = "silent_accuracy"


KNOWN = directions([Accuracy(), TopKAccuracy(), MeanAbsoluteError(), R2(), Larger(), Silent()])


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
        ("auto", "ranking", "max"),
        ("auto", "val_ranking", "max"),
        ("min", "silent_accuracy", "min"),
    ],
)
def test_direction(mode, monitor, expected):
    assert direction(mode, monitor, KNOWN) == expected


@pytest.mark.parametrize("monitor", ["silent_accuracy", "val_silent_accuracy"])
def test_an_unknown_direction(monitor):
    message = f"'{monitor}' is better.*'max' or 'min', or set larger_is_better"
    with pytest.raises(ArgumentError, match=message):
        direction("auto", monitor, KNOWN)


@pytest.mark.parametrize("larger", ["min", "smaller", 1, 0])
def test_a_direction_that_is_none(larger):
    class Odd(Metric):
        name = "odd"
        larger_is_better = larger

    message = f"metric 'odd': larger_is_better must be True, False or None; got {larger!r}"
    with pytest.raises(ArgumentTypeError, match=message):
        directions([Odd()])


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
    assert Best("loss", mode, min_delta).improved(figure, best) is expected


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("figure", [-1e300, 0.0, 1e300])
def test_every_finite_figure_improves_on_the_start(mode, figure):
    assert BestSoFar().improves(Best("loss", mode), figure)


def test_a_misspelt_figure_of_validation_data_is_offered_its_name():
    logs = dict.fromkeys(["epoch", "loss", "accuracy", "val_loss", "val_accuracy"], 0.5)
    with pytest.raises(ArgumentError) as raised:
        monitored(logs, "val_acc")
    assert "did you mean 'val_accuracy'?" in str(raised.value)
    assert "validation data" not in str(raised.value)


@pytest.mark.parametrize(
    ("rule", "values", "epoch"),
    [
        (Best("val_loss", "min"), [3.0, None, 2.0, 1.75, math.nan], 4),
        (Best("val_loss", "min", 0.5), [3.0, None, 2.0, 1.75, math.nan], 3),
        (Best("val_loss", "max"), [3.0, None, 2.0, 1.75, math.nan], 1),
        (Best("loss", "max"), [3.0, None, 2.0, 1.75, math.nan], None),
        (Best("val_loss", "min"), [math.inf, 2.0, 3.0, 2.0, math.inf, math.nan], 2),
        (Best("val_loss", "min", ties="last"), [math.inf, 2.0, 3.0, 2.0, math.inf, math.nan], 4),
        (Best("val_loss", "min"), [math.inf], None),
        (Best("val_loss", "min", ties="last"), [math.inf], None),
    ],
)
def test_the_best_epoch(rule, values, epoch):
    found = rule.find([{"epoch": n, "val_loss": value} for n, value in enumerate(values, 1)])
    assert (found and found["epoch"]) == epoch
