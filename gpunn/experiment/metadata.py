"""Checks a model file's metadata about the training data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from gpunn.config import CSV, DataSet, TableFile
from gpunn.data.csv import MAX_NAME
from gpunn.data.csv_format import CsvFormat
from gpunn.errors import ArgumentError, ModelFileError
from gpunn.schema import typed
from gpunn.thresholds import check_threshold


def reading_of(data: DataSet) -> CsvFormat:
    if not isinstance(data, (CSV, TableFile)):
        return CsvFormat()
    header = None if data.header == "auto" else data.header
    if isinstance(data, CSV):
        delimiter = None if data.delimiter == "," else data.delimiter
        return CsvFormat(header=header, delimiter=delimiter, missing=data.missing or [])
    decimal: Any = data.decimal
    return CsvFormat(header=header, delimiter=data.delimiter, decimal=decimal)


def check_names(path: str, names: list[str]) -> list[str]:
    if not names or len(set(names)) < len(names):
        raise ArgumentError(
            f"{path}: expected a non-empty list of unique strings; got {names!r:.80}"
        )
    if (longest := max(map(len, names))) > MAX_NAME and path == "classes":
        raise ArgumentError(
            f"{path}: expected names of at most {MAX_NAME} characters; got {longest} characters"
        )
    return names


@dataclass(kw_only=True)
class DataMetadata:
    classes: Annotated[list[str], check_names] | None = None
    threshold: Annotated[float, check_threshold] | None = None


@dataclass(kw_only=True)
class CSVMetadata(DataMetadata):
    header: bool
    features: Annotated[list[str], check_names]

    def __post_init__(self) -> None:
        numbers = all(name.isdecimal() and len(name) < 10 for name in self.features)
        if not (self.header or numbers):
            raise ArgumentError(f"features: expected column indices; got {self.features!r:.80}")


def check_metadata(path: Path, metadata: Mapping[str, Any], data: DataSet) -> None:
    kind = CSVMetadata if isinstance(data, CSV) else DataMetadata
    try:
        typed(kind, metadata, ignore_unknown=True)
    except ArgumentError as error:
        raise ModelFileError(
            f"{path}: the metadata is damaged: {error}; train the network again"
        ) from None
