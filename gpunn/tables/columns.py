"""What is known of each column of a table, and what it becomes in the matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Column", "EncodedCategory", "Kind"]

Kind: TypeAlias = Literal["number", "category", "boolean", "datetime"]
"""What the values of a column are."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the training rows.

    Parameters
    ----------
    name : str
        The column's own name.
    kind : {"number", "category", "boolean", "datetime"}
        What its values are taken for.
    categories : tuple of str
        Sorted; the code of `categories[i]` is i + 1. A number or a date has none, nor has text that
        is dropped.
    parts : tuple of str
        Of a date: which of its parts, such as "month", differ from row to row.
    missing : int
        How many training rows have no value. If some have none, numbers and dates get a further
        column that tells which.
    constant : bool
        Whether all rows that have a value have the same.
    dropped : bool
        Whether nothing of it goes into the matrix.
    doubtful : bool
        Whether it was found to be a category, though most of its values are numbers or dates.
    reported : str
        What looks wrong, or why it was dropped; empty if nothing does.

    See Also
    --------
    Schema.fit : Finds out what columns are.

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
        """Whether it becomes a code."""
        return not self.dropped and self.kind in ("category", "boolean")

    @property
    def is_number(self) -> bool:
        """Whether it becomes a number."""
        return not self.dropped and not self.constant and self.kind == "number"

    @property
    def has_indicator(self) -> bool:
        """Whether a further column tells which of its values are missing."""
        return not self.dropped and self.missing > 0 and self.kind in ("number", "datetime")


@dataclass(frozen=True)
class EncodedCategory:
    """A column of codes in the matrix.

    Parameters
    ----------
    name : str
        That of the column of the table, unless it would occur twice.
    size : int
        Number of codes: 0 for a missing or unknown category, and one for each known one.

    Examples
    --------
    >>> import gpunn
    >>> schema = gpunn.tables.Schema.fit({"city": ["Oslo", "Rome", "Oslo"]})
    >>> schema.categories
    [EncodedCategory(name='city', size=3)]
    """

    name: str
    size: int
