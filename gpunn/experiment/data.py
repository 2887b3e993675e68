"""The data that a configuration or a command names, as host arrays in parts."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.config import CSV, MNIST, NPY, NPZ, Config, DataSet
from gpunn.data import CSVData, load_csv, load_digits, load_mnist, load_npy, load_npz
from gpunn.data.preprocessing import split_rows
from gpunn.errors import ArgumentError, ConfigError, DataError, suggest
from gpunn.losses import Loss

__all__ = ["Parts", "load", "read_inputs", "read_part"]


@dataclass(frozen=True)
class Part:
    """Inputs and targets, row by row."""

    X: np.ndarray
    y: np.ndarray

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.X.shape[0])

    def take(self, rows: np.ndarray) -> Part:
        """Return some of the rows."""
        return Part(self.X[rows], self.y[rows])

    def check_targets(self, name: str, loss: Loss, outputs: int) -> None:
        """Raise a DataError that names the part unless each row has a target the loss takes."""
        if self.X.shape[:1] != self.y.shape[:1]:
            raise DataError(
                f"{name} y: expected one target for each of the {self.X.shape[0]} rows; got shape "
                f"{self.y.shape}"
            )
        try:
            loss.check_targets(self.y, outputs)
        except DataError as error:
            raise DataError(f"{name} {error}") from error


@dataclass(frozen=True)
class Parts:
    """A data set.

    Attributes
    ----------
    training : Part
    validation, test : Part or None
    metadata : dict
        What a model must remember of the data: "classes", the names of text targets, and
        "features", the columns' names. In JSON types.
    """

    training: Part
    validation: Part | None
    test: Part | None
    metadata: dict[str, Any]

    def split(self, config: DataSet, loss: Loss, outputs: int) -> Parts:
        """Check all targets and set rows aside as the configuration's fractions say.

        Parameters
        ----------
        config : DataSet
        loss : Loss
            Knows which targets are possible and which are classes.
        outputs : int
            Number of the network's outputs.

        Raises
        ------
        DataError
            If targets are impossible, or a class has too few rows to be in both parts.
        ConfigError
            If a fraction leaves no rows.
        """
        training, validation, test = self.training, self.validation, self.test
        for name, part in (("training", training), ("validation", validation), ("test", test)):
            if part is not None:
                part.check_targets(name, loss, outputs)

        def divided(part: Part, key: str, fraction: float) -> tuple[Part, Part]:
            classes = loss.class_indices(loss.check_targets(part.y, outputs))
            try:
                kept, held = split_rows(part.rows, fraction, config.split_seed, classes)
            except ArgumentError as error:
                raise ConfigError(str(error).replace("fraction", f"data.{key}", 1)) from error
            return part.take(kept), part.take(held)

        if test_fraction := getattr(config, "test_fraction", 0.0):
            training, test = divided(training, "test_fraction", test_fraction)
        if config.validation_fraction:
            training, validation = divided(
                training, "validation_fraction", config.validation_fraction
            )
        return Parts(training, validation, test, self.metadata)


def load(config: Config) -> Parts:
    """Return the data set of a configuration; fractions of it are not set aside yet.

    Raises
    ------
    DataError
        If a file is damaged or does not hold what was promised.
    OSError
        If a file can't be opened.
    """
    data = config.data
    if isinstance(data, CSV):
        return _load_csv(data, config.dtype)
    if isinstance(data, NPZ):
        return Parts(
            _npz_part(data.path, data.X, data.y),
            _if_both(partial(_npz_part, data.path), data.X_validation, data.y_validation),
            _if_both(partial(_npz_part, data.path), data.X_test, data.y_test),
            {},
        )
    if isinstance(data, NPY):
        return Parts(
            _npy_part(data.path, data.target_path),
            _if_both(_npy_part, data.validation_path, data.validation_target_path),
            _if_both(_npy_part, data.test_path, data.test_target_path),
            {},
        )
    X, y, X_test, y_test = (
        load_mnist(data.path) if isinstance(data, MNIST) and data.path else load_digits()
    )
    return Parts(Part(X, y), None, Part(X_test, y_test), {})


def read_part(
    path: Path, target_path: Path | None, config: Config, metadata: Mapping[str, Any]
) -> Part:
    """Return labelled rows from files other than the configuration's, to evaluate a model on.

    Parameters
    ----------
    path : Path
        A CSV, NPZ or NPY file, or a folder of IDX files, whose test part is meant.
    target_path : Path or None
        File of the targets, where `path` is an NPY file.
    config : Config
        Says what the columns or arrays are called.
    metadata : mapping
        The model's; see `Parts`.

    Raises
    ------
    DataError
        If a file does not hold what the model takes.
    OSError
        If a file can't be opened.
    """
    data = config.data
    if path.suffix == ".npy" or target_path is not None:
        if path.suffix != ".npy" or target_path is None:
            raise DataError(f"{path}: inputs in an NPY file need targets in another, and only they")
        return Part(load_npy(path), load_npy(target_path))
    if path.suffix == ".npz":
        X_name, y_name = (data.X, data.y) if isinstance(data, NPZ) else ("X", "y")
        return _npz_part(str(path), X_name, y_name)
    if path.suffix == ".csv":
        if not isinstance(data, CSV):
            raise DataError(
                f"{path}: the network was not trained on a CSV file, so the target's column is not "
                "known; give an NPZ file with arrays X and y"
            )
        names = metadata.get("features")
        table = _read_csv(str(path), data, config.dtype, names or data.features)
        return Part(table.X, _encoded(str(path), table, metadata.get("classes")))
    if path.is_dir():
        _, _, X, y = load_mnist(path)
        return Part(X, y)
    raise _unknown_kind(path, ".npz, .csv or .npy, or a folder of IDX files")


def read_inputs(path: Path, config: Config, metadata: Mapping[str, Any]) -> np.ndarray:
    """Return rows without targets, to predict from.

    Of a CSV file with a header the columns that the network was trained on are taken, by name. Of
    one without, all columns are, or, where there are more, those at the same places.

    Raises
    ------
    DataError
        If the file does not hold what the model takes.
    OSError
        If it can't be opened.
    """
    data = config.data
    if path.suffix == ".npy":
        return load_npy(path)
    if path.suffix == ".npz":
        X, _ = load_npz(path, data.X if isinstance(data, NPZ) else "X", None)
        return X
    if path.suffix != ".csv":
        raise _unknown_kind(path, ".npy, .npz or .csv")
    options: dict[str, Any] = {"dtype": config.dtype}
    if isinstance(data, CSV):
        options |= _csv_options(data)
        names = _columns(metadata["features"])
        if isinstance(names[0], str) or _width(path, data.delimiter) > len(names):
            options["features"] = names
    return load_csv(path, None, **options).X


def _unknown_kind(path: Path, kinds: str) -> DataError:
    if not path.exists():
        return DataError(f"{path}: there is no such file")
    return DataError(f"{path}: expected a name that ends in {kinds}")


def _if_both(read: Callable[[str, str], Part], X: str | None, y: str | None) -> Part | None:
    return None if X is None or y is None else read(X, y)


def _npz_part(path: str, X: str, y: str) -> Part:
    inputs, targets = load_npz(path, X, y)
    return Part(inputs, np.asarray(targets))


def _npy_part(path: str, target_path: str) -> Part:
    return Part(load_npy(path), load_npy(target_path))


# ---------------------------------------------------------------------------------------- CSV


def _load_csv(data: CSV, dtype: str) -> Parts:
    table = _read_csv(data.path, data, dtype, data.features)

    def further(path: str | None) -> Part | None:
        if path is None:
            return None
        other = _read_csv(path, data, dtype, list(table.feature_names))
        return Part(other.X, _encoded(path, other, table.classes))

    metadata: dict[str, Any] = {"features": list(table.feature_names)}
    if table.classes is not None:
        metadata["classes"] = list(table.classes)
    training = Part(table.X, np.asarray(table.y))
    return Parts(training, further(data.validation_path), further(data.test_path), metadata)


def _read_csv(path: str, data: CSV, dtype: str, features: Sequence[str | int] | None) -> CSVData:
    names = None if features is None else _columns(features)
    return load_csv(path, data.target, features=names, dtype=dtype, **_csv_options(data))


def _csv_options(data: CSV) -> dict[str, Any]:
    options: dict[str, Any] = {"header": data.header, "delimiter": data.delimiter}
    return options if data.missing is None else {**options, "missing": data.missing}


def _columns(features: Sequence[str | int]) -> list[str | int]:
    """Return names, or numbers if all are numbers, as they are where a file has no header."""
    if all(str(name).isdecimal() for name in features):
        return [int(name) for name in features]
    return list(features)


def _encoded(path: str, table: CSVData, classes: Sequence[str] | None) -> np.ndarray:
    """Return the targets with each class's text as its number in `classes`."""
    targets = np.asarray(table.y)
    if classes is None and table.classes is None:
        return targets
    found = table.classes or [str(value) for value in np.unique(targets).tolist()]
    if classes is None:
        raise DataError(
            f"{path}: expected numbers in the target {table.target_name!r}, as in the training "
            f"data; got text such as {found[0]!r}"
        )
    unknown = [text for text in found if text not in classes]
    if unknown:
        raise DataError(
            f"{path}: the target {table.target_name!r} holds {unknown[0]!r}, which is no class of "
            f"the training data; {suggest(unknown[0], classes)}"
        )
    numbers = np.array([list(classes).index(text) for text in found], dtype=np.int64)
    positions = targets if table.classes else np.unique(targets, return_inverse=True)[1]
    return numbers[positions]


def _width(path: Path, delimiter: str) -> int:
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        return len(next(csv.reader(file, delimiter=delimiter), []))
