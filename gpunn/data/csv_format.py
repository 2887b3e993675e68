"""The format of rows in a text file: the settings that the user chose."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from gpunn.errors import ArgumentError, DataError
from gpunn.rows.csv_rows import wrong_delimiter
from gpunn.schema import typed


@dataclass(frozen=True, kw_only=True)
class CsvFormat:
    """The format of rows in a text file; a setting that is None is detected from the file."""

    header: bool | None = None
    delimiter: str | None = None
    decimal: Literal[".", ","] | None = None
    missing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.delimiter is not None and (problem := wrong_delimiter(self.delimiter)):
            raise ArgumentError(f"delimiter: {problem}")

    def metadata(self) -> dict[str, Any]:
        chosen = {name: value for name, value in asdict(self).items() if value not in (None, [])}
        return {"reading": chosen} if chosen else {}


def csv_format_in(metadata: Mapping[str, Any]) -> CsvFormat:
    with DataError.instead_of(ArgumentError, prefix="metadata['reading']: "):
        csv_format: CsvFormat = typed(CsvFormat, metadata.get("reading", {}), ignore_unknown=True)
    return csv_format
