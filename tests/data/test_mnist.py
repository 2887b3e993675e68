"""Loading MNIST: small forged sets, and the real one if the machine has it."""

import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest
from array_files import idx_bytes as idx
from array_files import idx_header

from gpunn.data import load_mnist
from gpunn.errors import DataError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def small_set():
    images = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3)
    labels = np.array([3, 1, 4, 1, 5], np.uint8)
    return {
        FILES[0]: images,
        FILES[1]: labels,
        FILES[2]: images[:2] + 100,
        FILES[3]: labels[:2],
    }


def write(folder, arrays, compressed=()):
    for name, array in arrays.items():
        if name in compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))


@pytest.mark.parametrize("compressed", [(), FILES, FILES[:2]], ids=["raw", "gzip", "mixed"])
def test_loads_images_flat_and_labels_as_int64(tmp_path, compressed):
    arrays = small_set()
    write(tmp_path, arrays, compressed)

    X, y, X_test, y_test = load_mnist(tmp_path)

    for images, name in ((X, FILES[0]), (X_test, FILES[2])):
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images, arrays[name].reshape(-1, 6))
    for labels, name in ((y, FILES[1]), (y_test, FILES[3])):
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels, arrays[name])


@pytest.mark.parametrize("channels", [(), (3,)], ids=["gray", "colors"])
def test_images_with_axes(tmp_path, channels):
    arrays = small_set()
    for name in (FILES[0], FILES[2]):
        arrays[name] = np.stack([arrays[name]] * 3, axis=-1) if channels else arrays[name]
    write(tmp_path, arrays)
    for flatten, shape in ((False, (2, 3, *(channels or (1,)))), (True, (18 if channels else 6,))):
        X, _, X_test, _ = load_mnist(tmp_path, flatten=flatten)
        np.testing.assert_array_equal(X, arrays[FILES[0]].reshape(5, *shape))
        np.testing.assert_array_equal(X_test, arrays[FILES[2]].reshape(2, *shape))


def test_uncompressed_file_is_preferred(tmp_path):
    arrays = small_set()
    write(tmp_path, arrays)
    (tmp_path / f"{FILES[0]}.gz").write_bytes(b"not read")
    np.testing.assert_array_equal(load_mnist(str(tmp_path))[0], arrays[FILES[0]].reshape(-1, 6))


def test_names_all_missing_files(tmp_path):
    arrays = small_set()
    del arrays[FILES[0]], arrays[FILES[3]]
    write(tmp_path, arrays)
    with pytest.raises(DataError, match=f"{FILES[0]}, {FILES[3]} ") as raised:
        load_mnist(tmp_path)
    assert str(tmp_path) in str(raised.value)
    assert FILES[1] not in str(raised.value)


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        load_mnist(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (FILES[1], np.zeros(4, np.uint8), "5 images, but train-labels.* has 4 labels"),
        (FILES[3], np.zeros(3, np.uint8), "2 images, but t10k-labels.* has 3 labels"),
        (FILES[2], np.zeros((2, 3, 2), np.uint8), r"same size, got \(2, 3\) in .* and \(3, 2\) in"),
        (FILES[0], np.zeros(5, np.uint8), r"expected uint8 images .*; got uint8 of shape \(5,\)"),
        (FILES[1], np.zeros((5, 1), np.uint8), r"uint8 labels .*; got uint8 of shape \(5, 1\)"),
    ],
)
def test_files_that_do_not_fit(tmp_path, name, array, message):
    write(tmp_path, small_set() | {name: array})
    with pytest.raises(DataError, match=message):
        load_mnist(tmp_path)


def test_labels_of_another_type(tmp_path):
    write(tmp_path, small_set())
    (tmp_path / FILES[1]).write_bytes(idx_header(9, 5) + bytes(5))
    with pytest.raises(DataError, match=re.escape("uint8 labels of shape (rows,)") + ".*got int8"):
        load_mnist(tmp_path)


def test_damaged_file_is_named(tmp_path):
    write(tmp_path, small_set())
    (tmp_path / FILES[2]).write_bytes(b"\0\0")
    with pytest.raises(DataError, match=f"{FILES[2]}: expected an IDX header"):
        load_mnist(tmp_path)


def test_real_mnist():
    root = os.environ.get("GPUNN_DATA")
    if root is None or not Path(root, "mnist").is_dir():
        pytest.skip("GPUNN_DATA names no folder that contains a folder mnist")

    X, y, X_test, y_test = load_mnist(Path(root, "mnist"))

    assert (X.shape, X.dtype) == ((60000, 784), np.uint8)
    assert (X_test.shape, X_test.dtype) == ((10000, 784), np.uint8)
    assert (y.shape, y.dtype, y_test.shape, y_test.dtype) == (
        (60000,),
        np.int64,
        (10000,),
        np.int64,
    )
    assert y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    # The published mean and standard deviation of the training pixels, 0.1307 and 0.3081.
    assert X.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert X.std() / 255 == pytest.approx(0.3081, abs=5e-5)
