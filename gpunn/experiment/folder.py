"""What a run leaves behind, in one folder."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpunn.config import read_config
from gpunn.doctor import environment
from gpunn.errors import ConfigError
from gpunn.experiment.build import Experiment
from gpunn.files import write_atomically, write_json
from gpunn.monitor import improved, improvement_start, monitored
from gpunn.saving import differences, load_model
from gpunn.training import Trainer
from gpunn.training.callbacks import (
    Callback,
    CSVLog,
    EarlyStopping,
    JSONLinesLog,
    ModelCheckpoint,
)
from gpunn.training.norms import NormLog

__all__ = ["FILES", "RunFolder"]

CONFIG = "config.json"
ENVIRONMENT = "environment.json"
HISTORY = "history.jsonl"
NORMS = "norms.jsonl"
CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
FINAL = "final.safetensors"
EVALUATION = "evaluation.json"

FILES = {
    CONFIG: "the configuration with every default; it can be trained again",
    ENVIRONMENT: "backend, device, versions, BLAS and machine",
    HISTORY: "the figures of each epoch, one JSON object a line",
    NORMS: "norms of each layer's parameters and gradients after each epoch, in the same form",
    CHECKPOINT: "the last epoch with the optimizer's state, for --resume",
    BEST: "the best epoch, with the optimizer's state",
    FINAL: "the trained network",
    EVALUATION: "how training ended, and the figures on the test part",
}
"""Every file of a run, with a word on each."""


class RunFolder(Callback):
    """Keeps a run in a folder, epoch by epoch; nothing is written before training begins.

    Each file is written whole or not at all, except the history, which grows by a line an epoch.
    Must be the last of the callbacks.

    Parameters
    ----------
    path : Path
    overwrite : bool
        Whether the files of an earlier run there are removed when training begins. Others stay.
    resume : bool
        Whether an earlier run there is gone on with.

    Raises
    ------
    ConfigError
        If the folder is in use and neither is wanted.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, resume: bool = False) -> None:
        self.path = path
        self.overwrite = overwrite
        self.resume = resume
        self._experiment: Experiment | None = None
        self._log = JSONLinesLog(path / HISTORY)
        self._norms = NormLog(path / NORMS)
        self._resumed_after = 0
        self._best: float | None = None
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path}: expected a folder for the run; this is a file")
        if not (overwrite or resume) and path.is_dir() and any(path.iterdir()):
            raise ConfigError(
                f"{path}: the folder is not empty; --resume goes on with the run in it, "
                "--overwrite replaces it, --output chooses another folder"
            )

    @property
    def experiment(self) -> Experiment:
        """The run that is kept here."""
        assert self._experiment is not None, "attach an experiment first"
        return self._experiment

    def attach(self, experiment: Experiment) -> bool:
        """Take an experiment to keep, and put its trainer where an earlier run came to, if any.

        Returns
        -------
        bool
            Whether there was a run to go on with.

        Raises
        ------
        ConfigError
            If the earlier run had other data, another network, seed or dtype.
        ModelFileError
            If its checkpoint is damaged or does not fit.
        """
        self._experiment = experiment
        logs = self._place_files_of_callbacks(experiment.callbacks)
        if self.overwrite:
            experiment.callbacks.insert(0, Removal(logs))  # before they look at their files
        if not (self.resume and (self.path / CHECKPOINT).exists()):
            return False
        self._check_same(experiment.description)
        experiment.trainer.load_checkpoint(self.path / CHECKPOINT)
        return True

    def _place_files_of_callbacks(self, callbacks: list[Callback]) -> list[Path]:
        """Put the files of callbacks into the folder, and return the logs there."""
        folder, logs = self.path.resolve(), []
        for index, callback in enumerate(callbacks):
            if not isinstance(callback, (CSVLog, JSONLinesLog, ModelCheckpoint, NormLog)):
                continue
            path = (self.path / callback.path).resolve()
            if path.parent == folder and path.name in FILES:
                raise ConfigError(
                    f"training.callbacks[{index}].path: the run keeps its own {path.name} in "
                    f"{self.path}; choose another name"
                )
            callback.path = self.path / callback.path
            if not isinstance(callback, ModelCheckpoint) and path.is_relative_to(folder):
                logs.append(path)
        return logs

    def _check_same(self, description: Mapping[str, Any]) -> None:
        earlier = read_config(self.path / CONFIG)
        for key in ("data", "model", "seed", "dtype"):
            for place, old, new in differences(earlier.get(key), description[key], key):
                if not place.endswith("path"):  # the files may have moved
                    raise ConfigError(
                        f"{place}: the run in {self.path} has {old!r}, so it can't go on with "
                        f"{new!r}; --output chooses another folder for a new run"
                    )

    # ------------------------------------------------------------------------------ callbacks

    def on_train_begin(self, trainer: Trainer) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        for name in FILES if self.overwrite else (FINAL, EVALUATION):
            (self.path / name).unlink(missing_ok=True)
        write_json(self.path / CONFIG, self.experiment.description)
        began = datetime.now(UTC).isoformat(timespec="seconds")
        place = {"started": began, **environment(trainer.model.backend)}
        write_json(self.path / ENVIRONMENT, place)
        write_atomically(self.path / HISTORY, b"")
        for row in trainer.history.rows:
            self._log.on_epoch_end(trainer, row)
            self._improves(row)
        self._norms.on_train_begin(trainer)
        self._resumed_after = trainer.epoch
        self._replay(trainer)
        trainer.save_checkpoint(self.path / CHECKPOINT)

    def on_epoch_end(self, trainer: Trainer, logs: Mapping[str, float]) -> None:
        self._log.on_epoch_end(trainer, logs)
        self._norms.on_epoch_end(trainer, logs)
        best = self._improves(logs)
        # In this order: after a crash between the two, going on repeats this epoch and so finds
        # the same best again.
        if best:
            trainer.save_checkpoint(self.path / BEST)
        training = self.experiment.config.training
        if best or trainer.epoch % training.checkpoint_every == 0 or trainer.stop_reason:
            trainer.save_checkpoint(self.path / CHECKPOINT)

    def _improves(self, row: Mapping[str, float]) -> bool:
        """Return whether an epoch is better than all that were shown before it."""
        rule = self.experiment.best
        if rule is None:
            return False
        best = improvement_start(rule.direction) if self._best is None else self._best
        figure = monitored(row, rule.monitor)
        if not improved(rule.direction, figure, best, rule.min_delta):
            return False
        self._best = figure
        return True

    def _replay(self, trainer: Trainer) -> None:
        """Show early stopping the epochs before a resumption, so that it goes on counting."""
        for stopper in self._early_stopping():
            restore, stopper.restore_best = stopper.restore_best, False
            for row in trainer.history.rows:
                trainer.epoch = int(row["epoch"])
                stopper.on_epoch_end(trainer, row)
            stopper.restore_best = restore

    def on_train_end(self, trainer: Trainer) -> None:
        """Go back to the best epoch where early stopping would, had it seen that epoch itself."""
        for stopper in self._early_stopping():
            if stopper.restore_best and 0 < stopper.best_epoch <= self._resumed_after:
                best = load_model(self.path / BEST, trainer.model.backend)
                for name, value in best.parameters.to_host().items():
                    trainer.model.parameters[name] = value

    def _early_stopping(self) -> list[EarlyStopping]:
        callbacks = self.experiment.callbacks
        return [callback for callback in callbacks if isinstance(callback, EarlyStopping)]

    # ------------------------------------------------------------------------------ the end

    def save_model(self) -> None:
        """Write the trained network."""
        self.experiment.trainer.model.save(self.path / FINAL)

    def finish(self, stopped: str, figures: Mapping[str, float] | None) -> None:
        """Write how the run ended.

        Parameters
        ----------
        stopped : str
            Why training ended before its last epoch; empty if it did not.
        figures : mapping or None
            Of the test part.
        """
        trainer, test = self.experiment.trainer, self.experiment.parts.test
        report = {"epochs": trainer.epoch, "stopped": stopped, "test": None}
        if figures is not None and test is not None:
            report["test"] = {"rows": test.rows, **figures}
        write_json(self.path / EVALUATION, report)

    def listing(self) -> str:
        """Return the folder's files, one a line, with a word on each."""
        written = {name: text for name, text in FILES.items() if (self.path / name).exists()}
        width = len(str(self.path / max(written, key=len, default="")))
        return "\n".join(f"{self.path / name!s:<{width}}  {text}" for name, text in written.items())


class Removal(Callback):
    """Removes files of an earlier run when training begins, not before it is sure to.

    Parameters
    ----------
    paths : list of Path
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def on_train_begin(self, trainer: Trainer) -> None:
        for path in self.paths:
            path.unlink(missing_ok=True)
