"""Files of the tabular estimators: model files whose metadata describes the estimator."""

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

KEY = "estimator"


@dataclass(frozen=True)
class EstimatorRecord:
    kind: str
    parameters: dict[str, Any]
    n_features: int
    feature_names: list[str] | None
    classes: list[Any] | None
    classes_dtype: str
    metric: str
    validation_score: float
    best_epoch: int | list[int]
    n_iter: int | list[int]
    temperature: float | list[float] = 1.0
    cv_scores: list[float] | None = None
    leaderboard: list[dict[str, Any]] | None = None

    def original_parameters(self) -> dict[str, Any]:
        parameters = dict(self.parameters)
        if isinstance(pairs := parameters.get("class_weight"), list):
            with ArgumentError.instead_of(TypeError, ValueError, prefix="class_weight: "):
                parameters["class_weight"] = dict(pairs)
        return parameters

    def class_array(self) -> np.ndarray | None:
        if self.classes is None:
            return None
        with ArgumentError.instead_of(TypeError, ValueError, prefix="classes: "):
            classes = np.array(self.classes, dtype=self.classes_dtype)
        if classes.ndim != 1 or classes.dtype.kind not in "biufUO" or len(classes) < 2:
            raise ArgumentError(f"classes: expected at least two classes; got {self.classes!r:.80}")
        return classes


def plain_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    plain = {}
    for name, value in parameters.items():
        if name == "class_weight" and isinstance(value, Mapping):
            value = list(value.items())  # since JSON would convert keys to strings
        if name not in ("backend", "callbacks", "folder", "progress"):
            try:
                plain[name] = json.loads(json.dumps(value, default=plain_value))
            except (TypeError, ValueError):
                continue
    return plain


def plain_value(value: Any) -> Any:
    if isinstance(value, Configurable):
        return value.config()
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"JSON cannot contain {value!r}")


def plain_classes(classes: np.ndarray) -> list[Any]:
    plain: list[Any] = classes.tolist()
    if not all(isinstance(each, (bool, int, float, str)) for each in plain):
        raise ArgumentError(
            f"classes_: files support only strings, numbers and Booleans; got {plain!r:.80}"
        )
    return plain


def read_estimator(
    path: str | Path, kind: str, backend: str | Backend | None
) -> tuple[Sequential, EstimatorRecord]:
    network = load_model(path, backend)
    if KEY not in network.metadata or network.schema is None:
        raise ModelFileError(
            f"{path}: contains a network without an estimator; load it with gpunn.load_model"
        )
    with ModelFileError.instead_of(ArgumentError, prefix=f"{path}: has a damaged description: "):
        record: EstimatorRecord = typed(
            EstimatorRecord, network.metadata[KEY], f"metadata.{KEY}", ignore_unknown=True
        )
        record.class_array()
        record.original_parameters()
    if record.kind != kind:
        raise ModelFileError(f"{path}: contains a {record.kind}; load it with {record.kind}.load")
    return network, record
