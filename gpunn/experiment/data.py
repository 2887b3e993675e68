"""The data that a configuration or a command names, as host arrays in parts."""

from __future__ import annotations

import csv
import logging
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.config import CSV, MNIST, NPY, NPZ, Config, DataSet
from gpunn.data import CSVData, load_csv, load_digits, load_mnist, load_npy, load_npz
from gpunn.data.csv import BoundedLines, open_table
from gpunn.data.mapped import rows_of
from gpunn.data.preprocessing import split_rows
from gpunn.errors import ArgumentError, ArgumentTypeError, ConfigError, DataError
from gpunn.experiment.labels import check_classes, label_names, label_values, positions
from gpunn.losses import Loss

__all__ = ["Parts", "load", "read_inputs", "read_part", "warn_of_constant_columns"]

LOG = logging.getLogger("gpunn")


@dataclass(frozen=True)
class Part:
    """Rows of a source; setting some aside copies none of them.

    Attributes
    ----------
    source_inputs, source_targets : ndarray
        Inputs and targets of the source, which may be memory maps.
    numbers : ndarray of int64 or None
        Which rows of the source are the part's; None is all of them.
    """

    source_inputs: np.ndarray
    source_targets: np.ndarray
    numbers: np.ndarray | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.source_inputs.shape[0]) if self.numbers is None else len(self.numbers)

    def inputs(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return the inputs of the part's rows `start:stop`, by default of all."""
        X, rows = self.source_inputs, slice(start, stop)
        return X[rows] if self.numbers is None else rows_of(X, self.numbers[rows])

    def targets(self) -> np.ndarray:
        """Return the targets of the part's rows."""
        y = self.source_targets
        return y if self.numbers is None else rows_of(y, self.numbers)

    def fingerprint(self) -> list[int]:
        """Return the number of rows, and a checksum (CRC-32) of some of them, evenly spaced.

        A thousand, or as many as 16 MiB hold: it is to notice that a file was replaced, and must
        not take long where a data set is larger than memory.
        """
        checksum = 0
        for array in (self.source_inputs, self.source_targets):
            bytes_a_row = max(1, array.itemsize * math.prod(array.shape[1:]))
            count = min(self.rows, 1000, max(1, 2**24 // bytes_a_row))
            chosen = np.linspace(0, self.rows - 1, count).astype(np.int64)
            if self.numbers is not None:
                chosen = self.numbers[chosen]
            checksum = zlib.crc32(rows_of(array, chosen).tobytes(), checksum)
        return [self.rows, checksum]

    def take(self, rows: np.ndarray) -> Part:
        """Return some of the rows, by their numbers in this part."""
        numbers = rows if self.numbers is None else self.numbers[rows]
        return Part(self.source_inputs, self.source_targets, numbers)

    def check_targets(self, name: str, loss: Loss, outputs: int) -> None:
        """Raise a DataError that names the part unless each row has a target the loss takes."""
        shapes = self.source_inputs.shape, self.source_targets.shape
        if shapes[0][:1] != shapes[1][:1]:
            raise DataError(
                f"{name} y: expected one target for each of the {shapes[0][0]} rows; got shape "
                f"{shapes[1]}"
            )
        try:
            loss.check_targets(self.source_targets, outputs)
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
        What a model must remember of the data: "classes", the names of text targets, or numbers as
        text where they name classes, and, of a CSV file, "header", whether it had one, and
        "features", the columns' names, or numbers if it had none. In JSON types.
    """

    training: Part
    validation: Part | None
    test: Part | None
    metadata: dict[str, Any]

    def split(self, config: DataSet, loss: Loss, outputs: int) -> Parts:
        """Check all targets and set rows aside as the configuration's fractions say.

        Where the loss makes classes of a CSV file's numbers, these become the classes' positions,
        and the classes are added to the metadata; see `gpunn.experiment.labels`.

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
        self = self._with_classes(loss, outputs)
        training, validation, test = self.training, self.validation, self.test
        classes: list[str] | None = self.metadata.get("classes")
        if classes is not None:
            check_classes(classes, loss, outputs)
        for name, part in (("training", training), ("validation", validation), ("test", test)):
            if part is not None:
                part.check_targets(name, loss, outputs)

        def divided(part: Part, key: str, fraction: float) -> tuple[Part, Part]:
            numbers = loss.class_indices(loss.check_targets(part.targets(), outputs))
            try:
                kept, held = split_rows(part.rows, fraction, config.split_seed, numbers)
            except ArgumentError as error:
                raise ConfigError(str(error).replace("fraction", f"data.{key}", 1)) from error
            except DataError as error:
                assert numbers is not None  # a class is too rare
                found, counts = np.unique(numbers, return_counts=True)
                rare = int(found[counts.argmin()])
                raise DataError(
                    f"data.{key}: the class {rare if classes is None else classes[rare]!r} has "
                    "only one row, which can't be in both parts; remove it, or put the parts into "
                    "files of their own"
                ) from error
            return part.take(kept), part.take(held)

        if test_fraction := getattr(config, "test_fraction", 0.0):
            training, test = divided(training, "test_fraction", test_fraction)
        if config.validation_fraction:
            training, validation = divided(
                training, "validation_fraction", config.validation_fraction
            )
        return Parts(training, validation, test, self.metadata)

    def _with_classes(self, loss: Loss, outputs: int) -> Parts:
        """Return the parts with numbers that name classes as the classes' positions."""
        if "header" not in self.metadata or "classes" in self.metadata:
            return self
        try:
            values = label_values(self.training.source_targets, loss, outputs)
        except DataError as error:
            raise DataError(f"training {error}") from error
        if values is None:
            return self
        classes = label_names(values)

        def numbered(name: str, part: Part) -> Part:
            found, places = np.unique(part.source_targets, return_inverse=True)
            place = f"{name} y: the target"
            y = positions(label_names(found), classes, place)[places]
            return Part(part.source_inputs, y)

        further = {
            name: None if part is None else numbered(name, part)
            for name, part in (("validation", self.validation), ("test", self.test))
        }
        metadata = {**self.metadata, "classes": classes}
        training = numbered("training", self.training)
        return Parts(training, further["validation"], further["test"], metadata)


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


def warn_of_constant_columns(data: DataSet, parts: Parts) -> None:
    """Warn of features that are the same in every training row, if there are several rows.

    Of a CSV file's, which have names, and before training alone: evaluating a run would repeat it.
    """
    X = parts.training.source_inputs
    if not isinstance(data, CSV) or len(X) < 2:
        return
    for number in np.flatnonzero((X[0] == X).all(axis=0)):
        name = parts.metadata["features"][number]
        LOG.warning("%s: column %r is the same in every row, so it tells nothing", data.path, name)


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
            if not path.exists():
                raise DataError(f"{path}: there is no such file")
            raise DataError(
                f"{path}: the network was not trained on a CSV file, so the target's column is not "
                "known; give an NPZ file with arrays X and y"
            )
        table = _read_csv(str(path), data, config.dtype, _columns(metadata))
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
        names = _columns(metadata)
        if metadata["header"] or _width(path, data.delimiter) > len(names):
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
    metadata: dict[str, Any] = {
        "header": table.has_header,
        "features": list(table.feature_names),
    }

    def further(path: str | None) -> Part | None:
        if path is None:
            return None
        other = _read_csv(path, data, dtype, _columns(metadata))
        return Part(other.X, _encoded(path, other, table.classes))

    if table.classes is not None:
        metadata["classes"] = list(table.classes)
    training = Part(table.X, np.asarray(table.y))
    return Parts(training, further(data.validation_path), further(data.test_path), metadata)


def _read_csv(path: str, data: CSV, dtype: str, features: Sequence[str | int] | None) -> CSVData:
    options = {"features": features, "dtype": dtype, **_csv_options(data)}
    try:
        return load_csv(path, data.target, **options)
    except (ArgumentError, ArgumentTypeError, DataError) as error:
        argument = str(error).partition(":")[0]
        configured = {"target", "header", "delimiter", "missing"}
        if features is data.features:
            configured.add("features")
        if argument in configured:
            raise ConfigError(f"data.{error}") from error
        raise


def _csv_options(data: CSV) -> dict[str, Any]:
    options: dict[str, Any] = {"header": data.header, "delimiter": data.delimiter}
    return options if data.missing is None else {**options, "missing": data.missing}


def _columns(metadata: Mapping[str, Any]) -> list[str | int]:
    """Return the columns that a network was trained on: names, or numbers without a header."""
    features: list[str] = metadata["features"]
    return list(features) if metadata["header"] else [int(number) for number in features]


def _encoded(path: str, table: CSVData, classes: Sequence[str] | None) -> np.ndarray:
    """Return the targets with each class's text as its number in `classes`."""
    targets = np.asarray(table.y)
    if classes is None and table.classes is None:
        return targets
    if table.classes is not None:
        found, places = list(table.classes), targets
    else:
        values, places = np.unique(targets, return_inverse=True)
        found = label_names(values)
    if classes is None:
        raise DataError(
            f"{path}: expected numbers in the target {table.target_name!r}, as in the training "
            f"data; got text such as {found[0]!r}"
        )
    numbers = positions(found, classes, f"{path}: the target {table.target_name!r}")
    return np.asarray(numbers[places])


def _width(path: Path, delimiter: str) -> int:
    """Return how many columns a file has, or 0 if it is not CSV."""
    with open_table(str(path), errors="replace") as file:
        rows = csv.reader(BoundedLines(path, file), delimiter=delimiter)
        try:
            return next((len(row) for row in rows if "".join(row).strip() or row[1:]), 0)
        except csv.Error:
            return 0
