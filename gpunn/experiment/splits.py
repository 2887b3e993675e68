"""The training, validation and test splits of a data set."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from gpunn.config import DataSet
from gpunn.data.memory_maps import rows_of
from gpunn.data.splits import split_rows
from gpunn.errors import ArgumentError, ConfigError, DataError
from gpunn.experiment.split_keys import SplitKeys
from gpunn.experiment.targets import check_classes, codes_of_numbers, label_names, label_values
from gpunn.losses import Loss
from gpunn.tables import Table

Rows: TypeAlias = "np.ndarray | Table"
"""The inputs of a network: an array, or the raw table if the network has a schema."""


@dataclass(frozen=True)
class Split:
    """The rows of a data source that `indices` selects, or all rows. The source is not copied."""

    source_inputs: Rows
    source_targets: np.ndarray
    indices: np.ndarray | None = None

    @property
    def rows(self) -> int:
        return len(self.source_inputs) if self.indices is None else len(self.indices)

    def inputs(self, start: int = 0, stop: int | None = None) -> Rows:
        X, rows = self.source_inputs, slice(start, stop)
        if isinstance(X, Table):
            indices = np.arange(len(X)) if self.indices is None else self.indices
            return X.take(indices[rows])
        return X[rows] if self.indices is None else rows_of(X, self.indices[rows])

    def targets(self) -> np.ndarray:
        y = self.source_targets
        return y if self.indices is None else rows_of(y, self.indices)

    def fingerprint(self) -> list[int]:
        # Up to 1000 evenly spaced rows (16 MiB) show whether a file was replaced, and load fast.
        checksum = 0
        for source in (self.source_inputs, self.source_targets):
            bytes_a_row = 1
            if isinstance(source, np.ndarray):
                bytes_a_row = max(1, source.itemsize * math.prod(source.shape[1:]))
            count = min(self.rows, 1000, max(1, 2**24 // bytes_a_row))
            chosen = np.linspace(0, self.rows - 1, count).astype(np.int64)
            if self.indices is not None:
                chosen = self.indices[chosen]
            if isinstance(source, Table):
                content = source.take(chosen).content()
            else:
                content = rows_of(source, chosen).tobytes()
            checksum = zlib.crc32(content, checksum)
        return [self.rows, checksum]

    def take(self, rows: np.ndarray) -> Split:
        indices = rows if self.indices is None else self.indices[rows]
        return Split(self.source_inputs, self.source_targets, indices)


@dataclass(frozen=True)
class Splits:
    """The splits of a data set. Rows are split by `keys` or, if `keys` is None, at random.

    `metadata` is stored in the model, in JSON types:

    - "classes": the class names; classes that are numbers are stored as strings;
    - "header" and "features" of a CSV file: whether the file has a header, and the names of the
      columns (without a header, the indices of the columns);
    - "targets" of a table with several targets: their names;
    - "color", for a folder of images: the argument `color` of `gpunn.data.load_images`;
    - "reading" of a CSV file or table: how to read it; see `gpunn.data.csv_format.CsvFormat`.
    """

    training: Split
    validation: Split | None
    test: Split | None
    metadata: dict[str, Any]
    keys: SplitKeys | None = None

    @property
    def by_name(self) -> dict[str, Split]:
        named = {"training": self.training, "validation": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    def fingerprints(self) -> dict[str, list[int]]:
        # Test rows from a separate file may change without being training rows.
        return {name: it.fingerprint() for name, it in self.by_name.items() if name != "test"}

    def with_classes(self, loss: Loss, outputs: int) -> Splits:
        # For a CSV file, class indices replace the numbers that the loss treats as classes.
        if "classes" in self.metadata:
            check_classes(self.metadata["classes"], loss, outputs)
        if "header" not in self.metadata or "classes" in self.metadata:
            return self
        with DataError.instead_of(DataError, prefix="training "):
            values = label_values(self.training.source_targets, loss, outputs)
        if values is None:
            return self
        classes = label_names(values)
        check_classes(classes, loss, outputs)

        def numbered(name: str, split: Split) -> Split:
            y = codes_of_numbers(split.source_targets, classes, f"{name} y: the target")
            return Split(split.source_inputs, y)

        splits: dict[str, Any] = {name: numbered(name, it) for name, it in self.by_name.items()}
        return replace(self, metadata={**self.metadata, "classes": classes}, **splits)

    @property
    def sources(self) -> dict[str, Split]:
        """The splits that come from separate files or arrays, not from training rows."""
        source = self.training.source_inputs
        return {
            name: split
            for name, split in self.by_name.items()
            if split is self.training or split.source_inputs is not source
        }

    def split(self, config: DataSet, loss: Loss | None, outputs: int | None = None) -> Splits:
        # A table is divided before its network exists: then `outputs`, and perhaps `loss`, is None.
        if isinstance(self.training.source_inputs, Table):
            return self.divided(config, self._classes_of_table(loss))
        assert loss is not None
        assert outputs is not None
        splits = self.with_classes(loss, outputs)
        with DataError.instead_of(DataError, prefix="training "):
            targets = loss.check_targets(splits.training.source_targets, outputs)
        return splits.divided(config, loss.class_indices(targets))

    def _classes_of_table(self, loss: Loss | None) -> np.ndarray | None:
        y = self.training.source_targets
        if "classes" in self.metadata:
            return y
        return None if loss is None else loss.class_indices(y.reshape(len(y), -1))

    def divided(self, config: DataSet, classes: np.ndarray | None) -> Splits:
        # Call this once, before anything is learned. `classes` has the class of each row to divide.
        keys = self.keys

        def halves(split: Split, key: str, fraction: float) -> tuple[Split, Split]:
            chosen = classes if classes is None or split.indices is None else classes[split.indices]
            try:
                if keys is None:
                    kept, held = split_rows(split.rows, fraction, config.split_seed, chosen)
                else:
                    kept, held = keys.split(split.indices, fraction, config.split_seed, chosen)
            except ArgumentError as error:
                raise ConfigError(f"data.{key}: {error.problem}") from error
            except DataError as error:
                if keys is not None:
                    raise DataError(f"data.{key}: data.split = {keys.text!r}: {error}") from error
                assert chosen is not None  # a class is too rare
                codes, counts = np.unique(chosen, return_counts=True)
                rare = int(codes[counts.argmin()])
                names = self.metadata.get("classes")
                raise DataError(
                    f"data.{key}: the class {rare if names is None else names[rare]!r} has only "
                    "one row left, which cannot be in both splits; add rows, remove the class, or "
                    "put the splits into separate files"
                ) from error
            return split.take(kept), split.take(held)

        training, validation, test = self.training, self.validation, self.test
        if fraction := getattr(config, "test_fraction", 0.0):
            training, test = halves(training, "test_fraction", fraction)
        if fraction := config.validation_fraction:
            training, validation = halves(training, "validation_fraction", fraction)
        return replace(self, training=training, validation=validation, test=test)
