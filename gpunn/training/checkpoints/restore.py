"""Restore a trainer and its callbacks from a checkpoint."""

from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpunn.errors import ArgumentError, ModelFileError
from gpunn.network import check_values
from gpunn.training.callbacks.base import Callback
from gpunn.training.checkpoints.checkpoint import CALLBACKS, Checkpoint
from gpunn.training.checkpoints.resume_checks import check_same_network, check_state
from gpunn.training.trainer_protocol import TrainerProtocol


def restore_checkpoint(trainer: TrainerProtocol, checkpoint: Checkpoint) -> None:
    # The trainer keeps its loss, metrics, optimizer parameters and data, which the file does not
    # contain. `resume` restores the states of callbacks. If the checkpoint does not fit, nothing
    # changes.
    path, description, training = checkpoint.path, checkpoint.description, checkpoint.progress
    values = checkpoint.values
    check_same_network(trainer.model, description, path)
    with ModelFileError.instead_of(ArgumentError, prefix=f"{path}: does not fit the trainer: "):
        check_values(trainer.model.parameters.specs, values)
    expected, actual = trainer.optimizer.name, training.optimizer
    if actual != expected:
        raise ModelFileError(
            f"{path}: was trained with the optimizer {actual!r}, but the trainer has {expected!r}; "
            f"use {actual!r}"
        )
    state = {
        name: array for name, array in checkpoint.state.items() if not name.startswith(CALLBACKS)
    }
    check_state(trainer, state, training.cursor, path)
    schedule = trainer.optimizer.schedule
    if training.schedule_state.keys() != schedule.state().keys():
        raise ModelFileError(
            f"{path}: the schedule's state has keys {sorted(training.schedule_state)}; expected "
            f"{sorted(schedule.state())}. Use the same schedule as in the earlier training"
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
    trainer.model.metadata = description.metadata
    trainer.model.adapted = trainer.model.started = description.inputs_fitted
    trainer.history.replace(training.history)
    trainer.device_state.replace(state)
    progress = trainer.progress
    progress.epoch, progress.updates = training.epoch, training.updates
    progress.first_epoch, progress.cursor = training.first_epoch, copy(training.cursor)
    progress.recoveries, progress.stop_reason = training.recoveries, training.stopped


@dataclass
class CallbackStates:
    _path: Path
    _remaining: list[tuple[str, dict[str, Any]]]

    def restore(self, callback: Callback, trainer: TrainerProtocol) -> None:
        try:
            callback.restore(self._next(callback.name), trainer)
        except (ArithmeticError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{self._path}: the state of the callback {callback.name!r} is damaged: {error}"
            ) from error

    def _next(self, name: str) -> dict[str, Any]:
        for index, (owner, state) in enumerate(self._remaining):
            if owner == name:
                del self._remaining[index]
                return state
        return {}
