"""Going on from a checkpoint with the call of `Trainer.fit` that was interrupted."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpunn.data.frames import difference
from gpunn.errors import ArgumentError, ModelFileError
from gpunn.meaning import feature_names_in, shown, target_names_in
from gpunn.training.callbacks import Callback
from gpunn.training.checkpoint import Checkpoint, restore_checkpoint
from gpunn.training.dataset import Names
from gpunn.training.epoch_cursor import EpochPlan
from gpunn.training.protocol import TrainerProtocol
from gpunn.training.step import StepRecipe

__all__ = ["CallbackStates", "resume"]

LOG = logging.getLogger("gpunn")


@dataclass
class CallbackStates:
    """The states of callbacks in a checkpoint, in their order there."""

    _path: Path
    _left: list[tuple[str, dict[str, Any]]]

    def hand_over(self, callback: Callback, trainer: TrainerProtocol) -> None:
        """Give a callback the first state of one of its name that was not given away yet."""
        try:
            callback.restore(self._take(callback.name), trainer)
        except (ArithmeticError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{self._path}: the state of the callback {callback.name!r} is damaged: {error}"
            ) from error

    def _take(self, name: str) -> dict[str, Any]:
        for index, (owner, state) in enumerate(self._left):
            if owner == name:
                del self._left[index]
                return state
        return {}


def resume(
    trainer: TrainerProtocol,
    checkpoint: Checkpoint,
    plan: EpochPlan,
    recipe: StepRecipe,
    names: Names,
) -> CallbackStates:
    """Put a trainer where a checkpoint was written, if this call is the one that was interrupted.

    Raise an ArgumentError or a ModelFileError, with nothing changed, if the checkpoint does not
    fit.
    """
    check_same_epoch(checkpoint, plan, recipe)
    check_same_names(checkpoint, names)
    restore_checkpoint(trainer, checkpoint)
    return CallbackStates(checkpoint.path, checkpoint.callback_states())


def check_same_epoch(checkpoint: Checkpoint, plan: EpochPlan, recipe: StepRecipe) -> None:
    """Raise an ArgumentError unless an epoch that was cut short can go on with these.

    If metrics change their weights within it, a warning says so.
    """
    cursor = checkpoint.progress.cursor
    if cursor is None:
        return
    if cursor.plan != plan:
        raise ArgumentError(
            f"resume_from: {checkpoint.path} was written in the middle of an epoch of "
            f"{cursor.plan}; this call has {plan}. Make the call that was interrupted"
        )
    weighted = recipe.has_metric_weight(checkpoint.state)
    if weighted and not recipe.own_metric_weights:
        raise ArgumentError(
            f"resume_from: {checkpoint.path} was written in the middle of an epoch with a "
            "class_weight; this call has none. Make the call that was interrupted"
        )
    if recipe.own_metric_weights and not weighted:
        LOG.warning(
            "The metrics of the epoch that was cut short have the weights of the loss until update "
            "%d, as all had in an earlier gpunn; from there on class_weight is for the loss alone. "
            "Nothing else changes by that",
            checkpoint.progress.updates,
        )


def check_same_names(checkpoint: Checkpoint, names: Names) -> None:
    """Raise an ArgumentError unless data has its columns as a checkpoint's had them.

    Its network is not loaded yet when data is checked, so they are not put into order.
    """
    about = checkpoint.description
    outputs = (len(names.targets or ()),)
    earlier = Names(
        feature_names_in(about.metadata, tuple(about.input_shape)),
        target_names_in(about.metadata, outputs),
    )
    for argument, ours, theirs in names.unlike(earlier):
        problem = difference(ours, theirs) or f"they were in the order {shown(theirs)}"
        raise ArgumentError(
            f"resume_from: {checkpoint.path} is of a training on other columns of {argument}: "
            f"{problem}. Make the call that was interrupted"
        )
