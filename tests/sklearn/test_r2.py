import warnings

import numpy as np
import pytest
from sklearn.metrics import r2_score

from gpunn.sklearn import regressor
from gpunn.sklearn.regressor import r2

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [2, 7, 129, 5000])
def test_has_the_bits_of_scikit_learn(rows, dtype, monkeypatch):
    y, other = 1000 + RANDOM.normal(size=rows), RANDOM.normal(size=(2 * rows, 3))
    predictions = (y + RANDOM.normal(size=rows)).astype(dtype)
    strided = other[::2, 1], other[1::2, 2].astype(dtype)
    expected = r2_score(y, predictions), r2_score(*strided)
    monkeypatch.setattr(regressor, "r2_score", None)
    assert (r2(y, predictions), r2(*strided)) == expected


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
