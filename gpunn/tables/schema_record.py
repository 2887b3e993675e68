"""A schema in JSON types. Reading checks the record, since files may be untrusted."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any

from gpunn.configurable import check_choice
from gpunn.errors import ArgumentError
from gpunn.rows.formats import AMOUNT, DATE_FORMATS
from gpunn.tables.columns import Column
from gpunn.tables.encoders.boolean import BOOLEANS
from gpunn.tables.encoders.datetime import PARTS
from gpunn.tables.scaling import SCALINGS


@dataclass(frozen=True, kw_only=True)
class SchemaRecord:
    named: bool
    scaling: Annotated[str, partial(check_choice, choices=SCALINGS)]
    missing_values: list[str]
    columns: list[Column]


def record_of(column: Column) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(column).items()
    }


def check_column(column: Column, path: str) -> None:
    categories, parts = column.categories, column.parts
    if not column.name.strip():
        raise ArgumentError(f"{path}.name: expected a name; got {column.name!r}")
    if column.missing < 0:
        raise ArgumentError(f"{path}.missing: expected an integer >= 0; got {column.missing}")
    if categories != tuple(sorted(set(categories))):
        raise ArgumentError(
            f"{path}.categories: expected distinct strings in ascending order; got "
            f"{list(categories)!r:.80}"
        )
    if categories and column.kind not in ("category", "boolean"):
        raise ArgumentError(f"{path}.categories: a {column.kind} column has no categories")
    if column.kind == "boolean" and categories != BOOLEANS:
        raise ArgumentError(f"{path}.categories: expected 'False' and 'True'")
    if parts != tuple(part for part in PARTS if part in parts):
        raise ArgumentError(f"{path}.parts: expected some of {list(PARTS)}, in this order")
    if not is_format(column):
        raise ArgumentError(
            f"{path}.format: a {column.kind} column can't have the format {column.format!r:.40}"
        )
    if parts and column.kind != "datetime":
        raise ArgumentError(f"{path}.parts: a {column.kind} column has no parts")


def is_format(column: Column) -> bool:
    if not column.format or column.kind == "datetime":
        return column.format in ("", *DATE_FORMATS)
    amount = AMOUNT.fullmatch(column.format)
    is_zero = amount is not None and amount[3].rstrip() in ("0.0", "0,0")
    return column.kind == "number" and is_zero and column.unit != ""
