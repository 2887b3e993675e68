"""Describes how a table's rows were split, and warns about likely mistakes."""

import numpy as np

from gpunn.config import SplitDataSet, TableFile
from gpunn.errors import DataError
from gpunn.experiment.splits import Splits
from gpunn.meaning import plural
from gpunn.rows.cells import Markers
from gpunn.tables import Schema, Table
from gpunn.tables.splitting import advice_on_splits, rows_in_common

FAR = 0.5
"""Maximum difference between held-out and requested fraction, relative to the latter."""

SHOWN = 5


def described_split(splits: Splits, schema: Schema | None) -> str:
    source, keys = splits.training.source_inputs, splits.keys
    if keys is None:
        return ""
    described = []
    for name, split in splits.by_name.items():
        if split.source_inputs is source and split.indices is not None:
            if keys.kind == "time":
                described.append(f"{name} up to {keys.last(split.indices)}")
            else:
                count = len(np.unique(keys.values[split.indices]))
                described.append(f"{plural(count, 'group')} for {name}")
    return f"split by {keys.kind}: {', '.join(described)}; {as_input(keys.column, splits, schema)}"


def as_input(column: str, splits: Splits, schema: Schema | None) -> str:
    if schema is None:
        return (
            f"{column!r} is {'an' if column in splits.metadata.get('features', ()) else 'not an'} "
            "input"
        )
    if any(each.name == column and not each.dropped for each in schema.columns):
        return f"{column!r} is an input; to leave it out, use --drop {column}"
    return f"{column!r} is not an input"


def remarks_on_split(data: SplitDataSet, splits: Splits, schema: Schema | None) -> list[str]:
    source = splits.training.source_inputs
    drawn = data.validation_fraction or data.test_fraction
    if drawn and data.split is None and isinstance(data, TableFile) and schema is not None:
        assert isinstance(source, Table)
        return advice_on_splits(source, schema.columns, Markers.of(data.missing_values))
    if splits.keys is None:
        return []
    remarks, left = [], len(source)
    for key, split in (("test_fraction", splits.test), ("validation_fraction", splits.validation)):
        fraction = getattr(data, key)
        if fraction and split is not None:
            if abs(split.rows / left - fraction) > FAR * fraction:
                remarks.append(
                    f"data.{key}: {split.rows / left:.0%} of the rows are held out, not "
                    f"{fraction:.0%}, because rows with equal values in {splits.keys.column!r} "
                    "stay together"
                )
            left -= split.rows
    classes = splits.metadata.get("classes", [])
    present = set(np.unique(splits.training.targets()).tolist()) if classes else set()
    absent = [repr(name) for code, name in enumerate(classes) if code not in present]
    if absent:
        listed = ", ".join([*absent[:SHOWN], *(["..."] if len(absent) > SHOWN else [])])
        remarks.append(
            "data.split: the network cannot learn classes without training rows: "
            f"{listed}; all rows of these classes are held out"
        )
    return [*remarks, *remarks_on_files(data, splits)]


def remarks_on_files(data: SplitDataSet, splits: Splits) -> list[str]:
    source, keys, remarks = splits.training.source_inputs, splits.keys, []
    for name, split in splits.sources.items():
        rows = split.source_inputs
        if rows is source or keys is None or not (isinstance(rows, Table) and keys.column in rows):
            continue
        assert isinstance(source, Table)
        assert isinstance(data, TableFile)
        try:
            markers, chosen = Markers.of(data.missing_values), data.kinds.get(keys.column, "")
            count = rows_in_common(source, rows, keys.kind, keys.column, markers, chosen)
        except DataError:  # the column is of another kind there
            continue
        if count:
            why = {
                "time": "is not later than the latest row of data.path",
                "group": "has a group that also occurs in data.path",
            }
            remarks.append(
                f"data.{name}_path: in {plural(count, 'row')}, column {keys.column!r} "
                f"{why[keys.kind]}, so information about such rows may have leaked into training"
            )
    return remarks
