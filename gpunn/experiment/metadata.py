"""What a run's network remembers of its data, checked before anything rests on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpunn.config import CSV, DataSet
from gpunn.data.csv import LONGEST_NAME
from gpunn.errors import ModelFileError

__all__ = ["check_metadata"]


def check_metadata(path: Path, metadata: Mapping[str, Any], data: DataSet) -> None:
    """Raise a ModelFileError unless a network's metadata is what `gpunn train` writes.

    Parameters
    ----------
    path : Path
        The model's file, for the error message.
    metadata : mapping
        Its metadata. Keys of others are theirs.
    data : DataSet
        What the run was trained on. Of a CSV file the columns must be known.
    """
    fault = classes_fault(metadata.get("classes"))
    if fault is None and isinstance(data, CSV):
        fault = columns_fault(metadata.get("header"), metadata.get("features"))
    if fault is not None:
        raise ModelFileError(f"{path}: has damaged metadata: {fault}; train it again")


def classes_fault(classes: Any) -> str | None:
    """Return what is wrong with the classes' names, if anything."""
    if classes is None:
        return None
    if not are_texts(classes) or len(set(classes)) < len(classes):
        return f"'classes': expected a list of different texts, got {classes!r:.80}"
    if longest := [name for name in classes if len(name) > LONGEST_NAME]:
        return f"'classes': expected at most {LONGEST_NAME} characters, got {len(longest[0])}"
    return None


def columns_fault(header: Any, features: Any) -> str | None:
    """Return what is wrong with the columns of a CSV file, if anything."""
    if not isinstance(header, bool):
        return f"'header': expected true or false, got {header!r:.80}"
    if not are_texts(features) or len(set(features)) < len(features):
        return f"'features': expected a list of different columns, got {features!r:.80}"
    if not header and not all(name.isdecimal() and len(name) < 10 for name in features):
        return f"'features': expected columns' numbers, got {features!r:.80}"
    return None


def are_texts(value: Any) -> bool:
    """Return whether this is a list of one or more texts."""
    return bool(value) and isinstance(value, list) and all(isinstance(one, str) for one in value)
