"""The learned properties of a table's columns, and the code columns of the matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from gpunn.rows.formats import parts_of_format

Kind: TypeAlias = Literal["number", "category", "boolean", "datetime"]

ColumnType: TypeAlias = Literal[Kind, "day/month/year", "month/day/year", "hour:minute"]
"""What a user can choose for a column: its kind, or the format of its dates or times."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the training rows.

    Parameters
    ----------
    name : str
        Name of the column.
    kind : {"number", "category", "boolean", "datetime"}
        How the column's values are interpreted.
    categories : tuple of str
        Names of the categories, in ascending order; the code of `categories[i]` is i + 1. Numbers,
        dates and dropped columns have no categories.
    parts : tuple of str
        The parts of a date that differ between rows, such as "month".
    missing : int
        Number of training rows without a value. If a number or date column has missing values, an
        additional column of the matrix marks them.
    constant : bool
        Whether all rows that have a value have the same value.
    dropped : bool
        Whether the matrix leaves the column out.
    doubtful : bool
        Whether the column was detected as a category, but most values are numbers or dates.
    format : str
        The format of the cells. For numbers with a unit, the format is the number 0.0 as the cells
        would spell it, such as "$0.0" or "0,0 kg". For dates with the year last, the format is
        "day/month/year" or "month/day/year", and for times of day "hour:minute". For other columns,
        it is "".
    reported : str
        A problem with the column, or the reason why it was dropped; "" if there is none.

    See Also
    --------
    Schema.fit : Learns the columns of a table.

    Examples
    --------
    >>> schema = gpunn.tables.Schema.fit({"city": ["Oslo", "Rome", "Oslo"]})
    >>> schema.columns[0].kind, schema.columns[0].categories
    ('category', ('Oslo', 'Rome'))
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    missing: int = 0
    constant: bool = False
    dropped: bool = False
    doubtful: bool = False
    format: str = ""
    reported: str = ""

    @property
    def type(self) -> ColumnType:
        """The type for `Schema.fit`: the format of a datetime column with a format, or `kind`."""
        if self.kind == "datetime" and self.format:
            return cast(ColumnType, self.format)
        return self.kind

    @property
    def is_time_of_day(self) -> bool:
        """Whether the column has times of day: the date is the same in all rows."""
        return self.parts == ("hour",)

    @property
    def unit(self) -> str:
        """The unit of the column's numbers, such as "kg", or ""."""
        before, _, after = parts_of_format(self.format if self.kind == "number" else "")
        return before.strip() + after

    @property
    def is_category(self) -> bool:
        """Whether the column's cells become codes in the encoded matrix."""
        return not self.dropped and self.kind in ("category", "boolean")

    @property
    def is_number(self) -> bool:
        """Whether the column's cells become numbers in the matrix."""
        return not self.dropped and not self.constant and self.kind == "number"

    @property
    def has_indicator(self) -> bool:
        """Whether the matrix has an additional column that marks this column's missing values."""
        return not self.dropped and self.missing > 0 and self.kind in ("number", "datetime")


@dataclass(frozen=True)
class EncodedCategory:
    """A column of codes in the matrix.

    Parameters
    ----------
    name : str
        Name of the table's column, followed by apostrophes if another column of the matrix has that
        name.
    size : int
        Number of codes: one for each known category, and the code 0 for all other cells.

    Examples
    --------
    >>> schema = gpunn.tables.Schema.fit({"city": ["Oslo", "Rome", "Oslo"]})
    >>> schema.categories
    [EncodedCategory(name='city', size=3)]
    """

    name: str
    size: int
