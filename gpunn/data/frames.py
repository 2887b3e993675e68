"""Columns of data frames of any library (gpunn imports none): their names, order and types."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpunn.errors import DataError
from gpunn.meaning import shown


def column_names(table: Any) -> list[str] | None:
    names = getattr(table, "column_names", None)  # of pyarrow, whose `columns` are arrays
    if names is None:
        names = getattr(table, "columns", None)
    if names is None:
        return None
    try:
        listed = list(names)
    except TypeError:
        return None
    named = bool(listed) and all(isinstance(name, str) for name in listed)
    return [str(name) for name in listed] if named else None


def order_of(names: list[str] | None, known: list[str] | None, argument: str) -> list[int] | None:
    # Columns without names keep their order. If names are missing or unknown, raise a DataError
    # that lists them and calls the data `argument`.
    if names is None or known is None or names == known:
        return None
    if problem := difference(names, known):
        raise DataError(f"{argument}: the network was trained on other columns: {problem}")
    return [names.index(name) for name in known]


def difference(names: Sequence[str], known: Sequence[str]) -> str:
    present, wanted = Counter(names), Counter(known)
    twice = [name for name, count in (present | wanted).items() if count > 1]
    missing, unknown = list(wanted - present), list(present - wanted)
    parts = []
    if missing:
        parts.append(f"missing: {shown(missing)}")
    if unknown:
        parts.append(f"unknown: {shown(unknown)}")
    if twice and not parts:
        parts.append(
            f"several columns are named {shown(twice)}, so all columns must be in the same order"
        )
    return "; ".join(parts)


def numbers_of(table: Any) -> np.ndarray | None:
    # If the whole frame were converted, pandas would turn columns without a common dtype, such as
    # numbers and Booleans, into Python objects.
    columns = [*arrays_of(table).values()]
    real = all(column.ndim == 1 and column.dtype.kind in "buif" for column in columns)
    return np.column_stack(columns) if columns and real else None


def arrays_of(table: Any) -> dict[str, np.ndarray]:
    try:
        return {name: np.asarray(table[name]) for name in column_names(table) or []}
    except Exception:  # a library whose frames can't be indexed by column name
        return {}


def non_numeric_columns(table: Any) -> list[str]:
    descriptions = []
    for name, column in arrays_of(table).items():
        if column.ndim != 1 or column.dtype.kind in "buif":
            continue
        values = column.tolist() if column.dtype == object else column[:1].tolist()
        others = (value for value in values if not isinstance(value, (bool, int, float)))
        example = f"{name!r:.60} (such as {next(others, values[0])!r:.60})" if values else name
        descriptions.append(example)
    return descriptions
