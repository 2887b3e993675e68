"""Greedy ensemble selection: counts of models, ties, limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunn.errors import ArgumentError
from gpunn.tabular import greedy_selection

ZEROS = np.zeros(4)


def squared(average):
    return float(np.mean(average**2))


@pytest.mark.parametrize(
    ("errors", "options", "expected"),
    [
        ([1, -1], {}, [1, 1]),
        ([2, -1], {}, [1, 2]),
        ([3, 1, -2], {}, [0, 2, 1]),
        ([1, 1, 2], {}, [1, 0, 0]),
        ([np.nan, 2, 3], {}, [0, 1, 0]),
        ([np.nan, np.nan], {}, [1, 0]),
        ([3, 1, -2], {"max_models": 1}, [0, 1, 0]),
        ([3, 1, -2], {"rounds": 1}, [0, 1, 0]),
    ],
)
def test_counts(errors, options, expected):
    assert greedy_selection([ZEROS + error for error in errors], squared, **options) == expected


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(-9, 9), min_size=3, max_size=3), min_size=1, max_size=5),
    st.integers(1, 5),
)
def test_no_model_is_better(errors, max_models):
    predictions = np.array(errors)
    counts = np.array(greedy_selection(list(predictions), squared, rounds=8, max_models=max_models))
    average = counts @ predictions / counts.sum()
    assert squared(average) <= min(map(squared, predictions)) + 1e-9
    assert 1 <= np.count_nonzero(counts) <= max_models
    assert counts.sum() <= 8


@pytest.mark.parametrize("predictions", [[], [ZEROS, ZEROS[:2]]])
def test_invalid_predictions(predictions):
    with pytest.raises(ArgumentError, match="predictions: expected arrays of the same shape; got"):
        greedy_selection(predictions, squared)
