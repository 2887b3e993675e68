"""Loads the data files that a configuration or a command names, as host arrays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.config import CSV, MNIST, NPY, NPZ, Config, DataSet, Digits, Images, TableFile
from gpunn.data import CSVData, load_csv, load_digits, load_mnist, load_npy, load_npz
from gpunn.errors import ArgumentError, ArgumentTypeError, ConfigError, DataError
from gpunn.experiment.images import labeled_images, load_folder
from gpunn.experiment.metadata import reading_of
from gpunn.experiment.split_keys import SplitKeys, split_keys
from gpunn.experiment.splits import Rows, Split, Splits
from gpunn.experiment.tables import labeled_rows, load_table, read_rows
from gpunn.experiment.targets import codes_of_numbers, is_text, positions, text_classes
from gpunn.losses import Loss
from gpunn.tables import Table, read_table, table_of

LOG = logging.getLogger("gpunn")


def load(config: Config, loss: Loss | None = None) -> Splits:
    data = config.data
    if isinstance(data, CSV):
        return _load_csv(data, config.dtype)
    if isinstance(data, TableFile):
        return load_table(data, loss)
    if isinstance(data, (NPZ, NPY)):
        return _load_arrays(data)
    if isinstance(data, Images):
        return load_folder(data)
    X, y, X_test, y_test = (
        load_mnist(data.path, flatten=data.shape is None)
        if isinstance(data, MNIST) and data.path
        else load_digits(flatten=not isinstance(data, Digits) or data.shape is None)
    )
    return Splits(Split(X, y), None, Split(X_test, y_test), {})


def warn_of_constant_columns(data: DataSet, splits: Splits) -> None:
    X = splits.training.source_inputs
    if not isinstance(data, CSV) or isinstance(X, Table) or len(X) < 2:
        return
    for number in np.flatnonzero((X[0] == X).all(axis=0)):
        name = splits.metadata["features"][number]
        LOG.warning(
            "%s: column %r has the same value in every row, so it carries no information",
            data.path,
            name,
        )


def read_split(
    path: Path,
    target_path: Path | None,
    config: Config,
    metadata: Mapping[str, Any],
    loss: Loss | None = None,
) -> Split:
    # `path` has data of the training data's kind; for an NPY file, `target_path` has the targets.
    data = config.data
    if isinstance(data, TableFile):
        if target_path is not None:
            raise DataError(
                f"{target_path}: the targets of a table are among its columns; remove --target-path"
            )
        return labeled_rows(str(path), data, metadata.get("classes"), loss)
    if isinstance(data, Images):
        return labeled_images(path, data, metadata["classes"])
    if path.suffix == ".npy" or target_path is not None:
        if path.suffix != ".npy" or target_path is None:
            raise DataError(
                f"{path}: give the inputs as an NPY file, and the targets as another NPY file with "
                "--target-path"
            )
        arrays = _npy_arrays(str(path), str(target_path))
        return _array_split(*arrays, metadata.get("classes"), text=isinstance(data, (NPZ, NPY)))
    if path.suffix == ".npz":
        X_name, y_name = (data.X, data.y) if isinstance(data, NPZ) else ("X", "y")
        arrays = _npz_arrays(str(path), X_name, y_name)
        return _array_split(*arrays, metadata.get("classes"), text=isinstance(data, (NPZ, NPY)))
    if path.suffix == ".csv":
        if not isinstance(data, CSV):
            if not path.exists():
                raise DataError(f"{path}: there is no such file")
            raise DataError(
                f"{path}: the network was not trained on a CSV file, so its target column is "
                "unknown; give an NPZ file with the arrays X and y"
            )
        table = _read_csv(str(path), data, config.dtype, _columns(metadata))
        return Split(table.X, _encoded(str(path), table, metadata.get("classes")))
    if path.is_dir():
        shape = data.shape if isinstance(data, (Digits, MNIST)) else None
        _, _, X, y = load_mnist(path, flatten=shape is None)
        return Split(X, y)
    raise _unknown_kind(path, ".npz, .csv or .npy, or a folder of IDX files")


def read_inputs(path: Path, data: DataSet | None) -> Rows:
    if isinstance(data, TableFile):
        return read_rows(str(path), data)
    if path.suffix == ".parquet" and data is None:
        return read_table(path)
    if path.suffix == ".npy":
        return load_npy(path)
    if path.suffix == ".npz":
        return load_npz(path, data.X if isinstance(data, NPZ) else "X", None)[0]
    raise _unknown_kind(path, ".npy, .npz or .csv")


def _unknown_kind(path: Path, kinds: str) -> DataError:
    if not path.exists():
        return DataError(f"{path}: there is no such file")
    return DataError(f"{path}: expected a file name that ends in {kinds}")


def _load_arrays(data: NPZ | NPY) -> Splits:
    read: Callable[[str, str], tuple[np.ndarray, np.ndarray, str]]
    if isinstance(data, NPZ):
        read = partial(_npz_arrays, data.path)
        further = (data.X_validation, data.y_validation), (data.X_test, data.y_test)
        X, y, title = read(data.X, data.y)
    else:
        read = _npy_arrays
        further = (
            (data.validation_path, data.validation_target_path),
            (data.test_path, data.test_target_path),
        )
        X, y, title = read(data.path, data.target_path)
    metadata: dict[str, Any] = {}
    if is_text(y):
        metadata["classes"], y = text_classes(y, title)
    validation, test = (
        None
        if one is None or other is None
        else _array_split(*read(one, other), metadata.get("classes"))
        for one, other in further
    )
    keys = None
    if isinstance(data, NPZ) and data.split_by is not None:
        name = data.split_by[1]
        values, _ = load_npz(data.path, name, None)
        if values.shape != (len(X),):
            raise DataError(
                f"{data.path}, array {name!r} for the split: expected shape ({len(X)},), one value "
                f"per row; got {values.shape}"
            )
        keys = split_keys(data, table_of({name: values}, data.path))
    return Splits(Split(X, y), validation, test, metadata, keys)


def _npz_arrays(path: str, X: str, y: str) -> tuple[np.ndarray, np.ndarray, str]:
    inputs, targets = load_npz(path, X, y)
    return inputs, np.asarray(targets), f"{path}, array {y!r}"


def _npy_arrays(path: str, target_path: str) -> tuple[np.ndarray, np.ndarray, str]:
    return load_npy(path), load_npy(target_path), target_path


def _array_split(
    X: np.ndarray, y: np.ndarray, title: str, classes: Sequence[str] | None, *, text: bool = True
) -> Split:
    if is_text(y):
        if classes is None:
            raise DataError(
                f"{title}: expected numbers, as in the training data; got strings such as "
                f"{y.flat[0].item()!r:.80}"
            )
        names, codes = text_classes(y, title)
        y = positions(names, classes, title)[codes]
    elif text and classes is not None:
        raise DataError(
            f"{title}: expected strings such as {classes[0]!r:.80}, as in the training data; got "
            f"numbers of type {y.dtype}"
        )
    return Split(X, y)


def _load_csv(data: CSV, dtype: str) -> Splits:
    keys, features = _csv_keys(data)
    table = _read_csv(data.path, data, dtype, features)
    if keys is not None and len(keys.values) != len(table.X):
        raise DataError(
            f"{data.path}: cannot decide whether the first row is a header; set data.header"
        )
    metadata: dict[str, Any] = {
        "header": table.has_header,
        "features": list(table.feature_names),
        **reading_of(data).metadata(),
    }

    def further(path: str | None) -> Split | None:
        if path is None:
            return None
        other = _read_csv(path, data, dtype, _columns(metadata))
        return Split(other.X, _encoded(path, other, table.classes))

    if table.classes is not None:
        metadata["classes"] = list(table.classes)
    training = Split(table.X, np.asarray(table.y))
    validation, test = further(data.validation_path), further(data.test_path)
    return Splits(training, validation, test, metadata, keys)


def _csv_keys(data: CSV) -> tuple[SplitKeys | None, list[str | int] | None]:
    if data.split_by is None:
        return None, data.features
    column = data.split_by[1]
    rows = read_table(data.path, delimiter=data.delimiter, header=data.header)
    keys = split_keys(data, rows, data.missing or ())
    numbers = [*range(len(rows.names))]
    names: list[str | int] = [*numbers] if [*rows.names] == [*map(str, numbers)] else [*rows.names]
    target = data.target
    if isinstance(target, int) and -len(names) <= target < len(names):  # else reading fails later
        target = names[target]
    if str(target) == column:
        raise ConfigError(f"data.split: column {column!r} is the target; choose another column")
    return keys, data.features or [name for name in names if str(name) not in (column, str(target))]


def _read_csv(path: str, data: CSV, dtype: str, features: Sequence[str | int] | None) -> CSVData:
    options: dict[str, Any] = {"features": features, "dtype": dtype}
    options |= {"header": data.header, "delimiter": data.delimiter}
    options |= {} if data.missing is None else {"missing": data.missing}
    try:
        return load_csv(path, data.target, **options)
    except (ArgumentError, ArgumentTypeError, DataError) as error:
        from_file = error.key == "features" and features is not data.features
        if not from_file and hasattr(data, error.key):
            raise ConfigError(f"data.{error}") from error
        raise


def _columns(metadata: Mapping[str, Any]) -> list[str | int]:
    features: list[str] = metadata["features"]
    return list(features) if metadata["header"] else [int(number) for number in features]


def _encoded(path: str, table: CSVData, classes: Sequence[str] | None) -> np.ndarray:
    targets, title = np.asarray(table.y), f"{path}: the target {table.target_name!r}"
    if classes is None and table.classes is None:
        return targets
    if classes is None:
        assert table.classes is not None
        raise DataError(
            f"{path}: expected numbers in the target {table.target_name!r}, as in the training "
            f"data; got strings such as {table.classes[0]!r}"
        )
    if table.classes is None:
        return codes_of_numbers(targets, classes, title)
    return np.asarray(positions(table.classes, classes, title)[targets])
