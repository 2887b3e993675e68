"""What is learned about each column of a table, and the columns of codes in the matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Column", "EncodedCategory", "Kind"]

Kind: TypeAlias = Literal["number", "category", "boolean", "datetime"]
"""How the values of a column are interpreted."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the training rows.

    Parameters
    ----------
    name : str
        Name of the column.
    kind : {"number", "category", "boolean", "datetime"}
        How its values are interpreted.
    categories : tuple of str
        Ascending; the code of `categories[i]` is i + 1. Empty for numbers, dates, dropped columns.
    parts : tuple of str
        For a date: the parts that differ between rows, such as "month".
    missing : int
        Number of training rows without a value. Numbers and dates with missing values get an
        additional column in the matrix, which marks them.
    constant : bool
        Whether all rows that have a value have the same value.
    dropped : bool
        Whether the matrix leaves the column out.
    doubtful : bool
        Whether it was detected as a category, although most of its values are numbers or dates.
    reported : str
        A problem with the column, or why it was dropped; otherwise empty.

    See Also
    --------
    Schema.fit : Learns the columns of a table.

    Examples
    --------
    >>> import gpunn
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
    reported: str = ""

    @property
    def is_category(self) -> bool:
        """Whether it becomes a code in the matrix."""
        return not self.dropped and self.kind in ("category", "boolean")

    @property
    def is_number(self) -> bool:
        """Whether it becomes a number in the matrix."""
        return not self.dropped and not self.constant and self.kind == "number"

    @property
    def has_indicator(self) -> bool:
        """Whether an additional column of the matrix marks its missing values."""
        return not self.dropped and self.missing > 0 and self.kind in ("number", "datetime")


@dataclass(frozen=True)
class EncodedCategory:
    """A column of codes in the matrix.

    Parameters
    ----------
    name : str
        Name of the table's column, with apostrophes added if it would occur twice.
    size : int
        Number of codes: 0 for a missing or unknown category, and one for each known category.

    Examples
    --------
    >>> import gpunn
    >>> schema = gpunn.tables.Schema.fit({"city": ["Oslo", "Rome", "Oslo"]})
    >>> schema.categories
    [EncodedCategory(name='city', size=3)]
    """

    name: str
    size: int
