"""The bundled data set: images of 1,797 handwritten digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gpunn.data.arrays import load_npz

_FILE = Path(__file__).with_name("digits.npz")


def load_digits(*, flatten: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Load the handwritten digits that come with gpunn.

    The digits are the test split of the data set by E. Alpaydin and C. Kaynak, "Optical Recognition
    of Handwritten Digits", UCI Machine Learning Repository, 1998, doi:10.24432/C50P49. Images have
    8 by 8 pixels; each pixel counts the inked points in a 4 by 4 block of the scan. The data set is
    licensed under the Creative Commons Attribution 4.0 International license (CC BY 4.0). Only the
    storage format and the split were changed.

    The split is stratified by digit. The same 13 people wrote the digits of both subsets, so a
    score says little about other people.

    Parameters
    ----------
    flatten : bool
        Whether an image is a vector of 64 pixels instead of an array of shape (8, 8, 1).

    Returns
    -------
    X : uint8 array of shape (1437, 64)
        Training images, flattened row by row, with values 0 to 16; X / 16 has values from 0 to 1.
    y : int64 array of shape (1437,)
        The digits, 0 to 9.
    X_test : uint8 array of shape (360, 64)
        Test images, in the format of X.
    y_test : int64 array of shape (360,)
        The digits of the test images.

    Examples
    --------
    >>> X, y, X_test, y_test = gpunn.data.load_digits()
    >>> X.shape, y[:5].tolist()
    ((1437, 64), [0, 1, 2, 3, 5])
    """
    X, y = load_npz(_FILE)
    X_test, y_test = load_npz(_FILE, "X_test", "y_test")
    assert y is not None
    assert y_test is not None
    if not flatten:
        X, X_test = X.reshape(-1, 8, 8, 1), X_test.reshape(-1, 8, 8, 1)
    return X, y.astype(np.int64), X_test, y_test.astype(np.int64)
