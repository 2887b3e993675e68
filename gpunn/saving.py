"""Models and checkpoints as safetensors files: arrays by name and JSON, no code, no pickle.

A file is written beside its destination first and then moved over it, so a crash leaves the old
file as it was, and carries a checksum that is verified when it is read (`gpunn.sealed`). Arrays are
host arrays whatever the backend, so a model trained on a GPU opens on a machine without one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np

import gpunn
from gpunn.backends import Backend, get_backend
from gpunn.errors import ArgumentError, ArgumentTypeError, ModelFileError
from gpunn.files import write_atomically
from gpunn.network import Sequential, check_values
from gpunn.neural_network import NeuralNetwork
from gpunn.reading import checked_path
from gpunn.sealed import read_sealed, sealed
from gpunn.training.position import Position

if TYPE_CHECKING:
    from gpunn.training.trainer import Trainer

__all__ = [
    "differences",
    "load_checkpoint",
    "load_model",
    "network_differences",
    "read_checkpoint",
    "restore_checkpoint",
    "save_checkpoint",
    "save_model",
    "take_checkpoint",
    "take_model",
]

FORMAT = 2

FINAL = "final.safetensors"
"""Name of the trained network in the folder of a run."""

STATE = "training."
"""Prefix of the arrays that only training needs."""

CALLBACKS = "callbacks."
"""Prefix, after the one above, of those that belong to callbacks."""


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
    return Content(model.parameters.to_host(), _text(_description(model)))


def load_model(path: str | Path, backend: str | Backend | None = None) -> Sequential:
    """Read a network that `save_model` or `save_checkpoint` wrote.

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
    place = get_backend(backend)
    path = Path(checked_path(path))
    if path.is_dir():
        path = final_network(path)
    description, arrays = _read(path)
    values = _without_state(arrays)
    # Of its class without its own constructor, which takes other arguments.
    model: Sequential = object.__new__(KINDS[description.kind])
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
    _restore_annotations(model, description)
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


def save_checkpoint(trainer: Trainer, path: str | Path) -> None:
    """Write a model together with all that training needs to go on exactly from here.

    "Here" is between two updates, in the middle of an epoch or at its end: whenever a callback is
    called, or after `Trainer.fit`.

    Raises
    ------
    ArgumentError, OSError
        As `save_model`.
    """
    take_checkpoint(trainer).write(path)


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
        return sealed(self.arrays, {"gpunn": self.text})


@dataclass(frozen=True)
class TakenCheckpoint(Content):
    """A checkpoint that is not written yet.

    Attributes
    ----------
    epoch, updates : int
        Epochs and updates done when it was taken.
    """

    epoch: int
    updates: int


def take_checkpoint(trainer: Trainer) -> TakenCheckpoint:
    """Do the first half of `save_checkpoint`: copy everything to the host.

    Raises
    ------
    ArgumentError
        As `save_model`.
    """
    model = trainer.model
    state = dict(trainer.state())
    callbacks = []
    for index, callback in enumerate(trainer.callbacks):
        kept = callback.state(trainer)
        arrays = {name: item for name, item in kept.items() if isinstance(item, np.ndarray)}
        plain = {name: item for name, item in kept.items() if name not in arrays}
        callbacks.append({"name": callback.name, "state": plain})
        state |= {f"{CALLBACKS}{index}.{name}": array for name, array in arrays.items()}
    position = trainer.position
    description = {
        **_description(model),
        "training": {
            "epoch": trainer.epoch,
            "updates": trainer.updates,
            "recoveries": trainer.recoveries,
            "first_epoch": trainer.first_epoch,
            "stopped": trainer.stop_reason,
            "position": None if position is None else asdict(position),
            "optimizer": trainer.optimizer.name,
            "schedule_state": trainer.optimizer.schedule.state(),
            "history": trainer.history.rows,
            "callbacks": callbacks,
            "algorithms": model.backend.algorithms(),
        },
    }
    named = {f"{STATE}{name}": array for name, array in state.items()}
    arrays = {**model.parameters.to_host(), **named}
    return TakenCheckpoint(arrays, _text(description), trainer.epoch, trainer.updates)


def load_checkpoint(trainer: Trainer, path: str | Path) -> None:
    """Put a trainer where `save_checkpoint` found it; its network must be made alike.

    What is not in the file is the trainer's own: loss, metrics, the optimizer's parameters and the
    data. The state of callbacks is handed to those of the next call of `Trainer.fit`: the first
    `EarlyStopping` in the file to the first one there, and so on.

    Raises
    ------
    ModelFileError
        If the file is damaged, holds no training state, or does not fit the trainer's optimizer or
        its network's layers, input shape, seed and dtype. Nothing has been changed then.
    """
    restore_checkpoint(trainer, read_checkpoint(path))


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint's file holds, found to be undamaged."""

    path: Path
    description: Description
    progress: Progress
    values: dict[str, np.ndarray]
    state: dict[str, np.ndarray]

    def callback_states(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the name and the state of each callback."""
        states = [(record.name, dict(record.state)) for record in self.progress.callbacks]
        for name, array in self.state.items():
            if name.startswith(CALLBACKS):
                index, _, key = name.removeprefix(CALLBACKS).partition(".")
                if not index.isdecimal() or int(index) >= len(states):
                    raise ModelFileError(f"{self.path}: there is no callback for {name!r}")
                states[int(index)][1][key] = array
        return states


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint, to be restored later.

    Raises
    ------
    ModelFileError
        If the file is damaged or holds no training state.
    """
    description, arrays = _read(path)
    if description.training is None:
        raise ModelFileError(
            f"{path}: holds a model without training state; it can be loaded with load_model"
        )
    for number, row in enumerate(description.training.history, start=1):
        if not isinstance(row.get("epoch"), int) or row["epoch"] < 1:
            raise ModelFileError(
                f"{path}: row {number} of the history is damaged: expected a number of an epoch; "
                f"got {row.get('epoch')!r}"
            )
    state = {
        name.removeprefix(STATE): array for name, array in arrays.items() if name.startswith(STATE)
    }
    return Checkpoint(Path(path), description, description.training, _without_state(arrays), state)


def restore_checkpoint(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Do the second half of `load_checkpoint`."""
    path, description, training = checkpoint.path, checkpoint.description, checkpoint.progress
    values = checkpoint.values
    _check_same_network(trainer.model, description, path)
    try:
        check_values(trainer.model.parameters.specs, values)
        check_stored(values, description.dtype)
    except ArgumentError as error:
        raise ModelFileError(f"{path}: does not fit the trainer: {error}") from error
    ours, theirs = trainer.optimizer.name, training.optimizer
    if ours != theirs:
        raise ModelFileError(f"{path}: was trained with the optimizer {theirs!r}, not {ours!r}")
    state = {
        name: array for name, array in checkpoint.state.items() if not name.startswith(CALLBACKS)
    }
    _check_state(trainer, state, training.position, path)
    schedule = trainer.optimizer.schedule
    if training.schedule_state.keys() != schedule.state().keys():
        raise ModelFileError(
            f"{path}: the schedule's state is {sorted(training.schedule_state)}; expected "
            f"{sorted(schedule.state())}"
        )
    checkpoint.callback_states()
    before = schedule.state()
    try:
        schedule.restore(training.schedule_state)
    except (ArithmeticError, TypeError, ValueError) as error:
        schedule.restore(before)
        raise ModelFileError(f"{path}: the schedule's state is damaged: {error}") from error
    trainer.model.backend.restore_algorithms(training.algorithms)
    for name, value in values.items():
        trainer.model.parameters[name] = value
    _restore_annotations(trainer.model, description)
    trainer.epoch, trainer.updates = training.epoch, training.updates
    trainer.history.replace(training.history)
    trainer.set_progress(
        state,
        position=training.position,
        first_epoch=training.first_epoch,
        stop_reason=training.stopped,
        recoveries=training.recoveries,
    )


Count = Annotated[int, msgspec.Meta(ge=0)]


class CallbackRecord(msgspec.Struct):
    """What a checkpoint says of a callback."""

    name: str
    state: dict[str, Any]


class Progress(msgspec.Struct):
    """How far training has come, as a checkpoint describes it."""

    epoch: Count
    updates: Count
    first_epoch: Count
    stopped: str
    position: Position | None
    optimizer: str
    schedule_state: dict[str, float]
    history: list[dict[str, int | float]]
    callbacks: list[CallbackRecord]
    recoveries: Count = 0
    algorithms: dict[str, str] = {}


class Description(msgspec.Struct):
    """What a file says of its network, beside the arrays."""

    layers: list[str | dict[str, Any]]
    input_shape: list[int]
    seed: int
    dtype: str
    kind: Literal["sequential", "neural_network"] = "sequential"
    inputs_fitted: bool = True
    metadata: dict[str, Any] = {}
    training: Progress | None = None


STATE_TYPES = {
    "updates": "int64",
    "passes": "int64",
    "good_updates": "int64",
    "statistics.totals": "float64",
}
"""Types of the state's arrays that are not of the network's."""

INITIALIZERS = frozenset(["initializer", "bias_initializer"])
"""Parameters of layers that matter only until there are values."""

KINDS: dict[str, type[Sequential]] = {"sequential": Sequential, "neural_network": NeuralNetwork}


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


def _check_same_network(model: Sequential, description: Description, path: str | Path) -> None:
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


def _check_state(
    trainer: Trainer,
    state: Mapping[str, np.ndarray],
    position: Position | None,
    path: str | Path,
) -> None:
    """Raise a ModelFileError unless the optimizer's state fits; a run not yet begun has none."""
    if not state and position is None:
        return
    size = trainer.model.parameters.values.shape
    expected = {f"optimizer.{slot}": size for slot in trainer.optimizer.slots}
    expected |= {"updates": (1,), "passes": (1,)}
    if position is not None:
        if not position.makes_sense():
            raise ModelFileError(f"{path}: there is no such place in an epoch: {position}")
        if position.course.figures != trainer.measured:
            raise ModelFileError(
                f"{path}: was written in the middle of an epoch with the figures "
                f"{position.course.figures}, not {trainer.measured}"
            )
        own = {name: array.shape for name, array in state.items()}
        with_weight = trainer.statistics_shapes(True)
        fits = own.items() >= with_weight.items()
        expected |= with_weight if fits else trainer.statistics_shapes(False)
    # Whether the loss is scaled is a matter of the backend, not of the file.
    optional = {"loss_scale": (1,), "good_updates": (1,)}
    expected |= {name: shape for name, shape in optional.items() if name in state}
    found = {name: array.shape for name, array in state.items()}
    if found != expected:
        raise ModelFileError(
            f"{path}: the optimizer's state has the shapes {found}; expected {expected}"
        )
    for name, array in state.items():
        ours = STATE_TYPES.get(name, trainer.model.dtype)
        if array.dtype != ours:
            raise ModelFileError(
                f"{path}: the optimizer's state {name!r} has dtype {array.dtype}; expected {ours}"
            )
        if not np.isfinite(array).all():
            raise ModelFileError(
                f"{path}: the optimizer's state {name!r} holds numbers that are not finite"
            )


def _without_state(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if not name.startswith(STATE)}


def _description(model: Sequential) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kind": "neural_network" if isinstance(model, NeuralNetwork) else "sequential",
        **model.config(),
        "inputs_fitted": model.inputs_fitted,
        "metadata": model.metadata,
        "versions": {"gpunn": gpunn.__version__, "numpy": np.__version__},
        "trained_on": model.backend.describe(),
    }


def _restore_annotations(model: Sequential, description: Description) -> None:
    model.metadata = description.metadata
    model.inputs_fitted = description.inputs_fitted


def _text(description: Mapping[str, Any]) -> str:
    try:
        return json.dumps(description)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"metadata: expected what JSON can hold (dict, list, str, numbers, None); {error}"
        ) from error


def _read(path: str | Path) -> tuple[Description, dict[str, np.ndarray]]:
    metadata, arrays = read_sealed(path)
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
