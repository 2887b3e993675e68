"""Make a checkpoint of a trainer, and read a checkpoint from a file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from gpunn.configurable import LARGEST_COUNT, check_integer
from gpunn.errors import ArgumentError, ModelFileError
from gpunn.schema import typed
from gpunn.storage.checkpoint_folder import CheckpointContent, newest_undamaged
from gpunn.storage.models import STATE, Description, check_arrays, description_text, read_model
from gpunn.training.batches.epoch_cursor import EpochCursor
from gpunn.training.trainer_protocol import TrainerProtocol

CALLBACKS = "callbacks."
"""Prefix of the names of callbacks' arrays; in a file, it follows the prefix `STATE`."""


Count = Annotated[int, partial(check_integer, at_least=0)]

RECORDED_AS = {"cursor": "position", "plan": "course", "metric_names": "figures"}
"""Maps attributes to keys in files, if a key's name differs from the attribute's name."""


@dataclass
class CallbackRecord:
    name: str
    state: dict[str, Any]


@dataclass
class TrainingRecord:
    epoch: Count
    updates: Count
    first_epoch: Count
    stopped: str
    cursor: EpochCursor | None
    optimizer: str
    schedule_state: dict[str, float]
    history: list[dict[str, int | float]]
    callbacks: list[CallbackRecord]
    recoveries: Count = 0
    algorithms: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """The contents of an undamaged checkpoint file."""

    path: Path
    description: Description
    progress: TrainingRecord
    values: dict[str, np.ndarray]
    state: dict[str, np.ndarray]

    def callback_states(self) -> list[tuple[str, dict[str, Any]]]:
        states = [(record.name, dict(record.state)) for record in self.progress.callbacks]
        for name, array in self.state.items():
            if name.startswith(CALLBACKS):
                index, _, key = name.removeprefix(CALLBACKS).partition(".")
                if not index.isdecimal() or int(index) >= len(states):
                    raise ModelFileError(
                        f"{self.path}: has the array {name!r}, but no record of its callback"
                    )
                states[int(index)][1][key] = array
        return states


def take_checkpoint(trainer: TrainerProtocol) -> CheckpointContent:
    # Call this between two updates, with finite parameters, buffers and optimizer state.
    model = trainer.model
    state = dict(trainer.state())
    check_finite(state)
    callbacks = []
    for index, callback in enumerate(trainer.callbacks):
        saved = callback.state(trainer)
        arrays = {name: item for name, item in saved.items() if isinstance(item, np.ndarray)}
        plain = {name: item for name, item in saved.items() if name not in arrays}
        callbacks.append({"name": callback.name, "state": plain})
        state |= {f"{CALLBACKS}{index}.{name}": array for name, array in arrays.items()}
    progress = trainer.progress
    description = {
        **model.file_description(),
        "training": {
            "epoch": progress.epoch,
            "updates": progress.updates,
            "recoveries": progress.recoveries,
            "first_epoch": progress.first_epoch,
            "stopped": "" if progress.interrupted else progress.stop_reason,
            "position": progress.cursor and renamed(asdict(progress.cursor), RECORDED_AS),
            "optimizer": trainer.optimizer.name,
            "schedule_state": trainer.optimizer.schedule.state(),
            "history": trainer.history.rows,
            "callbacks": callbacks,
            "algorithms": model.backend.algorithms(),
        },
    }
    named = {f"{STATE}{name}": array for name, array in state.items()}
    arrays = {**model.file_arrays(), **named}
    text = description_text(description)
    return CheckpointContent(arrays, text, progress.epoch, progress.updates)


def renamed(data: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(data, dict):
        return data
    return {names.get(key, key): renamed(value, names) for key, value in data.items()}


def read_checkpoint(path: str | Path) -> Checkpoint:
    # Does not restore a trainer. The training state must be finite.
    description, values, state = read_model(path)
    if description.training is None:
        raise ModelFileError(
            f"{path}: contains a model without training state; load it with load_model"
        )
    with ModelFileError.instead_of(ArgumentError, prefix=f"{path}: "):
        check_arrays(values, description.dtype)
        check_finite(state)
    training = dict(description.training)
    if "position" in training:
        names = {recorded: name for name, recorded in RECORDED_AS.items()}
        training["cursor"] = renamed(training["position"], names)
    try:
        record = typed(TrainingRecord, training, "training", ignore_unknown=True)
    except ArgumentError as error:
        key = ".".join(RECORDED_AS.get(name, name) for name in error.key.split("."))
        problem = f"has a damaged description: {key}: {error.problem}"
        raise ModelFileError(f"{path}: {problem}") from error
    for number, row in enumerate(record.history, start=1):
        if not isinstance(row.get("epoch"), int) or row["epoch"] < 1:
            raise ModelFileError(
                f"{path}: row {number} of the history is damaged: expected the number of an epoch; "
                f"got {row.get('epoch')!r}"
            )
        for name, value in row.items():
            if isinstance(value, int) and abs(value) > LARGEST_COUNT:
                raise ModelFileError(
                    f"{path}: row {number} of the history is damaged: {name!r} is too large"
                )
    return Checkpoint(Path(path), description, record, values, state)


def newest_checkpoint(path: str | Path) -> Checkpoint:
    return newest_undamaged(path, read_checkpoint)


def check_finite(state: Mapping[str, np.ndarray]) -> None:
    # Arrays of callbacks and sums are not checked: a metric's sum may overflow.
    for name, array in sorted(state.items()):
        if name.startswith((CALLBACKS, "statistics.")):
            continue
        if not np.isfinite(array).all():
            raise ArgumentError(
                f"training state: {name!r} contains NaN or infinity, so training can't "
                "resume from it; use an earlier checkpoint"
            )
