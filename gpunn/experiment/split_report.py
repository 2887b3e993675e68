"""What to say of how a table's rows were split into training, validation and test rows."""

from __future__ import annotations

import numpy as np

from gpunn.config import TableFile
from gpunn.experiment.keys import split_keys
from gpunn.experiment.parts import Parts
from gpunn.tables import Schema, Table
from gpunn.tables.cells import Markers
from gpunn.tables.findings import plural
from gpunn.tables.splitting import advice_on_splits

__all__ = ["described_split", "remarks_on_split"]

FAR = 0.5
"""By what part of a fraction the part of the rows may differ from it without a remark."""

SHOWN = 5
"""Most classes that a remark names."""


def described_split(data: TableFile, parts: Parts, schema: Schema) -> str:
    """Return by what rows were split, and what each part got; "" if they were split at random."""
    source = parts.training.source_inputs
    keys = split_keys(data, source)
    if keys is None:
        return ""
    assert isinstance(source, Table)
    said, cells = [], source.column(keys.column)
    for name, part in parts.by_name.items():
        if part.source_inputs is source and part.indices is not None:
            values = keys.values[part.indices]
            if keys.kind == "group":
                said.append(f"{plural(len(np.unique(values)), 'group')} for {name}")
            else:
                last = part.indices[values.argmax()]
                value = (
                    cells[last]
                    if isinstance(cells, np.ndarray)
                    else cells.values[cells.codes[last]]
                )
                said.append(f"{name} up to {value}")
    name = keys.column
    is_input = any(column.name == name and not column.dropped for column in schema.columns)
    used = f"an input; --drop {name} leaves it out" if is_input else "no input"
    return f"split by {keys.kind}: {', '.join(said)}; {name!r} is {used}"


def remarks_on_split(data: TableFile, parts: Parts, schema: Schema) -> list[str]:
    """Return what may be wrong with how rows were split, a line for each."""
    source, markers = parts.training.source_inputs, Markers.of(data.missing_values)
    assert isinstance(source, Table)
    drawn = data.validation_fraction or data.test_fraction
    if data.split is None:
        return advice_on_splits(source, schema.columns, markers) if drawn else []
    if data.split_by is None:
        return []
    remarks, left = [], len(source)
    for key, part in (("test_fraction", parts.test), ("validation_fraction", parts.validation)):
        fraction = getattr(data, key)
        if fraction and part is not None:
            if abs(part.rows / left - fraction) > FAR * fraction:
                remarks.append(
                    f"data.{key}: {part.rows / left:.0%} of the rows are held out, not "
                    f"{fraction:.0%}, since rows with equal values in {data.split_by[1]!r} stay "
                    "together"
                )
            left -= part.rows
    classes = parts.metadata.get("classes", [])
    found = set(np.unique(parts.training.targets()).tolist()) if classes else set()
    absent = [repr(name) for code, name in enumerate(classes) if code not in found]
    if absent:
        listed = ", ".join([*absent[:SHOWN], *(["..."] if len(absent) > SHOWN else [])])
        remarks.append(
            f"data.split: no training row has the class {listed}, so it can't be learned; all such "
            "rows are held out"
        )
    return remarks
