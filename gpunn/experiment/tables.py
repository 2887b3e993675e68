"""Tables with text, dates and gaps: their files, and what is learned from the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpunn.config import TableFile
from gpunn.errors import ArgumentError, ArgumentTypeError, ConfigError
from gpunn.experiment.parts import Part, Parts
from gpunn.experiment.targets import check_target, learned_classes, targets_of
from gpunn.losses import Loss
from gpunn.tables import Schema, Table, read_table

__all__ = ["labelled_rows", "learned_schema", "load_table", "read_rows"]


def load_table(data: TableFile, loss: Loss | None) -> Parts:
    """Return the rows of a table as they were read, with their targets.

    Parameters
    ----------
    data : TableFile
    loss : Loss or None
        Tells whether targets are classes; see `learned_classes`.

    Raises
    ------
    ConfigError
        If an option of reading is impossible, or names a column that there is not.
    DataError
        If a file is damaged, or a target is missing or of the wrong kind.
    """
    table = read_rows(data.path, data)
    check_target(table, data)
    classes = learned_classes(table, data, loss)
    metadata: dict[str, Any] = {}
    if classes is not None:
        metadata["classes"] = classes
    if not isinstance(data.target, str):
        metadata["targets"] = data.targets

    def further(path: str | None) -> Part | None:
        return None if path is None else labelled_rows(path, data, classes, loss)

    training = Part(table, targets_of(table, data, classes, loss))
    return Parts(training, further(data.validation_path), further(data.test_path), metadata)


def labelled_rows(
    path: str, data: TableFile, classes: Sequence[str] | None, loss: Loss | None
) -> Part:
    """Return the rows of a further file, with targets among the classes of the training rows.

    Raises
    ------
    ConfigError, DataError
        As `load_table`.
    """
    table = read_rows(path, data)
    return Part(table, targets_of(table, data, classes, loss))


def read_rows(path: str, data: TableFile) -> Table:
    """Return a file's rows, with the cells of columns that are to be categories as text.

    Raises
    ------
    ConfigError
        If an option of reading is impossible.
    DataError
        If the file is damaged.
    OSError
        If it can't be opened.
    """
    options: dict[str, Any] = {
        "delimiter": data.delimiter,
        "decimal": data.decimal,
        "header": data.header,
        "missing_values": data.missing_values,
    }
    kinds = {} if data.columns == "auto" else data.columns
    try:
        table = read_table(path, **options)
        # Whoever says that numbers are categories means them as they are written: "007".
        text = [
            name
            for name, kind in kinds.items()
            if kind == "category" and name in table and isinstance(table.column(name), np.ndarray)
        ]
        return read_table(path, text=text, **options) if text else table
    except (ArgumentError, ArgumentTypeError) as error:
        raise ConfigError(f"data.{error}") from error


def learned_schema(data: TableFile, training: Part, scaling: str, seed: int) -> Schema:
    """Return what is learned from the training rows.

    Of the others in their file only the kinds of columns are, so that `gpunn inspect` finds the
    same, and none depends on how the rows are divided.

    Parameters
    ----------
    data : TableFile
    training : Part
    scaling : str
        Of numbers, where the configuration says "auto".
    seed : int

    Raises
    ------
    ConfigError
        If `data.columns` or `data.drop` names a column that there is not.
    DataError
        If a column is not of the given kind, or holds what it can't; the message says where.
    """
    rows = training.inputs()
    assert isinstance(rows, Table)
    kinds = {} if data.columns == "auto" else data.columns
    for name in data.targets:
        if name in kinds:
            raise ConfigError(f"data.columns.{name}: this column is the target")
    try:
        return Schema.fit(
            rows,
            columns=kinds,
            drop=[*data.drop, *data.targets],
            missing_values=data.missing_values,
            scaling=scaling if data.scaling == "auto" else data.scaling,
            seed=seed,
            every=training.source_inputs,
        )
    except (ArgumentError, ArgumentTypeError) as error:
        raise ConfigError(f"data.{error}") from error
