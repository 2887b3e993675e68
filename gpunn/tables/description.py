"""A schema in JSON types, checked as it is read: a file may come from a stranger."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from gpunn.errors import ArgumentError
from gpunn.tables.columns import Column, Kind
from gpunn.tables.kinds.datetime import PARTS

__all__ = ["ColumnRecord", "SchemaRecord", "column_of", "record_of"]


@dataclass(frozen=True, kw_only=True)
class ColumnRecord:
    """A column in JSON types; see `Column`."""

    name: str
    kind: Kind
    categories: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    missing: int = 0
    constant: bool = False
    dropped: bool = False
    doubtful: bool = False
    reported: str = ""


@dataclass(frozen=True, kw_only=True)
class SchemaRecord:
    """A schema in JSON types, without the arrays of its scaling."""

    named: bool
    scaling: Literal["robust", "quantile", "standard", "none"]
    missing_values: list[str]
    columns: list[ColumnRecord]


def record_of(column: Column) -> dict[str, Any]:
    """Return a column in JSON types."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(column).items()
    }


def column_of(record: ColumnRecord, path: str) -> Column:
    """Return the column of a record.

    Raises
    ------
    ArgumentError
        If there can't be such a column; the message begins with the path.
    """
    categories, parts = tuple(record.categories), tuple(record.parts)
    if not record.name.strip():
        raise ArgumentError(f"{path}.name: expected a name; got {record.name!r}")
    if record.missing < 0:
        raise ArgumentError(f"{path}.missing: expected a count; got {record.missing}")
    if categories != tuple(sorted(set(categories))):
        raise ArgumentError(f"{path}.categories: expected different texts, in ascending order")
    if categories and record.kind not in ("category", "boolean"):
        raise ArgumentError(f"{path}.categories: a {record.kind} has none")
    if record.kind == "boolean" and categories != ("False", "True"):
        raise ArgumentError(f"{path}.categories: expected 'False' and 'True'")
    if parts != tuple(part for part in PARTS if part in parts):
        raise ArgumentError(f"{path}.parts: expected some of {list(PARTS)}, in this order")
    if parts and record.kind != "datetime":
        raise ArgumentError(f"{path}.parts: a {record.kind} has none")
    return Column(
        name=record.name,
        kind=record.kind,
        categories=categories,
        parts=parts,
        missing=record.missing,
        constant=record.constant,
        dropped=record.dropped,
        doubtful=record.doubtful,
        reported=record.reported,
    )
