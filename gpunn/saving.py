"""Models and checkpoints as safetensors files: arrays by name and JSON, no code, no pickle.

A file is written beside its destination first and then moved over it, so a crash leaves the old
file as it was. Arrays are host arrays whatever the backend, so a model trained on a GPU opens on a
machine without one.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import gpunn
from gpunn.backends import Backend
from gpunn.errors import ArgumentError, ArgumentTypeError, ModelFileError
from gpunn.network import Sequential

if TYPE_CHECKING:
    from gpunn.training.trainer import Trainer

__all__ = ["load_checkpoint", "load_model", "save_checkpoint", "save_model"]

FORMAT = 1


def save_model(model: Sequential, path: str | Path) -> None:
    """Write architecture, parameters and statistics of a network.

    Parameters
    ----------
    model : Sequential
    path : str or Path
        Usually ending in ".safetensors". An existing file is replaced.
    """
    _write(path, model.parameters.to_host(), _description(model))


def load_model(path: str | Path, backend: str | Backend | None = None) -> Sequential:
    """Read a network that `save_model` or `save_checkpoint` wrote.

    Parameters
    ----------
    path : str or Path
    backend : str, Backend or None
        Where to put it, whatever it was trained on; see `gpunn.get_backend`.

    Raises
    ------
    ModelFileError
        If the file is damaged, is not such a file, was written by a newer gpunn, or its arrays
        don't fit its architecture. A layer or activation of your own must have been imported.
    """
    description, arrays = _read(path)
    try:
        model = Sequential(
            description["layers"],
            tuple(description["input_shape"]),
            backend,
            description["seed"],
            description["dtype"],
        )
    except (ArgumentError, ArgumentTypeError, KeyError, TypeError) as error:
        raise ModelFileError(f"{path}: can't rebuild the network: {error}") from error
    _restore_model(model, description, arrays, path)
    return model


def save_checkpoint(trainer: Trainer, path: str | Path) -> None:
    """Write a model together with all that training needs to go on exactly from here."""
    model = trainer.model
    description = {
        **_description(model),
        "training": {
            "epoch": trainer.epoch,
            "updates": trainer.updates,
            "optimizer": trainer.optimizer.config(),
            "schedule_state": trainer.optimizer.schedule.state(),
            "history": trainer.history.rows,
        },
    }
    _write(path, {**model.parameters.to_host(), **_prefixed(trainer.state())}, description)


def load_checkpoint(trainer: Trainer, path: str | Path) -> None:
    """Put a trainer where `save_checkpoint` found it; its network must have the same layers.

    Raises
    ------
    ModelFileError
        If the file is damaged, holds no training state, or does not fit the trainer's network or
        optimizer. Nothing has been changed then.
    """
    description, arrays = _read(path)
    training = description.get("training")
    if training is None:
        raise ModelFileError(
            f"{path}: holds a model without training state; it can be loaded with load_model"
        )
    ours, theirs = trainer.optimizer.name, training["optimizer"]["name"]
    if ours != theirs:
        raise ModelFileError(f"{path}: was trained with the optimizer {theirs!r}, not {ours!r}")
    state = {
        name.removeprefix(STATE): array for name, array in arrays.items() if name.startswith(STATE)
    }
    if state:
        expected = {f"optimizer.{slot}" for slot in trainer.optimizer.slots} | {"updates", "passes"}
        if set(state) != expected:
            raise ModelFileError(
                f"{path}: the optimizer's state is {sorted(state)}; expected {sorted(expected)}"
            )
        size = trainer.model.parameters.values.shape
        for slot in trainer.optimizer.slots:
            found = state[f"optimizer.{slot}"].shape
            if found != size:
                raise ModelFileError(f"{path}: {slot!r} has shape {found}; expected {size}")
    _restore_model(trainer.model, description, arrays, path)
    trainer.set_state(state)
    trainer.optimizer.schedule.restore(training["schedule_state"])
    trainer.epoch, trainer.updates = training["epoch"], training["updates"]
    trainer.history.rows[:] = training["history"]


STATE = "training."
"""Prefix of the arrays that only training needs."""


def _prefixed(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{STATE}{name}": array for name, array in state.items()}


def _description(model: Sequential) -> dict[str, Any]:
    return {
        "format": FORMAT,
        **model.config(),
        "inputs_fitted": model.inputs_fitted,
        "metadata": model.metadata,
        "versions": {"gpunn": gpunn.__version__, "numpy": np.__version__},
        "trained_on": model.backend.describe(),
    }


def _restore_model(
    model: Sequential, description: Mapping[str, Any], arrays: Mapping[str, np.ndarray], path: Any
) -> None:
    """Copy arrays into a network, after all of them have been found to fit."""
    specs = model.parameters.specs
    found = {name: array for name, array in arrays.items() if not name.startswith(STATE)}
    problems = [f"{name!r} is missing" for name in specs if name not in found]
    problems += [f"{name!r} is not part of the network" for name in found if name not in specs]
    for name, spec in specs.items():
        array = found.get(name)
        if array is not None and array.shape != spec.shape:
            problems.append(f"{name!r} has shape {array.shape}; expected {spec.shape}")
        if array is not None and array.dtype.kind != "f":
            problems.append(f"{name!r} has dtype {array.dtype}; expected {model.dtype}")
    if problems:
        raise ModelFileError(f"{path}: does not fit the network: {'; '.join(problems)}")
    for name in specs:
        model.parameters[name] = found[name]
    model.metadata = dict(description["metadata"])
    model.inputs_fitted = bool(description["inputs_fitted"])


def _write(
    path: str | Path, arrays: Mapping[str, np.ndarray], description: Mapping[str, Any]
) -> None:
    from safetensors.numpy import save

    path = Path(path)
    data = save(dict(arrays), {"gpunn": json.dumps(description)})
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _read(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise ModelFileError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelFileError(f"{path}: not a readable safetensors file: {error}") from error
    try:
        description = json.loads(metadata["gpunn"])
        format_version = description["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: a safetensors file, but not one of gpunn's") from error
    if format_version != FORMAT:
        raise ModelFileError(
            f"{path}: has format {format_version}; this gpunn {gpunn.__version__} reads format "
            f"{FORMAT}. Install the gpunn that wrote it: {description.get('versions')}"
        )
    return description, arrays
