"""Files of the estimators for tables: a model file whose metadata says what estimator it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.backends import Backend
from gpunn.configurable import Configurable
from gpunn.errors import ArgumentError, ModelFileError
from gpunn.load import load_model
from gpunn.network import Sequential
from gpunn.schema import typed

__all__ = ["EstimatorRecord", "plain_classes", "plain_parameters", "read_estimator"]

KEY = "estimator"
"""Name of the record in the network's metadata."""


@dataclass(frozen=True)
class EstimatorRecord:
    """What a file holds of an estimator, beside its network, in JSON types."""

    kind: str
    parameters: dict[str, Any]
    n_features: int
    feature_names: list[str] | None
    classes: list[Any] | None
    classes_dtype: str
    metric: str
    validation_score: float
    best_epoch: int
    n_iter: int

    def given_parameters(self) -> dict[str, Any]:
        """Return the parameters as they were given, or raise an ArgumentError."""
        given = dict(self.parameters)
        if isinstance(pairs := given.get("class_weight"), list):
            try:
                given["class_weight"] = dict(pairs)
            except (TypeError, ValueError) as error:
                raise ArgumentError(f"class_weight: {error}") from error
        return given

    def class_array(self) -> np.ndarray | None:
        """Return the classes as they were, or raise an ArgumentError."""
        if self.classes is None:
            return None
        try:
            found = np.array(self.classes, dtype=self.classes_dtype)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"classes: {error}") from error
        if found.ndim != 1 or found.dtype.kind not in "biufUO" or len(found) < 2:
            raise ArgumentError(f"classes: expected at least two; got {self.classes!r:.80}")
        return found


def plain_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that describe the model, in JSON types, if they have such."""
    plain = {}
    for name, value in parameters.items():
        if name == "class_weight" and isinstance(value, Mapping):
            value = list(value.items())  # JSON would make text of classes that are none
        if name not in ("backend", "callbacks", "progress", "random_state"):
            try:
                plain[name] = json.loads(json.dumps(value, default=plain_value))
            except (TypeError, ValueError):
                continue
    return plain


def plain_value(value: Any) -> Any:
    """Return an object of gpunn or NumPy in JSON types."""
    if isinstance(value, Configurable):
        return value.config()
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"not in JSON types: {value!r}")


def plain_classes(classes: np.ndarray) -> list[Any]:
    """Return classes in JSON types, or raise an ArgumentError."""
    plain: list[Any] = classes.tolist()
    if not all(isinstance(each, (bool, int, float, str)) for each in plain):
        raise ArgumentError(
            f"classes_: files hold texts, numbers and booleans; these are {plain!r:.80}"
        )
    return plain


def read_estimator(
    path: str | Path, kind: str, backend: str | Backend | None
) -> tuple[Sequential, EstimatorRecord]:
    """Return the network and the record in the file of an estimator of this class."""
    network = load_model(path, backend)
    if KEY not in network.metadata or network.schema is None:
        raise ModelFileError(
            f"{path}: holds a network that was not saved by an estimator; gpunn.load_model reads it"
        )
    try:
        record: EstimatorRecord = typed(
            EstimatorRecord, network.metadata[KEY], f"metadata.{KEY}", ignore_unknown=True
        )
        record.class_array()
        record.given_parameters()
    except ArgumentError as error:
        raise ModelFileError(f"{path}: has a damaged description: {error}") from error
    if record.kind != kind:
        raise ModelFileError(f"{path}: holds a {record.kind}; load it by {record.kind}.load")
    return network, record
