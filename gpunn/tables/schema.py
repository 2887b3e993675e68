"""The schema of a table: what its columns are, and how a row becomes numbers."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np

from gpunn.backends.thread_count import threads_asked_for, usable_cores
from gpunn.configurable import check_choice, check_integer
from gpunn.errors import ArgumentError, ArgumentTypeError, DataError, suggest
from gpunn.meaning import plural
from gpunn.randomness import generator
from gpunn.rows.cells import Markers
from gpunn.rows.csv_rows import missing_columns
from gpunn.schema import typed
from gpunn.tables.columns import Column, EncodedCategory, Kind
from gpunn.tables.encoders import KINDS, Rows, features_of, kind_of, scaled_features
from gpunn.tables.features import Feature, distinct
from gpunn.tables.frames import table_of
from gpunn.tables.imputation import fill_in
from gpunn.tables.scaling import SCALINGS, Scaling
from gpunn.tables.schema_record import SchemaRecord, check_column, record_of
from gpunn.tables.table import Table
from gpunn.tables.unseen_values import UnseenValues

__all__ = ["Schema"]

LARGEST_CODE = {"float32": 2**24, "float64": 2**53}
"""Integers up to these are exact."""

WORTH_THREADS = 100_000
"""Cells of a matrix from which on its columns are divided among threads."""


class Schema:
    """The columns of a table, and what was learned from its training rows.

    It turns rows with text, dates and gaps into a matrix of finite numbers, which has first the
    columns of numbers, then those of codes of categories:

    1. numbers, scaled; a missing one is the median of the training rows
    2. year, month, day, day of the week and hour of dates, as far as they vary, scaled likewise
    3. sine and cosine of 2 pi part / period, the period being a year, a week or a day, by which
       December is near January
    4. for each number and date that some training rows lack, 1 where it is missing, else 0
    5. categories and booleans: codes 1, 2, ... in the order of `Column.categories`; 0 where it is
       missing, or is none of them

    Make one with `Schema.fit`. It can't be changed.

    Parameters
    ----------
    columns : sequence of Column
        All of the training rows, in their order, those that are dropped included.
    scaling : Scaling
        Its arrays are in the order of the scaled columns of the matrix, which come first.
    missing_values : sequence of str
        Further text that means a missing value, beside what always does.
    named : bool
        Whether the training rows had names of columns. If not, columns go by their order.

    Attributes
    ----------
    columns, scaling, missing_values, named : tuple of Column, Scaling, tuple of str, bool
        As given.
    numbers : list of str
        Names of the matrix's columns of numbers.
    categories : list of EncodedCategory
        Names and sizes of the columns of codes, which follow them.

    See Also
    --------
    gpunn.Sequential : Has a schema as an attribute, and then takes tables.

    Examples
    --------
    >>> import gpunn
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

    @classmethod
    def fit(
        cls,
        frame: Any,
        *,
        columns: Mapping[str, str] | None = None,
        drop: Sequence[str] = (),
        missing_values: Sequence[str] = (),
        scaling: str = "robust",
        seed: int = 0,
        every: Any = None,
    ) -> Self:
        """Learn a schema from training rows.

        Parameters
        ----------
        frame : data frame, array, dict or list
            As `gpunn.tables.table_of` takes it.
        columns : mapping of str to str or None
            Kinds of columns: "number", "category", "boolean" or "datetime". Those of others are
            found from their types and values: text that spells only numbers, or only dates, is
            such; other text is a category, and dropped if it is another one in every row. Digits
            after a zero, such as "007", are a code: a column that has one is a category.
        drop : sequence of str
            Columns to leave out, such as the target.
        missing_values : sequence of str
            Further text that means a missing value, in any case; numbers, such as "-999", in any
            spelling. Nothing, "NA", "N/A", "#N/A", "<NA>", "NaN", "NaT", "null" and "?" always do.
        scaling : {"robust", "quantile", "standard", "none"}
            Of numbers; see `gpunn.tables.scaling`.
        seed : int
            Of the noise that "quantile" adds before it takes quantiles.
        every : data frame, array, dict, list or None
            All rows that there are, if some of them were set aside for validation or tests: the
            training rows and those. By them it is decided whether a column is of numbers, dates or
            categories, or an identifier, so that it does not depend on where a stray cell is.
            Nothing else is learned from them. None means that there are no others.

        Returns
        -------
        Schema
            What was learned.

        Raises
        ------
        DataError
            If there are no rows, columns have equal names or none, a number is infinite, a column
            is not of the given kind, or every column is dropped; the message says where.
        ArgumentError, ArgumentTypeError
            If another argument is impossible, or names a column that there is not.

        Examples
        --------
        >>> import gpunn
        >>> rows = {"age": [31, 45, None], "name": ["Ada", "Bo", "Cy"], "paid": [0, 1, 1]}
        >>> schema = gpunn.tables.Schema.fit(rows, columns={"name": "category"}, drop=["paid"])
        >>> schema.names
        ['age', 'age (missing)', 'name']
        """
        check_choice("scaling", scaling, SCALINGS)
        seed = check_integer("seed", seed, at_least=0)
        missing_values = checked_texts("missing_values", missing_values)
        table = table_of(frame)
        whole = table if every is None else table_of(every)
        kinds = checked_kinds(columns, table)
        dropped = set(checked_texts("drop", drop))
        for name in sorted(dropped):
            if name not in table:
                raise ArgumentError(
                    f"drop: there is no column {name!r}; {suggest(name, table.names)}"
                )
        if table.rows == 0:
            raise DataError(f"{table.title}: expected at least one row; got none")
        markers = Markers.of(missing_values)
        found: list[Column] = []
        scaled: dict[Feature, np.ndarray] = {}
        for name in table.names:
            if name in dropped:
                found.append(Column(name=name, kind="number", dropped=True, reported=ON_REQUEST))
                continue
            kind = kinds.get(name) or kind_of(whole.column(name), markers)
            column, numbers = KINDS[kind].learn(Rows(table, name, markers, whole, name in kinds))
            found.append(column)
            scaled.update({Feature(name, aspect): each for aspect, each in numbers.items()})
        if all(column.dropped for column in found):
            reasons = [
                f"{column.name!r:.40}: {column.reported}"
                for column in found
                if column.reported != ON_REQUEST
            ]
            why = "; ".join(reasons[:5]) or "All are targets, or were to be left out"
            raise DataError(f"{table.title}: no column is left to predict from. {why}")
        learned = SCALINGS[scaling].fit(
            [scaled[feature] for feature in scaled_features(found)],
            table.rows,
            generator(seed, "quantiles"),
        )
        return cls(found, learned, missing_values, table.named)

    # --------------------------------------------------------------------------------- encoding

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return len(self.numbers) + len(self.categories)

    @property
    def names(self) -> list[str]:
        """Names of the matrix's columns."""
        return [*self.numbers, *(category.name for category in self.categories)]

    def encode(self, frame: Any, dtype: str = "float32", title: str = "X") -> np.ndarray:
        """Return rows as a matrix of finite numbers.

        Columns are taken by name, in any order; those that the schema does not know, or that it
        drops, are not looked at. If the rows, or the training rows, have no names of columns, they
        must be as many as those of the training rows, in the same order.

        Parameters
        ----------
        frame : data frame, array, dict or list
            As `fit` takes it. Types may differ from those of the training rows: numbers may be
            text, for example.
        dtype : {"float32", "float64"}
            That of the matrix. Codes and numbers are computed in float64.
        title : str
            What messages call the rows, unless they are from a file.

        Returns
        -------
        ndarray, shape (rows, width)
            Numbers, then codes.

        Raises
        ------
        DataError
            If a column is missing, or a cell of a number or date is something else, or infinite.
            The message says where, and which name is the nearest.

        Warns
        -----
        UnknownCategoryWarning
            If there are categories that the training rows had not; the message counts them.
        GpunnWarning
            If values are missing in columns in which no training row lacked one.
        """
        table = table_of(frame, title)
        matrix, unseen = self.encode_and_find(table, dtype)
        unseen.warn(table)
        return matrix

    def encode_and_find(
        self, frame: Any, dtype: str = "float32"
    ) -> tuple[np.ndarray, UnseenValues]:
        """Return what `encode` does, and what it would warn of.

        Parameters
        ----------
        frame : data frame, array, dict or list
            As for `encode`.
        dtype : {"float32", "float64"}
            Of the matrix.

        Returns
        -------
        matrix : ndarray of shape (rows, width)
            Of finite numbers.
        findings : Findings
            Unknown categories, and values that are missing where the training rows lacked none.

        Raises
        ------
        DataError
            As `encode`.
        """
        check_choice("dtype", dtype, LARGEST_CODE)
        table = self._matched(table_of(frame))
        matrix = np.empty((table.rows, self.width), dtype)
        columns = [column for column in self.columns if not column.dropped]
        encode = functools.partial(self._encode_column, table=table, matrix=matrix)
        workers = threads_asked_for(None) or usable_cores()
        if workers == 1 or matrix.size < WORTH_THREADS:
            found = list(map(encode, columns))
        else:
            with ThreadPoolExecutor(workers) as pool:
                found = list(pool.map(encode, columns))
        return matrix, UnseenValues.of_all(found)

    def _encode_column(self, column: Column, table: Table, matrix: np.ndarray) -> UnseenValues:
        """Write what a column becomes, and return what there is to warn of."""
        unseen = UnseenValues()
        if len(column.categories) > LARGEST_CODE[matrix.dtype.name]:
            raise DataError(
                f"{table.title}: column {column.name!r} has {len(column.categories):,} categories, "
                f"more than {matrix.dtype} can number"
            )
        encoded = KINDS[column.kind].encode(column, table, self._markers, unseen)
        with np.errstate(over="ignore"):
            for (feature,), numbers, missing in encoded:
                index = self._feature_indices[feature]
                if missing is None:
                    matrix[:, index] = numbers
                    continue
                fill_in(numbers, missing, self.scaling.median[index])
                matrix[:, index] = self.scaling.transform(numbers, index)
                finite = np.isfinite(matrix[:, index])
                if not finite.all():
                    row = int(finite.argmin())
                    raise DataError(
                        f"{table.place(column.name, row)}: {numbers[row]} is too large for "
                        f"{matrix.dtype}; scale the column, or choose the scaling 'robust'"
                    )
        return unseen

    def unknown(self, frame: Any) -> dict[str, dict[str, int]]:
        """Return the categories that the training rows had not.

        Parameters
        ----------
        frame : data frame, array, dict or list
            Rows, as `encode` takes them.

        Returns
        -------
        dict of str to dict of str to int
            By column, each such category and how many rows have it.

        Raises
        ------
        DataError
            If a column is missing.

        Examples
        --------
        >>> import gpunn
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
        """Return a table with the names of the training rows."""
        if table.named and self.named:
            missing = [column.name for column in self.columns if not column.dropped]
            missing = [name for name in missing if name not in table]
            if missing:
                raise DataError(f"{table.title}: {missing_columns(missing, table.names)}")
            return table
        every = [column.name for column in self.columns]
        used = [column.name for column in self.columns if not column.dropped]
        if len(table.names) not in (len(every), len(used)):
            count = str(len(every))
            if len(used) < len(every):
                count += f", or the {len(used)} that are not dropped"
            raise DataError(
                f"{table.title}: expected as many columns as the training rows had, {count}, since "
                f"there are no names to tell them by; got {len(table.names)}"
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

    # ------------------------------------------------------------------------------ description

    @property
    def problems(self) -> list[str]:
        """What looks wrong with the training rows' columns, one line for each."""
        return [
            f"{column.name}: {column.reported}"
            for column in self.columns
            if column.reported and column.reported != ON_REQUEST
        ]

    def describe(self) -> list[tuple[str, str, str, str, str]]:
        """Return the cells of a table: a header, and a row for each column.

        They are its name, its kind, what it becomes, how many training rows lack it, and what looks
        wrong.

        Returns
        -------
        list of tuple of str
            Five cells each.
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
        """Return how many columns become what."""
        return (
            f"<Schema: {plural(len(self.columns), 'column')} -> "
            f"{plural(len(self.numbers), 'number')}, {plural(len(self.categories), 'category')}>"
        )

    def __eq__(self, other: object) -> bool:
        """Return whether another schema encodes all rows alike."""
        if not isinstance(other, Schema):
            return NotImplemented
        ours, theirs = self.arrays(), other.arrays()
        return self.to_json() == other.to_json() and all(
            np.array_equal(ours[name], theirs[name]) for name in ours
        )

    __hash__ = None  # type: ignore[assignment]

    # ----------------------------------------------------------------------------------- saving

    def to_json(self) -> dict[str, Any]:
        """Return all but the arrays, in JSON types; `from_json` makes a schema of both.

        Returns
        -------
        dict
            "named", "scaling", "missing_values" and "columns".
        """
        return {
            "named": self.named,
            "scaling": self.scaling.name,
            "missing_values": list(self.missing_values),
            "columns": [record_of(column) for column in self.columns],
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the scaling by name, in float64.

        Returns
        -------
        dict of str to ndarray
            One entry a scaled column.
        """
        return self.scaling.arrays()

    @classmethod
    def from_json(cls, description: Any, arrays: Mapping[str, np.ndarray]) -> Self:
        """Return the schema that `to_json` and `arrays` describe.

        Parameters
        ----------
        description : dict
            What `to_json` returned.
        arrays : mapping of str to ndarray
            What `arrays` returned.

        Returns
        -------
        Schema
            Equal to the one that was described.

        Raises
        ------
        ArgumentError
            If they describe none; the message says what is wrong.
        """
        record: SchemaRecord = typed(SchemaRecord, description, "schema", ignore_unknown=True)
        columns = record.columns
        for index, column in enumerate(columns):
            check_column(column, f"schema.columns[{index}]")
        names = [column.name for column in columns]
        if len(set(names)) < len(names):
            raise ArgumentError("schema.columns: two have the same name")
        if all(column.dropped for column in columns):
            raise ArgumentError("schema.columns: all are dropped")
        count = len(scaled_features(columns))
        scaling = SCALINGS[record.scaling].from_arrays(arrays, count)
        return cls(columns, scaling, record.missing_values, record.named)


ON_REQUEST = "left out, as was asked for"


def checked_texts(argument: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Return a list of texts as a tuple, or raise an ArgumentTypeError if it is none."""
    listed = () if isinstance(texts, str) else tuple(texts)
    if isinstance(texts, str) or not all(isinstance(text, str) for text in listed):
        raise ArgumentTypeError(f"{argument}: expected a list of texts; got {texts!r:.80}")
    return listed


def checked_kinds(kinds: Mapping[str, str] | None, table: Table) -> dict[str, Kind]:
    """Return the kinds that a user gave, or raise an error if one, or its column, is unknown."""
    if kinds is None:
        return {}
    if not isinstance(kinds, Mapping):
        raise ArgumentTypeError(f"columns: expected kinds by name of column; got {kinds!r:.80}")
    for name, kind in kinds.items():
        if name not in table:
            raise ArgumentError(
                f"columns: there is no column {name!r}; {suggest(str(name), table.names)}"
            )
        check_choice(f"columns.{name}", kind, KINDS, "kind")
    return dict(kinds)  # type: ignore[arg-type]
