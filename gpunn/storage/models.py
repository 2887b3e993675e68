"""Model files, which contain a description in JSON and named host arrays, but no code."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gpunn.errors import ArgumentError, ModelFileError
from gpunn.schema import typed
from gpunn.storage.checksums import checksummed, read_safetensors
from gpunn.storage.files import write_atomically
from gpunn.storage.reading import parsed_json
from gpunn.version import __version__

FORMAT = 2

FINAL = "final.safetensors"

KEY = "gpunn"

STATE = "training."

SCHEMA = ".schema."
"""Prefix of the schema's arrays. Arrays of layers can't begin with it: labels contain no dot."""


@dataclass
class Description:
    layers: list[str | dict[str, Any]]
    input_shape: list[int]
    seed: int
    dtype: str
    kind: Literal["sequential", "neural_network"] = "sequential"
    inputs_fitted: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] | None = None
    schema: dict[str, Any] | None = None
    schema_arrays: dict[str, Any] = field(default_factory=dict)
    custom: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelContent:
    arrays: Mapping[str, np.ndarray]
    text: str

    def write(self, path: str | Path) -> None:
        write_atomically(path, *self.chunks)

    @cached_property
    def chunks(self) -> list[bytes | memoryview]:
        return checksummed(self.arrays, {KEY: self.text})


def model_content(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> ModelContent:
    return ModelContent(arrays, description_text(description))


def description_text(description: Mapping[str, Any]) -> str:
    try:
        return json.dumps({"format": FORMAT, **description})
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"metadata: expected JSON types (dict, list, str, numbers, None); {error}"
        ) from error


def read_model(
    path: str | Path,
) -> tuple[Description, dict[str, np.ndarray], dict[str, np.ndarray]]:
    metadata, arrays = read_safetensors(path, verify=True)
    try:
        description = parsed_json(metadata[KEY])
        format_version = description["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{path}: this is a safetensors file, but not a gpunn model file"
        ) from error
    if format_version != FORMAT:
        versions = description.get("versions")
        named = versions.items() if isinstance(versions, dict) else ()
        wrote = ", ".join(f"{name} {version}" for name, version in named)
        raise ModelFileError(
            f"{path}: the file has format {format_version!r}, but gpunn {__version__} reads format "
            f"{FORMAT}. Install the versions that wrote the file: {wrote or 'unknown'}"
        )
    try:
        converted = typed(Description, description, ignore_unknown=True)
    except ArgumentError as error:
        raise ModelFileError(f"{path}: the description is damaged: {error}") from error
    converted.schema_arrays = pop_prefixed(arrays, SCHEMA)
    state = pop_prefixed(arrays, STATE)
    return converted, arrays, state


def pop_prefixed(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    names = [name for name in arrays if name.startswith(prefix)]
    return {name.removeprefix(prefix): arrays.pop(name) for name in names}


def check_arrays(values: Mapping[str, np.ndarray], dtype: str) -> None:
    for name, value in sorted(values.items()):
        if value.dtype != dtype:
            raise ArgumentError(f"values: {name!r} has dtype {value.dtype}; expected {dtype}")
        if not np.isfinite(value).all():
            raise ArgumentError(f"values: {name!r} contains NaN or infinity")


def final_model(folder: Path) -> Path:
    path = folder / FINAL
    if path.exists():
        return path
    others = sorted(file.name for file in folder.glob("*.safetensors"))
    existing = f" (it has: {', '.join(others)})" if others else ""
    raise ModelFileError(
        f"{path}: there is no such file; expected a model file, or the folder of a finished run"
        f"{existing}. To finish a run, use gpunn train {folder} --resume"
    )
