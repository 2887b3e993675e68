"""Prediction intervals: scores of held-out rows, and bounds of numbers and arrays."""

import numpy as np
import pytest

from gpunn.intervals import (
    bound_names,
    bounds,
    check_intervals,
    fit_intervals,
    percent_of,
    symmetric_pair,
)

RANDOM = np.random.default_rng(0)
QUANTILES = [0.05, 0.25, 0.5, 0.75, 0.95]


@pytest.mark.parametrize(
    ("rows", "percent", "expected"),
    [(99, 90, 90), (99, 99, 99), (99, 1, 1), (9, 90, 9), (9, 91, None), (100, 90, 91), (1, 50, 1)],
)
def test_the_score_is_an_order_statistic(rows, percent, expected):
    """k = ceil((n + 1) * percent / 100), for the absolute errors 1, ..., n."""
    errors = RANDOM.permutation(np.arange(1.0, rows + 1)) * RANDOM.choice([-1, 1], rows)
    weights = [None, np.ones(rows), np.full(rows, 0.1)]
    for weight in weights:
        fitted = fit_intervals(np.zeros((rows, 1)), errors, weight)
        assert fitted["scores"][0][percent - 1] == expected
    ignored = np.r_[weights[1], 0], np.r_[errors, 1e9]
    fitted = fit_intervals(np.zeros((rows + 1, 1)), ignored[1], ignored[0])
    assert fitted["scores"][0][percent - 1] == expected


@pytest.mark.parametrize("quantiles", [[], [0.1, 0.5, 0.9], QUANTILES])
def test_coverage(quantiles):
    """Intervals from n of n + 1 rows contain the last row for exactly k of its n + 1 choices."""
    rows = 35
    outputs = np.sort(RANDOM.normal(size=(rows, max(1, len(quantiles)))))
    targets = RANDOM.normal(size=rows) * 2
    powers = np.exp(outputs)
    covered = dict.fromkeys((50, 90), 0)
    for row, target in enumerate(targets):
        others = np.delete(np.arange(rows), row)
        fitted = fit_intervals(outputs[others], targets[others], None, quantiles)
        ratios = fit_intervals(powers[others], np.exp(targets[others]), None, quantiles, True)
        for percent in covered:
            ((_, low, high),) = bounds(outputs[row], fitted, percent)
            # Relative bounds of exponentials are exponentials of bounds.
            ((_, *relative),) = bounds(powers[row], ratios, percent)
            np.testing.assert_allclose(np.log(relative), (low, high), atol=1e-12)
            covered[percent] += int(low <= target <= high)
    assert covered == {50: 18, 90: 32}


@pytest.mark.parametrize(
    ("quantiles", "percent", "expected"),
    [([], 90, (0, 0)), ([0.5], 90, (0, 0)), (QUANTILES, 90, (0, 4)), (QUANTILES, 50, (1, 3))],
)
def test_the_quantiles_of_an_interval(quantiles, percent, expected):
    assert symmetric_pair(quantiles, percent) == expected


@pytest.mark.parametrize("relative", [False, True])
def test_bounds_of_numbers_and_arrays(relative):
    outputs, targets = np.sort(RANDOM.normal(size=(50, 5))), 0.1 * RANDOM.normal(size=50)
    if relative:
        outputs, targets = np.exp(outputs), np.exp(targets)
    fitted = fit_intervals(outputs, targets, None, QUANTILES, relative)
    for percent in (1, 50, 90):  # scores of 1 % are far below 0, so bounds would cross
        ((middle, low, high),) = bounds(outputs.T, fitted, percent)
        assert (low <= middle).all()
        assert (middle <= high).all()
        np.testing.assert_array_equal(middle, outputs[:, 2])
        for row, *expected in zip(outputs.tolist(), middle, low, high, strict=True):
            assert bounds(row, fitted, percent) == [tuple(expected)]
    several = fit_intervals(outputs[:, :2], np.c_[targets, targets])
    (_, low, high), _ = bounds([1.0, 2.0], several, 90)
    assert high - 1 == pytest.approx(1 - low)
    with pytest.raises(ValueError, match="99 % needs at least 99 held-out rows"):
        bounds([1.0, 2.0], several, 99)


def test_names():
    assert bound_names(1, ["y"]) == ["prediction", "lower", "upper"]
    assert bound_names(2, ["a", "b"])[1::3] == ["lower_a", "lower_b"]
    assert bound_names(2, None)[2::3] == ["upper_0", "upper_1"]


@pytest.mark.parametrize("level", [0, 1, 90, 0.905, True, "0.9", float("nan"), None])
def test_levels(level):
    assert percent_of("interval", 0.29) == 29
    with pytest.raises(ValueError, match="interval: expected a multiple of "):
        percent_of("interval", level)


VALID = fit_intervals(np.zeros((9, 3)), np.zeros(9), None, [0.1, 0.5, 0.9])


@pytest.mark.parametrize(
    "value",
    [
        {"quantiles": [], "scores": []},
        {**VALID, "quantiles": []},
        {**VALID, "quantiles": [0.1, 0.4, 0.9]},
        {**VALID, "scores": [[1.0] * 98]},
        {**VALID, "scores": [["1"] * 99]},
        {**VALID, "scores": 5},
        {"scores": VALID["scores"]},
        [1.0],
    ],
)
def test_intervals_of_a_damaged_file(value):
    assert check_intervals(VALID, 3) == VALID
    with pytest.raises(ValueError, match="expected scores for 3 outputs; got"):
        check_intervals(value, 3)
