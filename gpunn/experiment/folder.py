"""Saves a run in a folder: configuration, histories, checkpoints and networks."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpunn.errors import ConfigError, ModelFileError
from gpunn.experiment.build import Experiment
from gpunn.experiment.files import (
    BEST,
    CHECKPOINTS,
    ENVIRONMENT,
    EVALUATION,
    HISTORY,
    NORMS,
    TABLE,
    Removal,
    csv_table,
    place_callback_files,
    remove_candidates,
)
from gpunn.experiment.locked_folder import LockedFolder
from gpunn.experiment.resume_checks import check_resumable, check_same_data, warn_of_changes
from gpunn.monitor import BestSoFar, monitored
from gpunn.storage.checkpoint_folder import CheckpointContent, CheckpointFolder
from gpunn.storage.files import Replacement, holds
from gpunn.storage.models import FINAL, model_content
from gpunn.training import Trainer
from gpunn.training.callbacks import Callback
from gpunn.training.callbacks.epoch_logs import CSVLog, JSONLinesLog, log_line
from gpunn.training.callbacks.norm_log import NormLog
from gpunn.training.checkpoints.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    read_checkpoint,
    take_checkpoint,
)

LOG = logging.getLogger("gpunn")

DATA = "data"

NORM_STATE = "norms."

FRACTION = 0.01
"""Maximum fraction of the training time that checkpoints take, if `checkpoint_every` is not set."""


class RunFolder(LockedFolder, Callback):
    """Saves a run in a folder, epoch by epoch; nothing is written before training begins.

    Each file is written completely or not at all; only the histories grow, by one line per epoch.
    The files of an earlier run stay unchanged until the first checkpoint of the new training is on
    the disk. The earlier final network and evaluation stay until the new run replaces them. A
    RunFolder must be the last callback in the list.

    The network of a new best epoch is written with the next checkpoint, or when training ends for
    any reason. If the process is killed earlier, the resumed run trains that epoch again.

    Until this process leaves the `with` block or ends, no other process can train in the folder.

    Parameters
    ----------
    path : Path
        The folder; it is created when training begins.
    overwrite : bool
        Whether to remove the files of an earlier run when training begins. Other files stay.
    resume : bool
        Whether to resume an earlier run in the folder.

    Attributes
    ----------
    best_epoch : int or None
        The best epoch so far, if a metric is monitored.
    kept_epoch : int
        The number of epochs in the last checkpoint.

    Raises
    ------
    ConfigError
        If the folder is not empty although `overwrite` and `resume` are False, or if the folder
        contains a link `checkpoints` that leads out of the folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from gpunn.config import parse_config
    >>> from gpunn.experiment import RunFolder, build
    >>> raw = {
    ...     "data": {"dataset": "digits"},
    ...     "model": {"layers": [{"name": "dense", "units": 10}]},
    ...     "training": {"loss": "softmax_cross_entropy", "epochs": 2},
    ... }
    >>> experiment = build(parse_config(raw, Path()), "numpy")
    >>> with RunFolder(Path("runs", "digits")) as folder:
    ...     checkpoint = folder.attach(experiment)
    ...     history = experiment.run(folder, progress=False, resume_from=checkpoint)
    ...     folder.save_model()
    >>> Path("runs", "digits", "final.safetensors").exists()
    True
    """

    saves = True

    def __init__(self, path: Path, *, overwrite: bool = False, resume: bool = False) -> None:
        super().__init__(path, overwrite=overwrite, resume=resume)
        self._experiment: Experiment | None = None
        self._norms = NormLog(path / NORMS)
        self._logs = (JSONLinesLog(path / HISTORY), CSVLog(path / TABLE), self._norms)
        self._written_at, self._took, self._due = 0.0, 0.0, False
        self._best = BestSoFar()
        self._held: CheckpointContent | None = None
        self._removal: Removal | None = None
        self._data: dict[str, list[int]] = {}
        self._earlier_norms: dict[str, Any] = {}
        self.best_epoch: int | None = None
        self.kept_epoch = 0

    @property
    def experiment(self) -> Experiment:
        """The experiment whose run is saved here."""
        assert self._experiment is not None, "attach an experiment first"
        return self._experiment

    def attach(self, experiment: Experiment) -> Checkpoint | None:
        """Prepare to save a run of an experiment, and return the checkpoint to resume from.

        Parameters
        ----------
        experiment : Experiment
            The experiment, whose callbacks will write their files in the folder.

        Returns
        -------
        Checkpoint or None
            The newest undamaged checkpoint in the folder, for `Experiment.run`. The result is None
            if there is no run to resume.

        Raises
        ------
        ConfigError
            If the earlier run had different data, or a different network, seed or dtype. The error
            is also raised if another process is training in the folder.
        ModelFileError
            If all checkpoints are damaged.
        """
        self._experiment = experiment
        if self.path.is_dir():
            self._take_lock()
        self._data = experiment.splits.fingerprints()
        training = experiment.config.training
        self.every_updates = training.checkpoint_every_updates
        self._checkpoints = CheckpointFolder(self.path / CHECKPOINTS, training.keep_checkpoints)
        logs = place_callback_files(self.path, experiment.callbacks)
        if self.overwrite:
            self._removal = Removal(logs)
            experiment.callbacks.insert(0, self._removal)  # before callbacks open their files
        if not self.resume:
            return None
        if not self._checkpoints.newest_first():
            for name in (FINAL, BEST):
                if (self.path / name).exists():
                    raise ConfigError(
                        f"{self.path}: there is {name}, but no checkpoint to resume from. Replace "
                        "the run with --overwrite, or choose another folder with --output"
                    )
            return None
        earlier = check_resumable(self.path, experiment.description)
        checkpoint = newest_checkpoint(self._checkpoints.path)
        self._restore_state(checkpoint)
        warn_of_changes(experiment, checkpoint, earlier, self.path / ENVIRONMENT)
        return checkpoint

    def _restore_state(self, checkpoint: Checkpoint) -> None:
        state = next((kept for _, kept in checkpoint.callback_states() if DATA in kept), {})
        advice = "Restore the data and the loss, or start a new run in another folder with --output"
        run, earlier = f"the run in {self.path}", state.get(DATA, self._data)
        check_same_data(run, earlier, self._data, advice)
        self._earlier_norms = {
            name.removeprefix(NORM_STATE): item
            for name, item in state.items()
            if name.startswith(NORM_STATE)
        }

    def state(self, trainer: Trainer) -> dict[str, Any]:
        norms = self._norms.state(trainer)
        return {DATA: self._data, **{f"{NORM_STATE}{name}": item for name, item in norms.items()}}

    def on_train_begin(self, trainer: Trainer) -> None:
        self._prepare()
        rows = trainer.history.rows
        for row in rows:
            self._improves(row)
        try:
            norms = self._norms.content(trainer, self._earlier_norms)
        except (ArithmeticError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{self._checkpoints.path}: the norms in the checkpoint are damaged: {error}"
            ) from error
        with Replacement() as new:
            # All files are written before the first is renamed: after a full disk or a kill, the
            # folder has either the unchanged earlier run, or a new one that can be resumed.
            self._describe(new, self.experiment.description, trainer.model.backend)
            new.add(self.path / HISTORY, "".join(map(log_line, rows)).encode())
            new.add(self.path / TABLE, csv_table(trainer.log_names, rows).encode())
            new.add(self.path / NORMS, norms)
            self._restore_best(trainer, new)
            began = time.monotonic()
            first = self._checkpoints.add_first(take_checkpoint(trainer), new)
            self._note_written(began)
            if self.overwrite:
                # Begin with checkpoints: after a kill, --resume must not continue the earlier run.
                self._checkpoints.clear()
                for name in (FINAL, BEST):
                    (self.path / name).unlink(missing_ok=True)
                remove_candidates(self.path)
            if not (self.path / FINAL).exists():
                (self.path / EVALUATION).unlink(missing_ok=True)
            new.commit()
        if self._removal is not None:
            self._removal.settle()
        self._checkpoints.drop_ahead_of(first)
        self.kept_epoch = trainer.epoch

    def _restore_best(self, trainer: Trainer, new: Replacement) -> None:
        path, best = self.path / BEST, self.best_epoch
        if best is None:
            return
        try:
            epoch = read_checkpoint(path).progress.epoch
            fault = f"{path}: this file is from epoch {epoch}, but the best epoch is {best}"
        except ModelFileError as error:
            fault = str(error)
        else:
            # A later epoch was written just before a kill; it will be trained again.
            if epoch == best or epoch > trainer.epoch:
                return
        for file in self._checkpoints.newest_first():
            with suppress(ModelFileError):
                progress = read_checkpoint(file).progress
                if (progress.epoch, progress.cursor) == (best, None):
                    new.add(path, file.read_bytes())
                    LOG.warning("%s. Restoring the best epoch from %s", fault, file)
                    return
        LOG.warning(
            "%s. The file can't be restored, because no checkpoint of the best epoch is left. "
            "The next epoch with a better metric will replace the file",
            fault,
        )

    def on_updates_end(self, trainer: Trainer) -> None:
        counted = self.every_updates is not None and trainer.updates % self.every_updates == 0
        seconds = self.experiment.config.training.checkpoint_every_seconds
        self._due |= counted or time.monotonic() - self._written_at >= seconds
        if self._due and trainer.can_checkpoint():
            self._write_checkpoint(trainer)

    def on_epoch_end(self, trainer: Trainer, logs: Mapping[str, float]) -> None:
        for log in self._logs:
            log.on_epoch_end(trainer, logs)
        if self._improves(logs):
            self.experiment.choose_threshold(warn=False)
            self._held = take_checkpoint(trainer)
        training = self.experiment.config.training
        age, oldest = time.monotonic() - self._written_at, training.checkpoint_every_seconds
        if training.checkpoint_every is None:
            due = age >= min(self._took / FRACTION, oldest)
        else:
            due = trainer.epoch % training.checkpoint_every == 0 or age >= oldest
        if due or trainer.stop_reason or trainer.epoch >= training.epochs:
            self._write_checkpoint(trainer)

    def on_interruption(self, trainer: Trainer) -> None:
        if trainer.can_checkpoint():
            self._write_checkpoint(trainer)

    def on_train_end(self, trainer: Trainer) -> None:
        if self._held is not None:
            self._write(self._held)

    def _write_checkpoint(self, trainer: Trainer) -> None:
        began = time.monotonic()
        held = self._held
        just_now = held is not None and held.updates == trainer.updates
        self._write(held if held is not None and just_now else take_checkpoint(trainer))
        self._note_written(began)

    def _write(self, content: CheckpointContent) -> None:
        # The checkpoint's history refers to the best network, so this network is written first.
        held, self._held = self._held, None
        if held is not None:
            held.write(self.path / BEST)
        self._checkpoints.write(content)
        self.kept_epoch = content.epoch

    def _note_written(self, began: float) -> None:
        self._written_at, self._due = time.monotonic(), False
        self._took = self._written_at - began

    def _improves(self, row: Mapping[str, float]) -> bool:
        rule = self.experiment.best
        if rule is None:
            return False
        if rule.monitor not in row:
            return False  # a row from before the run was resumed with other metrics
        if not self._best.improves(rule, monitored(row, rule.monitor)):
            return False
        self.best_epoch = int(row["epoch"])
        return True

    def save_model(self) -> None:
        """Calibrate and write the trained network; remove the evaluation of an earlier network."""
        self.experiment.calibrate()
        path, model = self.path / FINAL, self.experiment.trainer.model
        chunks = model_content(model.file_description(), model.file_arrays()).chunks
        if holds(path, *chunks):
            return
        with Replacement() as new:
            new.add(path, *chunks)
            (self.path / EVALUATION).unlink(missing_ok=True)
            new.commit()

    def finish(
        self, stopped: str, metrics: Mapping[str, float] | None, *, failed: bool = False
    ) -> None:
        """Write the file `evaluation.json`, which records how the run ended.

        If `failed` is True and the folder has an earlier final network, nothing is written.

        Parameters
        ----------
        stopped : str
            Why training ended before its last epoch, or "" if it did not.
        metrics : mapping or None
            Metrics of the test split.
        failed : bool
            Whether training ended without a final network.
        """
        if not (failed and (self.path / FINAL).exists()):
            epoch, splits = self.experiment.trainer.epoch, self.experiment.splits
            self._write_evaluation(epoch, stopped, splits, metrics)
