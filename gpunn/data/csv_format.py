"""How the rows of a file of text are written, as far as that was chosen and not found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from gpunn.errors import ArgumentError, DataError
from gpunn.rows.csv_rows import wrong_delimiter
from gpunn.schema import typed

__all__ = ["CsvFormat", "csv_format_in"]


@dataclass(frozen=True, kw_only=True)
class CsvFormat:
    """How rows are written; None, or an empty list, is to find out.

    A network remembers that of its training rows, under "reading" in its metadata. `missing` is
    further text that means a missing value.
    """

    header: bool | None = None
    delimiter: str | None = None
    decimal: Literal[".", ","] | None = None
    missing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.delimiter is not None and (problem := wrong_delimiter(self.delimiter)):
            raise ArgumentError(f"delimiter: {problem}")

    def metadata(self) -> dict[str, Any]:
        """Return what a network is to remember: nothing where nothing was chosen."""
        chosen = {name: value for name, value in asdict(self).items() if value not in (None, [])}
        return {"reading": chosen} if chosen else {}


def csv_format_in(metadata: Mapping[str, Any]) -> CsvFormat:
    """Return how training rows were written, from a network's metadata; a DataError if damaged."""
    try:
        found: CsvFormat = typed(CsvFormat, metadata.get("reading", {}), ignore_unknown=True)
    except ArgumentError as error:
        raise DataError(f"metadata['reading']: {error}") from None
    return found
