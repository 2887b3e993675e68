"""Loads tables with text, dates and missing values, and learns their schema."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpunn.config import Config, TableFile
from gpunn.errors import ArgumentError, ArgumentTypeError, ConfigError, DataError, suggest
from gpunn.experiment.metadata import reading_of
from gpunn.experiment.split_keys import split_keys
from gpunn.experiment.splits import Split, Splits
from gpunn.experiment.targets import TableTargets
from gpunn.losses import Loss
from gpunn.network import schema_of
from gpunn.storage.models import final_model, read_model
from gpunn.tables import Schema, Table
from gpunn.tables.files import table_in_file

LOG = logging.getLogger("gpunn")


def load_table(data: TableFile, loss: Loss | None) -> Splits:
    table = read_rows(data.path, data)
    targets = TableTargets(table, data)
    classes = targets.classes(loss)
    metadata: dict[str, Any] = reading_of(data).metadata()
    if classes is not None:
        metadata["classes"] = classes
    if not isinstance(data.target, str):
        metadata["targets"] = data.targets

    def further(path: str | None) -> Split | None:
        return None if path is None else labeled_rows(path, data, classes, loss)

    training = Split(table, targets.encoded(classes, loss))
    if classes is None:
        targets.check_variation(training.source_targets)
    validation, test = further(data.validation_path), further(data.test_path)
    keys = split_keys(data, table, data.missing_values, data.kinds)
    return Splits(training, validation, test, metadata, keys)


def labeled_rows(
    path: str, data: TableFile, classes: Sequence[str] | None, loss: Loss | None
) -> Split:
    table = read_rows(path, data)
    return Split(table, TableTargets(table, data).encoded(classes, loss))


def schema_to_start_from(path: str, data: TableFile, table: Table) -> Schema:
    file = Path(path)
    file = final_model(file) if file.is_dir() else file
    schema = schema_of(read_model(file)[0])
    if schema is None:
        raise ConfigError(
            f"model.start_from: the network of {path} was not trained on a table; choose another "
            "network"
        )
    used = [column for column in schema.columns if not column.dropped]
    kinds = {column.name: (column.kind, column.format) for column in used}
    for key, names in (("target", data.targets), ("drop", data.drop)):
        for name in names:
            if name in kinds:
                raise ConfigError(
                    f"data.{key}: column {name!r} is an input of the network {path} "
                    f"(model.start_from); remove the column from data.{key}"
                )
    for name, kind in data.kinds.items():
        if kind not in kinds.get(name, (kind,)):
            raise ConfigError(
                f"data.columns.{name}: got {kind!r}, but the network {path} (model.start_from) "
                f"reads this column as a {kinds[name][0]}; remove the key"
            )
    if data.scaling not in ("auto", schema.scaling.name):
        raise ConfigError(
            f"data.scaling: the network {path} (model.start_from) has the scaling "
            f"{schema.scaling.name!r}; remove the key"
        )
    missing = [name for name in kinds if name not in table]
    if missing and schema.named:
        raise DataError(
            f"{table.title}: there is no column {missing[0]!r}, an input of the network {path} "
            f"(model.start_from); {suggest(missing[0], table.names)}"
        )
    unknown = [n for n in table.names if n not in {*kinds, *data.left_out}]
    dropped = [column.name for column in schema.columns if column.dropped]
    for name in unknown:
        if name not in dropped:
            LOG.warning(
                "%s: column %r is not used: the network in model.start_from has no such input",
                table.title,
                name,
            )
    return schema


def read_rows(path: str, data: TableFile) -> Table:
    # Columns declared as categories keep their spelling, such as "007".
    text = [name for name, kind in data.kinds.items() if kind == "category"]
    with ConfigError.instead_of(ArgumentError, ArgumentTypeError, prefix="data."):
        return table_in_file(
            path, data.delimiter, data.decimal, data.header, text, data.missing_values
        )


def learned_schema(config: Config, data: TableFile, training: Split, scaling: str) -> Schema:
    # `scaling` replaces "auto" in `data.scaling`. The kinds of columns are learned from all rows of
    # the file, so they do not depend on the split.
    every = training.source_inputs
    assert isinstance(every, Table)
    if config.model.start_from is not None:
        return schema_to_start_from(config.model.start_from, data, every)
    for name in data.targets:
        if name in data.kinds:
            raise ConfigError(f"data.columns.{name}: this column is the target; remove the key")
    rows = training.inputs()
    assert isinstance(rows, Table)
    with ConfigError.instead_of(ArgumentError, ArgumentTypeError, prefix="data."):
        schema = Schema.fit(
            rows,
            columns=data.kinds,
            drop=data.left_out,
            missing_values=data.missing_values,
            scaling=scaling if data.scaling == "auto" else data.scaling,
            every=every,
        )
    for problem in schema.problems:
        LOG.warning("%s: column %s", data.path, problem)
    for name in data.targets:
        if name in every.doubts:
            LOG.warning("%s: target %s: %s", data.path, name, every.doubts[name])
    return schema
