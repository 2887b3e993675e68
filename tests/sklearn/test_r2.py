import warnings

import numpy as np
import pytest
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import r2_score

from gpunn.sklearn import regressor
from gpunn.sklearn.regressor import r2

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(2,), (7,), (129,), (5000,), (40, 3), (3000, 2)])
@pytest.mark.parametrize("weighted", [False, True])
def test_has_the_bits_of_scikit_learn(shape, dtype, weighted, monkeypatch):
    wide = RANDOM.normal(size=(2 * shape[0], *shape[1:]))
    weights = RANDOM.random(shape[0]) if weighted else None
    cases = [(1000 + wide[: shape[0]], wide[shape[0] :].astype(dtype)), (wide[::2], wide[1::2])]
    if len(shape) == 2:
        cases.append([np.asfortranarray(each) for each in cases[0]])
    expected = [r2_score(*each, sample_weight=weights) for each in cases]
    monkeypatch.setattr(regressor, "r2_score", None)
    assert [r2(*each, weights) for each in cases] == expected


@pytest.mark.parametrize(
    ("y", "predictions", "weights"),
    [
        ([1.0, 1.0], [1.0, 1.0], None),
        ([1.0, 1.0], [1.0, 2.0], None),
        ([1.0, 2.0], [1.0, 2.0], None),
        ([3.0], [2.0], None),
        ([1.0, 2.0, 4.0], [1.0, 2.0, 3.0], [1.0, 0.0, 3.0]),
        ([[1.0, 2.0], [3.0, 5.0]], [[1.0, 1.0], [2.0, 5.0]], None),
    ],
)
def test_special_cases(y, predictions, weights):
    y, predictions = np.array(y), np.array(predictions)
    with warnings.catch_warnings(action="ignore"):
        expected = r2_score(y, predictions, sample_weight=weights)
        np.testing.assert_equal(r2(y, predictions, weights), expected)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_errors_are_those_of_scikit_learn(wrong):
    y = np.array([1.0, wrong, 2.0])
    with pytest.raises(ValueError, match="contains"):
        r2(y, np.ones(3))
    with pytest.raises(ValueError, match="inconsistent"):
        r2(np.ones(3), np.ones(2))


def test_one_row():
    """With rounding, the weighted mean of a row differs from the row."""
    rows, weights = RANDOM.normal(size=(99, 1)), RANDOM.random((99, 1))
    for row, weight in zip(rows, weights, strict=True):
        with pytest.warns(UndefinedMetricWarning, match="less than two samples"):
            assert np.isnan(r2(row, row + 1, weight))
