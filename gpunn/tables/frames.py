"""Tables from data frames and arrays of any library; gpunn requires none of these libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gpunn.data.checks import is_masked
from gpunn.errors import DataError
from gpunn.optional import require
from gpunn.tables.table import Cells, Coded, Table, dictionary_encoded


def table_of(frame: Any, title: str = "X") -> Table:
    """Return a data frame or array as a table.

    Parameters
    ----------
    frame : object
        A data frame of pandas, Polars or another library, or a pyarrow table. A NumPy array of
        numbers, text or objects with two axes, or a structured array with one axis. A dict of
        columns, a list of rows, or a list of dicts, one for each row.
    title : str
        Name of the table in messages.

    Returns
    -------
    Table
        A table that converts each column when it is first used. A `frame` that is a `Table` is
        returned unchanged.

    Raises
    ------
    DataError
        If `frame` has another type, if a name is empty or repeated, or if columns differ in length.

    Examples
    --------
    >>> table = gpunn.tables.table_of({"age": [31, None], "city": ["Oslo", "Rome"]})
    >>> table.names, table.rows
    (('age', 'city'), 2)
    """
    if isinstance(frame, Table):
        return frame
    if isinstance(frame, Mapping):
        return of_columns(names_of(frame, title), list(frame.values()), title)
    names = getattr(frame, "column_names", None)  # pyarrow's; its `columns` are arrays
    if names is None:
        names = getattr(frame, "columns", None)
    if names is not None and not callable(names):
        labels = list(names)
        # pandas' default labels 0, 1, ... are not names.
        named = labels != list(range(len(labels)))
        names = names_of(labels, title)
        rows = length(frame, title)
        return of_frame(names, lambda position: frame[labels[position]], rows, title, named)
    if isinstance(frame, Sequence) and not isinstance(frame, str):
        if frame and all(isinstance(row, Mapping) for row in frame):
            return of_records(frame, title)
        frame = of_rows(frame, title)
    if hasattr(frame, "__array__"):
        array = as_array(frame, title)
        if array.dtype.names is not None and array.ndim == 1:
            names = list(array.dtype.names)
            return of_columns(names, [array[name] for name in names], title)
        if array.ndim == 2:
            names = [str(number) for number in range(array.shape[1])]
            return of_columns(names, list(array.T), title, named=False, rows=len(array))
    shape = f" of shape {frame.shape}" if hasattr(frame, "shape") else ""
    raise DataError(
        f"{title}: expected a data frame, a dict of columns, a list of dicts, or an array (rows, "
        f"columns); got {type(frame).__name__}{shape}"
    )


def names_of(columns: Any, title: str) -> list[str]:
    names = [name if isinstance(name, str) else str(name) for name in columns]
    for position, name in enumerate(names):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{title}: UTF-8 can't encode the name of column {position}, counted from 0: "
                f"{name!r:.80}; rename the column"
            ) from None
    return names


def of_columns(
    names: list[str],
    columns: Sequence[Any],
    title: str,
    *,
    named: bool = True,
    rows: int | None = None,
) -> Table:
    if rows is None:
        lengths = [
            length(column, f"{title}: column {name!r}")
            for name, column in zip(names, columns, strict=True)
        ]
        rows = lengths[0] if names else 0
        for name, actual in zip(names, lengths, strict=True):
            if actual != rows:
                raise DataError(
                    f"{title}: column {names[0]!r} has {rows} rows, and column {name!r} has "
                    f"{actual}; expected columns of equal length"
                )
    return of_frame(names, columns.__getitem__, rows, title, named)


def of_frame(
    names: list[str], column: Callable[[int], Any], rows: int, title: str, named: bool
) -> Table:
    table: Table

    def read(position: int) -> Cells:
        return cells_of(column(position), table, names[position])

    table = Table(names, rows, read, named=named, title=title)
    return table


def length(rows: Any, location: str) -> int:
    try:
        return len(rows)
    except TypeError:
        raise DataError(
            f"{location}: expected rows with a length; got {rows!r:.80}; use a list"
        ) from None


def of_records(records: Sequence[Mapping[Any, Any]], title: str) -> Table:
    keys = list(dict.fromkeys(key for record in records for key in record))
    columns = [[record.get(key) for record in records] for key in keys]
    return of_columns(names_of(keys, title), columns, title)


def of_rows(rows: Sequence[Any], title: str) -> Any:
    """Return sequences of cells as a 2-D array of objects, and any other `rows` unchanged."""
    if not rows or isinstance(rows[0], str) or not isinstance(rows[0], (Sequence, np.ndarray)):
        return rows
    width = len(rows[0])
    for number, row in enumerate(rows):
        if not isinstance(row, (Sequence, np.ndarray)) or len(row) != width:
            raise DataError(
                f"{title}: row {number}: expected {width} cells, as in row 0; got {row!r:.80}"
            )
    array = np.empty((len(rows), width), object)
    for number, row in enumerate(rows):
        array[number] = row
    return array


def cells_of(column: Any, table: Table, name: str) -> Cells:
    location = f"{table.title}: column {name!r}"
    dtype = getattr(column, "dtype", None)
    # The most frequent types come first, since each question about a type takes time.
    if isinstance(dtype, np.dtype) and dtype.kind in "biufM":
        array = as_array(column, location)
        if array.ndim == 1 and not is_masked(array):
            return array
    elif str(dtype).startswith("str") and hasattr(column, "factorize"):  # pandas'
        codes, values = getattr(column, "array", column).factorize()
        return Coded(codes.astype(np.int32), np.asarray(values, object).tolist())
    coded = categories_of(column)
    if coded is not None:
        return coded.compact()
    column = local_times(column, location)
    if is_masked(column):
        column = np.ma.filled(column.astype(object), None)
    if isinstance(column, list) and not all(map(is_plain_number, column)):
        cells: list[Any] = column  # NumPy would convert all cells to one type
        return dictionary_encoded(cells, lambda row: table.place(name, row))
    array = as_array(column, location)
    if array.ndim != 1:
        raise DataError(f"{location}: expected one axis; got an array of shape {array.shape}")
    kind = array.dtype.kind
    if kind == "m":  # durations in seconds
        return np.where(np.isnat(array), np.nan, array / np.timedelta64(1, "s"))
    if kind in "biufM":
        return array
    if kind in "OUST":
        return dictionary_encoded(array.tolist(), lambda row: table.place(name, row))
    raise DataError(f"{location}: expected numbers, text or dates; got dtype {array.dtype}")


def local_times(column: Any, location: str) -> Any:
    # Dates in text are local times, but pyarrow and Polars convert dates to arrays in UTC, and
    # pandas converts them to objects with a time zone.
    if getattr(getattr(column, "type", None), "tz", None):  # pyarrow's
        compute = require(
            "pyarrow.compute", "reading dates with a time zone", "pip install pyarrow"
        )
        try:
            return compute.local_timestamp(column)
        except (ValueError, OSError) as error:  # as pyarrow's own errors are
            raise DataError(
                f"{location}: the time zone {column.type.tz!r} can't be read ({error}); convert "
                "the column to dates without a time zone"
            ) from error
    if getattr(getattr(column, "dtype", None), "time_zone", None):  # Polars'
        return column.dt.replace_time_zone(None)
    if str(getattr(column, "dtype", "")).startswith("period["):  # pandas', much faster than objects
        return getattr(column, "dt", column).to_timestamp()
    return column


def as_array(values: Any, location: str) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values  # a masked array stays masked
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{location}: NumPy can't convert a {type(values).__name__} ({error}); pass a NumPy "
            "array instead. If the data is on a GPU, first copy it to the host"
        ) from None


def is_plain_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and -(2**63) <= value < 2**63)


def categories_of(column: Any) -> Coded | None:
    if hasattr(column, "dictionary_encode"):  # pyarrow's
        kind = str(column.type)
        if not kind.startswith(("string", "large_string", "dictionary")):
            return None
        encoded = column.dictionary_encode()
        if hasattr(encoded, "combine_chunks"):
            encoded = encoded.unify_dictionaries().combine_chunks()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return Coded(codes, encoded.dictionary.to_pylist(), kind.startswith("dictionary"))
    kind = str(getattr(column, "dtype", ""))
    if kind == "category":  # pandas'
        source = getattr(column, "cat", column)  # a Series has `cat`
        return Coded(np.asarray(source.codes), list(source.categories), True)
    if kind.startswith(("Categorical", "Enum")):  # Polars'
        coded = dictionary_encoded(column.to_list(), str)
        return replace(coded, categorical=True)
    return None
