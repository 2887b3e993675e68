"""What a run's network remembers of its data, checked before anything rests on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from gpunn.config import CSV, DataSet, TableFile
from gpunn.data.csv import LONGEST_NAME
from gpunn.data.csv_format import CsvFormat
from gpunn.errors import ArgumentError, ModelFileError
from gpunn.schema import typed
from gpunn.thresholds import check_threshold

__all__ = ["check_metadata", "reading_of"]


def reading_of(data: DataSet) -> CsvFormat:
    """Return how a run's training rows are written, as far as its configuration says."""
    if not isinstance(data, (CSV, TableFile)):
        return CsvFormat()
    header = None if data.header == "auto" else data.header
    if isinstance(data, CSV):
        delimiter = None if data.delimiter == "," else data.delimiter
        return CsvFormat(header=header, delimiter=delimiter, missing=data.missing or [])
    decimal: Any = data.decimal
    return CsvFormat(header=header, delimiter=data.delimiter, decimal=decimal)


def check_names(path: str, names: list[str]) -> list[str]:
    """Return names, or raise an error if there are none, or a name occurs twice or is too long."""
    if not names or len(set(names)) < len(names):
        raise ArgumentError(f"{path}: expected a list of different texts; got {names!r:.80}")
    if (longest := max(map(len, names))) > LONGEST_NAME and path == "classes":
        raise ArgumentError(f"{path}: expected at most {LONGEST_NAME} characters; got {longest}")
    return names


@dataclass(kw_only=True)
class DataMetadata:
    """What is remembered of any data: names of classes and the threshold, if there are any."""

    classes: Annotated[list[str], check_names] | None = None
    threshold: Annotated[float, check_threshold] | None = None


@dataclass(kw_only=True)
class CSVMetadata(DataMetadata):
    """What is remembered of a CSV file: its columns, by their numbers if it had no header."""

    header: bool
    features: Annotated[list[str], check_names]

    def __post_init__(self) -> None:
        numbers = all(name.isdecimal() and len(name) < 10 for name in self.features)
        if not (self.header or numbers):
            raise ArgumentError(f"features: expected columns' numbers; got {self.features!r:.80}")


def check_metadata(path: Path, metadata: Mapping[str, Any], data: DataSet) -> None:
    """Raise a ModelFileError unless the metadata in a model's file is what `gpunn train` writes.

    Of a CSV file the columns must be known. Further keys are the user's.
    """
    kind = CSVMetadata if isinstance(data, CSV) else DataMetadata
    try:
        typed(kind, metadata, ignore_unknown=True)
    except ArgumentError as error:
        raise ModelFileError(f"{path}: has damaged metadata: {error}; train it again") from None
