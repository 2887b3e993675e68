"""The schema of a table: its columns, and how a row is encoded as numbers."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Self

import numpy as np

from gpunn.backends.thread_count import default_threads, requested_threads
from gpunn.configurable import check_choice, check_strings
from gpunn.errors import ArgumentError, ArgumentTypeError, DataError
from gpunn.meaning import plural
from gpunn.rows.cells import Markers
from gpunn.rows.csv_rows import missing_columns
from gpunn.rows.formats import DATE_FORMATS
from gpunn.schema import typed
from gpunn.tables.columns import Column, ColumnType, EncodedCategory
from gpunn.tables.encoders import KINDS, Encoded, Rows, features_of, scaled_features
from gpunn.tables.features import Feature, distinct
from gpunn.tables.formats import in_format, reading_of, standard_cells
from gpunn.tables.frames import table_of
from gpunn.tables.scaling import SCALINGS, Scaling
from gpunn.tables.schema_record import SchemaRecord, check_column, record_of
from gpunn.tables.table import Table
from gpunn.tables.unseen_values import UnseenValues

LARGEST_CODE = {"float32": 2**24, "float64": 2**53}
"""For each dtype, the integer up to which it can represent every integer exactly."""

CELLS = 100_000
"""Cells of a block of columns, so that threads can encode a large table's blocks."""


DEFINING = ("columns", "scaling", "missing_values", "named")
"""The attributes that pickles contain; all other attributes are computed from these attributes."""


class Schema:
    """The columns of a table, and what gpunn learned from the table's training rows.

    A schema encodes rows with text, dates and missing values as a matrix of finite numbers. The
    matrix has these columns, in this order:

    * numbers, scaled; a missing number is replaced by the median of the training rows
    * year, month, day, day of the week and hour of dates, scaled in the same way as numbers. A part
      that is constant in the training rows has no column
    * sine and cosine of 2 * pi * part / period for month, day of the week and hour. The period is
      a year, a week or a day, so December is near January
    * for each column of numbers or dates with missing values in training: 1 if missing, else 0
    * categories and Booleans: codes 1, 2, ... in the order of `Column.categories`; 0 for a
      missing or unknown category

    Use `Schema.fit` to create a schema. Schemas are immutable.

    Parameters
    ----------
    columns : sequence of Column
        All columns of the training rows, in their order, including dropped columns.
    scaling : Scaling
        The scaling of numbers. Entry i of its arrays is for column i of the matrix.
    missing_values : sequence of str
        Strings that mean a missing value, besides "", "NA", "NaN" and similar strings.
    named : bool
        Whether the training rows had column names. If not, columns are matched by their order.

    Attributes
    ----------
    columns, scaling, missing_values, named : tuple of Column, Scaling, tuple of str, bool
        The arguments.
    numbers : list of str
        Names of the matrix's number columns.
    categories : list of EncodedCategory
        Names and sizes of the matrix's code columns, which follow the numbers.

    See Also
    --------
    gpunn.Sequential : Accepts tables if the attribute `schema` is set.

    Examples
    --------
    >>> people = {"age": [31, 45, None, 28], "city": ["Oslo", "Rome", "Oslo", "?"]}
    >>> schema = gpunn.tables.Schema.fit(people)
    >>> schema
    <Schema: 2 columns -> 2 numbers, 1 category>
    >>> schema.names
    ['age', 'age (missing)', 'city']
    >>> print(schema.encode({"city": ["Rome", "Oslo"], "age": [31, None]}))
    [[0. 0. 2.]
     [0. 1. 1.]]
    """

    def __init__(
        self,
        columns: Sequence[Column],
        scaling: Scaling,
        missing_values: Sequence[str] = (),
        named: bool = True,
    ) -> None:
        self.columns = tuple(columns)
        self.scaling = scaling
        self.missing_values = tuple(missing_values)
        self.named = named
        self._markers = Markers.of(missing_values)
        every = features_of(self.columns)
        names = distinct([feature.name for feature in every])
        coded_columns = [column for column in self.columns if column.is_category]
        count = len(every) - len(coded_columns)
        self.numbers: list[str] = names[:count]
        self.categories: list[EncodedCategory] = [
            EncodedCategory(name, len(column.categories) + 1)
            for name, column in zip(names[count:], coded_columns, strict=True)
        ]
        self._feature_indices = {feature: number for number, feature in enumerate(every)}

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in DEFINING}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**{name: state[name] for name in DEFINING})  # type: ignore[misc]

    @classmethod
    def fit(
        cls,
        frame: Any,
        *,
        columns: Mapping[str, str] | None = None,
        drop: Sequence[str] = (),
        missing_values: Sequence[str] = (),
        scaling: str = "robust",
        every: Any = None,
    ) -> Self:
        """Learn a schema from training rows.

        Parameters
        ----------
        frame : data frame, array, dict or list
            The training rows, of any type that `gpunn.tables.table_of` accepts.
        columns : mapping of str to str or None
            Kinds of columns: "number", "category", "boolean" or "datetime"; "day/month/year" or
            "month/day/year" for dates that are written in this order; "hour:minute" for times of
            day. The kinds of other columns are detected. A text column contains numbers (or dates,
            or times) if every value in it is a number (or a date, or a time). All numbers may have
            the same unit, such as "12 kg" or "$1,200". Other text columns are categories, but are
            dropped if all values differ. A column that contains a code, such as "007" (digits after
            a leading zero), is a category.
        drop : sequence of str
            Columns to leave out, such as the target.
        missing_values : sequence of str
            Further strings that mean a missing value, in upper or lower case. Numbers such as
            "-999" match in any spelling. The following strings always mean a missing value: "",
            "NA", "N/A", "#N/A", "<NA>", "NaN", "NaT", "null" and "?".
        scaling : {"robust", "quantile", "standard", "none"}
            How numbers are scaled; see `gpunn.tables.scaling`.
        every : data frame, array, dict, list or None
            The training rows and all held-out rows. All of these rows decide whether a column
            contains numbers, dates, categories or an identifier. Nothing else is learned from
            held-out rows. None means that no rows are held out.

        Returns
        -------
        Schema
            The learned schema.

        Raises
        ------
        DataError
            If there are no rows, or a column name is empty or repeated. The error is also raised if
            a number is infinite, a column is not of the given kind, or every column is dropped. The
            message names the location.
        ArgumentError, ArgumentTypeError
            If an argument is invalid, or names a column that does not exist.

        Examples
        --------
        >>> rows = {"age": [31, 45, None], "name": ["Ada", "Bo", "Cy"], "paid": [0, 1, 1]}
        >>> schema = gpunn.tables.Schema.fit(rows, columns={"name": "category"}, drop=["paid"])
        >>> schema.names
        ['age', 'age (missing)', 'name']
        """
        check_choice("scaling", scaling, SCALINGS)
        missing_values = check_strings("missing_values", missing_values)
        table = table_of(frame)
        all_rows = table if every is None else table_of(every)
        kinds = checked_kinds(columns, table)
        dropped = set(check_strings("drop", drop))
        known = dict.fromkeys(table.names)
        for name in sorted(dropped):
            check_choice("drop", name, known, "column")
        if table.rows == 0:
            raise DataError(f"{table.title}: expected at least one row; got none")
        markers = Markers.of(missing_values)
        fitted: list[Column] = []
        scaled: dict[Feature, np.ndarray] = {}
        for name in table.names:
            if name in dropped:
                fitted.append(Column(name=name, kind="number", dropped=True, reported=ON_REQUEST))
                continue
            reading = reading_of(all_rows.column(name), markers, kinds.get(name))
            rows, every_row = (
                in_format(each, name, reading, markers) for each in (table, all_rows)
            )
            column, numbers = KINDS[reading.kind].learn(
                Rows(rows, name, markers, every_row, name in kinds)
            )
            fitted.append(replace(column, format=reading.form))
            scaled.update({Feature(name, aspect): each for aspect, each in numbers.items()})
        if all(column.dropped for column in fitted):
            reasons = [
                f"{column.name!r:.40} is {column.reported}"
                for column in fitted
                if column.reported != ON_REQUEST
            ]
            why = "; ".join(reasons[:5]) or "All columns are targets, or dropped on request"
            raise DataError(f"{table.title}: no column is left to predict from. {why}")
        learned = SCALINGS[scaling].fit(
            [scaled[feature] for feature in scaled_features(fitted)],
            table.rows,
        )
        return cls(fitted, learned, missing_values, table.named)

    @property
    def parts(self) -> tuple[Schema, ...]:
        """The schemas whose matrices form this schema's matrix; by default, only this schema."""
        return (self,)

    @property
    def width(self) -> int:
        """Number of columns of the matrix that `encode` returns."""
        return len(self.numbers) + len(self.categories)

    @property
    def names(self) -> list[str]:
        """Names of the matrix's columns."""
        return [*self.numbers, *(category.name for category in self.categories)]

    def encode(self, frame: Any, dtype: str = "float32", title: str = "X") -> np.ndarray:
        """Return rows as a matrix of finite numbers.

        Columns are matched by name, in any order; unknown and dropped columns are ignored. If these
        rows or the training rows have no column names, the columns must be the columns of the
        training rows, in the same order.

        Parameters
        ----------
        frame : data frame, array, dict or list
            The rows, of any type that `fit` accepts. Numbers may also be strings.
        dtype : {"float32", "float64"}
            Dtype of the matrix.
        title : str
            Name of the rows in messages, for rows that are not from a file.

        Returns
        -------
        ndarray, shape (rows, width)
            The matrix, whose number columns come before its code columns.

        Raises
        ------
        DataError
            If a column is missing, if a cell is not a number or date as expected, or if a number is
            infinite. For a cell, the message names the location; for a missing column, it names the
            most similar column.

        Warns
        -----
        UnknownCategoryWarning
            If categories or units are unseen in training.
        GpunnWarning
            If values are missing in columns that had no missing values in training.
        """
        table = table_of(frame, title)
        matrix, unseen = self.encode_with_unseen(table, dtype)
        unseen.warn(table)
        return matrix

    def encode_with_unseen(
        self, frame: Any, dtype: str = "float32"
    ) -> tuple[np.ndarray, UnseenValues]:
        """Return the matrix that `encode` returns, and the values that `encode` warns about.

        Parameters
        ----------
        frame : data frame, array, dict or list
            As for `encode`.
        dtype : {"float32", "float64"}
            Dtype of the matrix.

        Returns
        -------
        matrix : ndarray of shape (rows, width)
            Finite numbers.
        unseen : UnseenValues
            Unknown categories and units, and missing values in columns that had no missing values
            in training.

        Raises
        ------
        DataError
            As for `encode`.
        """
        matrix, table = self._empty(frame, dtype)
        return matrix, self._fill({0: self}, table, matrix)

    def _empty(self, frame: Any, dtype: str) -> tuple[np.ndarray, Table]:
        check_choice("dtype", dtype, LARGEST_CODE)
        table = table_of(frame)
        return np.empty((table.rows, self.width), dtype), table

    def _fill(
        self, schemas: Mapping[int, Schema], table: Table, matrix: np.ndarray
    ) -> UnseenValues:
        # `schemas` maps the first matrix column of each schema to the schema.
        table = self._matched(table)
        columns = [column for column in self.columns if not column.dropped]
        count = max(1, CELLS // max(1, table.rows))
        blocks = [columns[first : first + count] for first in range(0, len(columns), count)]
        fill = functools.partial(self._fill_block, schemas=schemas, table=table, matrix=matrix)
        workers = requested_threads(None) or default_threads()
        if workers == 1 or len(blocks) == 1:
            return UnseenValues.of_all(map(fill, blocks))
        with ThreadPoolExecutor(workers) as pool:
            return UnseenValues.of_all(pool.map(fill, blocks))

    def _fill_block(
        self,
        columns: Sequence[Column],
        schemas: Mapping[int, Schema],
        table: Table,
        matrix: np.ndarray,
    ) -> UnseenValues:
        unseen, scaled = UnseenValues(), dict[Feature, Encoded]()
        largest = LARGEST_CODE[matrix.dtype.name]
        for column in columns:
            if len(column.categories) > largest:
                raise DataError(
                    f"{table.title}: column {column.name!r} has {len(column.categories):,} "
                    f"categories, but {matrix.dtype} has exact codes for at most {largest:,}; use "
                    "float64"
                )
            for encoded in self._encoded(column, table, unseen):
                (feature,), numbers, missing = encoded
                if missing is not None:
                    scaled[feature] = encoded
                    continue
                for start in schemas:
                    matrix[:, start + self._feature_indices[feature]] = numbers
        if scaled:
            indices = np.array([self._feature_indices[feature] for feature in scaled])
            numbers = np.array([each.numbers for each in scaled.values()])
            missing = np.array([each.missing for each in scaled.values()])
            for start, schema in schemas.items():
                np.copyto(numbers, schema.scaling.median[indices, None], where=missing)
                with np.errstate(over="ignore"):
                    z = schema.scaling.transform(numbers.T, indices).astype(matrix.dtype)
                finite = np.isfinite(z)
                if not finite.all():
                    number, row = (int(each[0]) for each in np.nonzero(~finite.T))
                    raise DataError(
                        f"{table.place([*scaled][number].column, row)}: {numbers[number, row]} is "
                        f"too large for {matrix.dtype}; scale the column, or choose the scaling "
                        "'robust'"
                    )
                matrix[:, start + indices] = z
        return unseen

    def _encoded(self, column: Column, table: Table, unseen: UnseenValues) -> Iterable[Encoded]:
        if column.format:
            cells = table.column(column.name)
            plain, others = standard_cells(cells, column.format, self._markers)
            unseen.note_unknown(column.name, cells, others)
            table = table.with_cells(column.name, plain)
        return KINDS[column.kind].encode(column, table, self._markers, unseen)

    def unknown(self, frame: Any) -> dict[str, dict[str, int]]:
        """Return the categories that are unseen in training.

        Parameters
        ----------
        frame : data frame, array, dict or list
            Rows, as for `encode`.

        Returns
        -------
        dict of str to dict of str to int
            Maps each column to its unknown categories, and each category to its number of rows.

        Raises
        ------
        DataError
            If a column is missing.

        Examples
        --------
        >>> schema = gpunn.tables.Schema.fit({"city": ["Oslo", "Rome", "Oslo"]})
        >>> schema.unknown({"city": ["Oslo", "Lima", "Lima"]})
        {'city': {'Lima': 2}}
        """
        table = self._matched(table_of(frame))
        unseen = UnseenValues()
        for column in self.columns:
            if column.is_category:
                list(KINDS[column.kind].encode(column, table, self._markers, unseen))
        return unseen.unknown

    def _matched(self, table: Table) -> Table:
        if table.named and self.named:
            missing = [column.name for column in self.columns if not column.dropped]
            missing = [name for name in missing if name not in table]
            if missing:
                raise DataError(f"{table.title}: {missing_columns(missing, table.names)}")
            return table
        every = [column.name for column in self.columns]
        used = [column.name for column in self.columns if not column.dropped]
        if len(table.names) not in (len(every), len(used)):
            also = f", or {len(used)} without the dropped columns" if len(used) < len(every) else ""
            raise DataError(
                f"{table.title}: expected {len(every)} columns, as in the training rows{also}; got "
                f"{len(table.names)}. Columns without names are matched by order"
            )
        names = every if len(table.names) == len(every) else used
        given = dict(zip(names, table.names, strict=True))
        return Table(
            names,
            table.rows,
            lambda position: table.column(given[names[position]]),
            numbers=table.numbers,
            unit=table.unit,
            title=table.title,
        )

    @property
    def problems(self) -> list[str]:
        """Problems with the columns of the training rows, with one line for each problem."""
        return [
            f"{column.name}: {column.reported}"
            for column in self.columns
            if column.reported and column.reported != ON_REQUEST
        ]

    def describe(self) -> list[tuple[str, str, str, str, str]]:
        """Return the summary of the columns as a table: a header, and a row for each column.

        Returns
        -------
        list of tuple of str
            Cells: the column's name, kind, encoding, number of missing values, and remarks.
        """
        rows = [("column", "kind", "becomes", "missing", "remarks")]
        for column in self.columns:
            requested = column.reported == ON_REQUEST
            rows.append(
                (
                    column.name,
                    "" if requested else column.kind,
                    "" if column.dropped else KINDS[column.kind].becomes(column),
                    f"{column.missing:,}" if column.missing else "",
                    column.reported,
                )
            )
        return rows

    def __repr__(self) -> str:
        return (
            f"<Schema: {plural(len(self.columns), 'column')} -> "
            f"{plural(len(self.numbers), 'number')}, {plural(len(self.categories), 'category')}>"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schema):
            return NotImplemented
        arrays, others = self.arrays(), other.arrays()
        # The wording of remarks may differ between versions of gpunn.
        columns, other_columns = (
            [replace(column, reported="") for column in each.columns] for each in (self, other)
        )
        return (
            columns == other_columns
            and self.to_json() | {"columns": ()} == other.to_json() | {"columns": ()}
            and all(np.array_equal(arrays[name], others[name]) for name in arrays)
        )

    __hash__ = None  # type: ignore[assignment]

    def to_json(self) -> dict[str, Any]:
        """Return the schema in JSON types; `from_json` also needs the result of `arrays`.

        Returns
        -------
        dict
            A dict with the keys "named", "scaling", "missing_values" and "columns".
        """
        return {
            "named": self.named,
            "scaling": self.scaling.name,
            "missing_values": list(self.missing_values),
            "columns": [record_of(column) for column in self.columns],
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the statistics by which columns are scaled, in float64.

        Returns
        -------
        dict of str to ndarray
            Arrays by name, with one entry per scaled column.
        """
        return self.scaling.arrays()

    @classmethod
    def from_json(cls, description: Any, arrays: Mapping[str, np.ndarray]) -> Self:
        """Restore a schema from what its methods `to_json` and `arrays` returned.

        Parameters
        ----------
        description : dict
            What `to_json` returned.
        arrays : mapping of str to ndarray
            What the method `arrays` returned.

        Returns
        -------
        Schema
            A schema that equals the original.

        Raises
        ------
        ArgumentError
            If the arguments do not describe a schema.
        """
        record: SchemaRecord = typed(SchemaRecord, description, "schema", ignore_unknown=True)
        columns = record.columns
        for index, column in enumerate(columns):
            check_column(column, f"schema.columns[{index}]")
        names = [column.name for column in columns]
        if len(set(names)) < len(names):
            raise ArgumentError("schema.columns: two columns have the same name")
        if all(column.dropped for column in columns):
            raise ArgumentError("schema.columns: all columns are dropped")
        count = len(scaled_features(columns))
        scaling = SCALINGS[record.scaling].from_arrays(arrays, count)
        return cls(columns, scaling, record.missing_values, record.named)


ON_REQUEST = "left out, as requested"
"""Model files contain this text as `Column.reported`, so the text must not change."""


def checked_kinds(kinds: Mapping[str, str] | None, table: Table) -> dict[str, ColumnType]:
    if kinds is None:
        return {}
    if not isinstance(kinds, Mapping):
        raise ArgumentTypeError(f"columns: expected a dict of names and kinds; got {kinds!r:.80}")
    known = dict.fromkeys(table.names)
    for name, kind in kinds.items():
        check_choice("columns", name, known, "column")
        check_choice(f"columns.{name}", kind, (*KINDS, *DATE_FORMATS), "kind")
    return dict(kinds)  # type: ignore[arg-type]
