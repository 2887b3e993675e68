"""Reports each epoch to the study, and ends a trial that is pruned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gpunn.monitor import monitored
from gpunn.sweep.journal import optuna
from gpunn.training.callbacks import Callback
from gpunn.training.trainer_protocol import TrainerProtocol


class Pruning(Callback):
    """Reports a metric after each epoch, and ends training if Optuna prunes the trial.

    `epochs` is the planned number of epochs; a trial is never pruned after its last epoch. `pruned`
    is True if the trial has been pruned.
    """

    reads_only: ClassVar[bool] = True

    def __init__(self, trial: Any, metric: str, epochs: int) -> None:
        self.trial, self.metric, self.epochs = trial, metric, epochs
        self.pruned = False

    def on_epoch_end(self, trainer: TrainerProtocol, logs: Mapping[str, float]) -> None:
        value = monitored(logs, self.metric)
        try:
            self.trial.report(value, step=trainer.epoch)
        except optuna().exceptions.UpdateFinishedTrialError:
            trainer.stop_reason = "another process has marked this trial as lost"
            return
        over = trainer.epoch >= self.epochs or bool(trainer.stop_reason)
        if not over and self.trial.should_prune():
            self.pruned = True
            trainer.stop_reason = (
                f"pruned: {self.metric} {value:.6g} is worse than in other trials after epoch "
                f"{trainer.epoch}"
            )
