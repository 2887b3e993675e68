"""What the tests of this folder share."""

import warnings
from contextlib import contextmanager

from sklearn.exceptions import ConvergenceWarning


@contextmanager
def quiet():
    """Let training end at `max_iter` without saying so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def fitted(estimator, *args, **kwargs):
    with quiet():
        return estimator.fit(*args, **kwargs)
