"""Loader for MNIST and other data sets in the same four IDX files."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from gpunn.data.idx import read_idx
from gpunn.errors import DataFileError

_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def load_mnist(
    folder: str | os.PathLike[str], *, flatten: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Load MNIST, or a data set in the same format such as Fashion-MNIST.

    MNIST is from LeCun, Bottou, Bengio & Haffner 1998, "Gradient-Based Learning Applied to Document
    Recognition"; Fashion-MNIST is from Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747.

    Nothing is downloaded. `folder` must hold `train-images-idx3-ubyte`,
    `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`. Files with the
    additional ending `.gz` are compressed with gzip. If a file exists in both forms, the
    uncompressed file is read.

    Parameters
    ----------
    folder : path-like
        Folder that holds the four files. Images have two axes, or three with channels.
    flatten : bool
        Whether an image is a vector of pixels instead of an array of shape (height, width,
        channels).

    Returns
    -------
    X : uint8 array of shape (rows, height * width * channels)
        Training images, flattened row by row. For MNIST, the shape is (60000, 784), with values
        from 0 to 255. Without `flatten`, the shape is (60000, 28, 28, 1).
    y : int64 array of shape (rows,)
        Training labels.
    X_test, y_test : arrays
        The test images and labels, in the formats of X and y. For MNIST, there are 10000 rows.

    Raises
    ------
    DataFileError
        If a file is missing, damaged or in another format, or if the files do not belong together.

    Examples
    --------
    >>> gpunn.data.load_mnist("no/such/folder")
    Traceback (most recent call last):
        ...
    gpunn.errors.DataFileError: no/such/folder: there is no such folder; it must contain ...
    """
    folder = Path(folder)
    files = {name: (folder / name, folder / f"{name}.gz") for name in _FILES}
    paths = {name: next(filter(Path.is_file, both), None) for name, both in files.items()}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        problem = "lacks" if folder.is_dir() else "there is no such folder; it must contain"
        raise DataFileError(
            f"{folder}: {problem} {', '.join(missing)} (each with or without .gz); "
            "put the four IDX files of the data set in this folder"
        )
    images, labels, test_images, test_labels = (path for path in paths.values() if path)
    X, y = _read_part(images, labels)
    X_test, y_test = _read_part(test_images, test_labels)
    if X.shape[1:] != X_test.shape[1:]:
        raise DataFileError(
            f"{folder}: expected training and test images of the same size, got "
            f"{X.shape[1:]} in {images.name} and {X_test.shape[1:]} in {test_images.name}"
        )
    if X.ndim == 3:
        X, X_test = X[..., None], X_test[..., None]
    if flatten:
        X, X_test = (each.reshape(len(each), math.prod(each.shape[1:])) for each in (X, X_test))
    return X, y, X_test, y_test


def _read_part(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    shapes = "(rows, height, width) or (rows, height, width, channels)"
    X = _read(images, (3, 4), f"images of shape {shapes}")
    y = _read(labels, (1,), "labels of shape (rows,)")
    if len(X) != len(y):
        raise DataFileError(
            f"{images}: {len(X)} images, but {labels.name} has {len(y)} labels; "
            "the two files do not belong together"
        )
    return X, y.astype(np.int64)


def _read(path: Path, dimensions: tuple[int, ...], content: str) -> np.ndarray:
    items = read_idx(path)
    if items.ndim not in dimensions or items.dtype != np.uint8:
        raise DataFileError(
            f"{path}: expected uint8 {content}; got {items.dtype} of shape {items.shape}"
        )
    return items
