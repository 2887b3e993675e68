"""The bundled digits have the documented content and origin."""

from importlib import resources

import numpy as np
import pytest

from gpunn.data import load_digits
from gpunn.data.splits import split_rows


def test_shapes_types_and_values():
    X, y, X_test, y_test = load_digits()
    assert (X.shape, X_test.shape) == ((1437, 64), (360, 64))
    assert (y.shape, y_test.shape) == ((1437,), (360,))
    assert X.dtype == X_test.dtype == np.uint8
    assert y.dtype == y_test.dtype == np.int64
    for images in (X, X_test):
        assert (images.min(), images.max()) == (0, 16)


def test_images_with_axes():
    for images, flat in zip(load_digits(flatten=False)[::2], load_digits()[::2], strict=True):
        np.testing.assert_array_equal(images, flat.reshape(-1, 8, 8, 1))


def test_is_scikit_learns_set_split_by_the_documented_rule():
    datasets = pytest.importorskip("sklearn.datasets", reason="compares with scikit-learn's copy")
    pixels, labels = datasets.load_digits(return_X_y=True)
    kept, held_out = split_rows(len(labels), 0.2, seed=0, labels=labels)
    expected = (pixels[kept], labels[kept], pixels[held_out], labels[held_out])
    for part, original in zip(load_digits(), expected, strict=True):
        np.testing.assert_array_equal(part, original)


def test_callers_do_not_share_arrays():
    load_digits()[0][:] = 0
    assert load_digits()[0].any()


def test_file_is_small():
    assert len(resources.files("gpunn.data").joinpath("digits.npz").read_bytes()) < 80_000
