"""Models and checkpoints as safetensors files: arrays by name and JSON, no code, no pickle.

A file is written beside its destination first and then moved over it, so a crash leaves the old
file as it was, and carries a checksum that is verified when it is read. Arrays are host arrays
whatever the backend, so a model trained on a GPU opens on a machine without one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

import gpunn
from gpunn.backends import Backend, get_backend
from gpunn.errors import ArgumentError, ArgumentTypeError, ModelFileError
from gpunn.network import Sequential
from gpunn.storage.checksums import checksummed, read_checksummed
from gpunn.storage.files import write_atomically
from gpunn.storage.reading import checked_path

__all__ = [
    "differences",
    "load_model",
    "network_differences",
    "save_model",
    "take_model",
]

FORMAT = 2

FINAL = "final.safetensors"
"""Name of the trained network in the folder of a run."""

STATE = "training."
"""Prefix of the arrays that only training needs."""


def save_model(model: Sequential, path: str | Path) -> None:
    """Write architecture, parameters and statistics of a network.

    Parameters
    ----------
    model : Sequential
    path : str or Path
        Usually ending in ".safetensors". An existing file is replaced.

    Raises
    ------
    ArgumentError
        If `model.metadata` is not made of JSON types.
    OSError
        If the file can't be written. A file that was there is as before then.
    """
    take_model(model).write(path)


def take_model(model: Sequential) -> Content:
    """Do the first half of `save_model`: copy everything to the host.

    Raises
    ------
    ArgumentError
        As `save_model`.
    """
    return Content(model.parameters.to_host(), json_text(describe(model)))


def load_model(path: str | Path, backend: str | Backend | None = None) -> Sequential:
    """Read a network that `save_model` wrote, or the one in a checkpoint.

    No code is run that is not already imported: a layer or activation of your own must have been
    defined before.

    Parameters
    ----------
    path : str or Path
        A file, or the folder of a run, whose final network is meant.
    backend : str, Backend or None
        Where to put it, whatever it was trained on; see `gpunn.get_backend`.

    Returns
    -------
    Sequential
        A `NeuralNetwork` if it was one that was saved. A class of your own comes back as the one
        of these two that it derives from.

    Raises
    ------
    ModelFileError
        If the file is damaged, is not such a file, was written by a newer gpunn, names a layer
        that is not defined, or its arrays don't fit its architecture or are not finite; or if
        there is no such file, or no final network in the folder.
    """
    from gpunn.neural_network import NeuralNetwork

    kinds: dict[str, type[Sequential]] = {
        "sequential": Sequential,
        "neural_network": NeuralNetwork,
    }
    place = get_backend(backend)
    path = Path(checked_path(path))
    if path.is_dir():
        path = final_network(path)
    description, arrays = read_file(path)
    values = without_state(arrays)
    # Of its class without its own constructor, which takes other arguments.
    model: Sequential = object.__new__(kinds[description.kind])
    try:
        Sequential.__init__(
            model,
            description.layers,
            tuple(description.input_shape),
            place,
            description.seed,
            description.dtype,
            values,
        )
        check_stored(values, description.dtype)
    except (ArgumentError, ArgumentTypeError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{path}: can't rebuild the network: {error}") from error
    restore_annotations(model, description)
    return model


def final_network(folder: Path) -> Path:
    """Return the file of a run's final network, or raise a ModelFileError."""
    path = folder / FINAL
    if path.exists():
        return path
    others = sorted(file.name for file in folder.glob("*.safetensors"))
    there = f"; there are: {', '.join(others)}" if others else ""
    raise ModelFileError(
        f"{path}: there is no such file; expected a file, or the folder of a run that has come to "
        f"its end{there}. gpunn train {folder} --resume goes on with a run"
    )


@dataclass(frozen=True)
class Content:
    """What a file is to hold, on the host; it can be written more than once."""

    arrays: Mapping[str, np.ndarray]
    text: str

    def write(self, path: str | Path) -> None:
        """Write it, whole or not at all."""
        write_atomically(path, *self.pieces)

    @cached_property
    def pieces(self) -> list[bytes | memoryview]:
        """The bytes of the file, in pieces."""
        return checksummed(self.arrays, {"gpunn": self.text})


class Description(msgspec.Struct):
    """What a file says of its network, beside the arrays."""

    layers: list[str | dict[str, Any]]
    input_shape: list[int]
    seed: int
    dtype: str
    kind: Literal["sequential", "neural_network"] = "sequential"
    inputs_fitted: bool = True
    metadata: dict[str, Any] = {}
    training: dict[str, Any] | None = None


INITIALIZERS = frozenset(["initializer", "bias_initializer"])
"""Parameters of layers that matter only until there are values."""


def differences(old: Any, new: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield where two values of JSON types differ, with what is there.

    Of two things with different names, only these: their parameters have little in common.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        if old.get("name") != new.get("name"):
            yield f"{place}.name", old.get("name"), new.get("name")
            return
        for key in {**old, **new}:
            yield from differences(old.get(key), new.get(key), f"{place}.{key}")
    elif isinstance(old, list) and isinstance(new, list):
        for index, pair in enumerate(zip_longest(old, new)):
            yield from differences(*pair, f"{place}[{index}]")
    elif old != new:
        yield place, old, new


def network_differences(old: Any, new: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield where two descriptions of a network differ, but for how its parameters began.

    Whoever takes parameters from a file has no use for initializers. A default one may have changed
    since the file was written.
    """
    for where, theirs, ours in differences(old, new, place):
        if not INITIALIZERS.intersection(where.split(".")):
            yield where, theirs, ours


def check_stored(values: Mapping[str, np.ndarray], dtype: str) -> None:
    """Raise an ArgumentError unless all arrays have the network's type and are finite."""
    for name, value in sorted(values.items()):
        if value.dtype != dtype:
            raise ArgumentError(f"values: {name!r} has dtype {value.dtype}; expected {dtype}")
        if not np.isfinite(value).all():
            raise ArgumentError(f"values: {name!r} holds numbers that are not finite")


def check_same_network(model: Sequential, description: Description, path: str | Path) -> None:
    """Raise a ModelFileError that names the first thing in which a file's network differs."""
    expected = json.loads(json.dumps(model.config()))
    for key in ("layers", "input_shape", "dtype", "seed"):
        for place, theirs, ours in network_differences(
            getattr(description, key), expected[key], key
        ):
            raise ModelFileError(
                f"{path}: does not fit the trainer: {place}: the file's network has {theirs!r}, "
                f"the trainer's {ours!r}"
            )


def without_state(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if not name.startswith(STATE)}


def describe(model: Sequential) -> dict[str, Any]:
    from gpunn.neural_network import NeuralNetwork

    return {
        "format": FORMAT,
        "kind": "neural_network" if isinstance(model, NeuralNetwork) else "sequential",
        **model.config(),
        "inputs_fitted": model.inputs_fitted,
        "metadata": model.metadata,
        "versions": {"gpunn": gpunn.__version__, "numpy": np.__version__},
        "trained_on": model.backend.describe(),
    }


def restore_annotations(model: Sequential, description: Description) -> None:
    model.metadata = description.metadata
    model.inputs_fitted = description.inputs_fitted


def json_text(description: Mapping[str, Any]) -> str:
    try:
        return json.dumps(description)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"metadata: expected what JSON can hold (dict, list, str, numbers, None); {error}"
        ) from error


def read_file(path: str | Path) -> tuple[Description, dict[str, np.ndarray]]:
    metadata, arrays = read_checksummed(path)
    try:
        description = json.loads(metadata["gpunn"])
        format_version = description["format"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: a safetensors file, but not one of gpunn's") from error
    if format_version != FORMAT:
        raise ModelFileError(
            f"{path}: has format {format_version!r}; this gpunn {gpunn.__version__} reads format "
            f"{FORMAT}. Install the gpunn that wrote it: {description.get('versions')}"
        )
    try:
        return msgspec.convert(description, Description), arrays
    except (msgspec.ValidationError, RecursionError, UnicodeEncodeError) as error:
        raise ModelFileError(f"{path}: has a damaged description: {error}") from error
