"""Estimators need all rows together; batches raise an error that explains this."""

import numpy as np
import pytest

from gpunn.errors import ArgumentTypeError
from gpunn.sklearn import MLPClassifier, RealMLPClassifier

X, Y = np.eye(4), np.arange(4) % 2


def batches(epoch):
    yield X, Y


@pytest.mark.parametrize("given", [batches, batches(0)], ids=["function", "generator"])
@pytest.mark.parametrize("made", [MLPClassifier, RealMLPClassifier])
def test_batches_are_not_rows(made, given):
    with pytest.raises(ArgumentTypeError, match=r"X: expected all rows in one array or table"):
        made().fit(given, Y)
