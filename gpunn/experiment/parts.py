"""The parts of a data set: what is trained on, validated on and tested on."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from gpunn.config import DataSet
from gpunn.data.memory_maps import rows_of
from gpunn.data.preprocessing import split_rows
from gpunn.errors import ArgumentError, ConfigError, DataError
from gpunn.experiment.keys import SplitKeys
from gpunn.experiment.targets import check_classes, codes_of_numbers, label_names, label_values
from gpunn.losses import Loss
from gpunn.tables import Table

__all__ = ["Part", "Parts", "Rows"]

Rows: TypeAlias = "np.ndarray | Table"
"""Inputs: an array, or a table as it was read, which a network with a schema takes."""


@dataclass(frozen=True)
class Part:
    """Rows of a source, `indices` or all; holding some out copies none of them.

    Arrays may be memory maps.
    """

    source_inputs: Rows
    source_targets: np.ndarray
    indices: np.ndarray | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.source_inputs) if self.indices is None else len(self.indices)

    def inputs(self, start: int = 0, stop: int | None = None) -> Rows:
        """Return the inputs of the part's rows `start:stop`, by default of all."""
        X, rows = self.source_inputs, slice(start, stop)
        if isinstance(X, Table):
            indices = np.arange(len(X)) if self.indices is None else self.indices
            return X.take(indices[rows])
        return X[rows] if self.indices is None else rows_of(X, self.indices[rows])

    def targets(self) -> np.ndarray:
        """Return the targets of the part's rows."""
        y = self.source_targets
        return y if self.indices is None else rows_of(y, self.indices)

    def fingerprint(self) -> list[int]:
        """Return the number of rows, and a checksum (CRC-32) of some of them, evenly spaced.

        A thousand, or as many as 16 MiB hold: it is to notice that a file was replaced, and must
        not take long where a data set is larger than memory.
        """
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

    def take(self, rows: np.ndarray) -> Part:
        """Return some of the rows, by their indices in this part."""
        indices = rows if self.indices is None else self.indices[rows]
        return Part(self.source_inputs, self.source_targets, indices)


@dataclass(frozen=True)
class Parts:
    """A data set: its parts, and by what rows of the training source are split (None: at random).

    `metadata` is what a model must remember of the data: "classes", the names of text targets, or
    numbers as text where they name classes; of a CSV file, "header", whether it had one, and
    "features", the columns' names, or numbers if it had none; of a table, "targets", the names of
    several; of both "reading", as `gpunn.data.csv_format.Reading` has it. In JSON types.
    """

    training: Part
    validation: Part | None
    test: Part | None
    metadata: dict[str, Any]
    keys: SplitKeys | None = None

    @property
    def by_name(self) -> dict[str, Part]:
        """The parts that there are: "training", "validation" and "test"."""
        named = {"training": self.training, "validation": self.validation, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}

    def with_classes(self, loss: Loss, outputs: int) -> Parts:
        """Return the parts with each class as its number, where the targets are classes.

        Where the loss makes classes of a CSV file's numbers, these become the classes' positions,
        and the classes are added to the metadata; see `gpunn.experiment.targets`. If the loss can't
        tell the classes apart on so many outputs, it raises a ConfigError; if a part has others
        than the training rows, a DataError.
        """
        if "classes" in self.metadata:
            check_classes(self.metadata["classes"], loss, outputs)
        if "header" not in self.metadata or "classes" in self.metadata:
            return self
        try:
            values = label_values(self.training.source_targets, loss, outputs)
        except DataError as error:
            raise DataError(f"training {error}") from error
        if values is None:
            return self
        classes = label_names(values)
        check_classes(classes, loss, outputs)

        def numbered(name: str, part: Part) -> Part:
            y = codes_of_numbers(part.source_targets, classes, f"{name} y: the target")
            return Part(part.source_inputs, y)

        parts: dict[str, Any] = {name: numbered(name, it) for name, it in self.by_name.items()}
        return replace(self, metadata={**self.metadata, "classes": classes}, **parts)

    @property
    def sources(self) -> dict[str, Part]:
        """The parts that are read from rows of their own, whichever of these are held out."""
        own = self.training.source_inputs
        return {
            name: part
            for name, part in self.by_name.items()
            if part is self.training or part.source_inputs is not own
        }

    def split(self, config: DataSet, loss: Loss | None, outputs: int | None = None) -> Parts:
        """Number the classes and hold rows out: `with_classes`, then `divided`.

        A table needs neither a loss, if the network is to choose it, nor outputs: its rows are
        divided before there is a network, whose schema is learned from those to train on.
        """
        if isinstance(self.training.source_inputs, Table):
            return self.divided(config, self._classes_of_table(loss))
        assert loss is not None
        assert outputs is not None
        parts = self.with_classes(loss, outputs)
        try:
            targets = loss.check_targets(parts.training.source_targets, outputs)
        except DataError as error:
            raise DataError(f"training {error}") from error
        return parts.divided(config, loss.class_indices(targets))

    def _classes_of_table(self, loss: Loss | None) -> np.ndarray | None:
        """Return the class of each row of a table, or None if the targets are no classes."""
        y = self.training.source_targets
        if "classes" in self.metadata:
            return y
        return None if loss is None else loss.class_indices(y.reshape(len(y), -1))

    def divided(self, config: DataSet, classes: np.ndarray | None) -> Parts:
        """Hold rows out as the configuration's fractions say, each class in its proportion.

        Which rows are held out is decided here and nowhere else, once for each command, and before
        anything is learned from the rows that are left. `classes` has the class of each row of the
        training source. If a class has too few rows to be in both parts, it raises a DataError; if
        a fraction leaves no rows, a ConfigError.
        """
        keys = self.keys

        def halves(part: Part, key: str, fraction: float) -> tuple[Part, Part]:
            chosen = classes if classes is None or part.indices is None else classes[part.indices]
            try:
                if keys is None:
                    kept, held = split_rows(part.rows, fraction, config.split_seed, chosen)
                else:
                    kept, held = keys.split(part.indices, fraction, config.split_seed, chosen)
            except ArgumentError as error:
                raise ConfigError(f"data.{key}: {error.problem}") from error
            except DataError as error:
                if keys is not None:
                    raise DataError(f"data.{key}: data.split = {keys.text!r}: {error}") from error
                assert chosen is not None  # a class is too rare
                found, counts = np.unique(chosen, return_counts=True)
                rare = int(found[counts.argmin()])
                names = self.metadata.get("classes")
                raise DataError(
                    f"data.{key}: the class {rare if names is None else names[rare]!r} has only "
                    "one row, which can't be in both parts; remove it, or put the parts into "
                    "files of their own"
                ) from error
            return part.take(kept), part.take(held)

        training, validation, test = self.training, self.validation, self.test
        if fraction := getattr(config, "test_fraction", 0.0):
            training, test = halves(training, "test_fraction", fraction)
        if fraction := config.validation_fraction:
            training, validation = halves(training, "validation_fraction", fraction)
        return replace(self, training=training, validation=validation, test=test)
