"""Trains trials of a sweep in one process, until the total number of trials is reached."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from gpunn.configurable import check_integer
from gpunn.errors import ArgumentError, ConfigError, DataError, DivergenceError, InvalidFileError
from gpunn.experiment import Experiment, RunFolder
from gpunn.monitor import monitored
from gpunn.sweep.checks import check_sweep
from gpunn.sweep.journal import optuna
from gpunn.sweep.process import neighbors
from gpunn.sweep.source import Source
from gpunn.sweep.space import settings_of
from gpunn.sweep.study import Claim, Study
from gpunn.sweep.trials import COMPLETE, Trial, Trials
from gpunn.training.callbacks import Callback
from gpunn.training.interruption import Interruption
from gpunn.training.sharing import sharing_programs
from gpunn.training.together.threads import Threads
from gpunn.training.trainer_protocol import TrainerProtocol


class Events:
    """Methods that a worker calls for each trial; a subclass overrides them.

    Examples
    --------
    >>> from gpunn.sweep import Events
    >>> class Print(Events):
    ...     def ended(self, trial, trials):
    ...         print(trial.number, trial.state, trial.value)
    """

    def began(self, trial: Trial, experiment: Experiment) -> None:
        """Handle the beginning of a trial's training.

        Parameters
        ----------
        trial : Trial
            The trial that begins.
        experiment : Experiment
            The experiment of the trial.
        """

    def ended(self, trial: Trial, trials: Trials) -> None:
        """Handle the end of a trial, whatever the reason.

        Parameters
        ----------
        trial : Trial
            The trial that has ended.
        trials : Trials
            All trials that have begun.
        """


def run_worker(
    source: Source,
    folder: Path,
    trials: int | None = None,
    *,
    reclaim: bool = False,
    events: Events | None = None,
    progress: bool = False,
    together: int = 1,
) -> Trials:
    """Train trials of a sweep until all processes together reach the total number of trials.

    Parameters
    ----------
    source : Source
        The configuration of the sweep.
    folder : Path
        The sweep folder with the results of all processes so far; it is created if needed.
    trials : int or None
        Total number of trials. None means the number in the configuration.
    reclaim : bool
        Whether to first mark unfinished trials of other processes as lost.
    events : Events or None
        An object whose methods the worker calls when trials begin and end.
    progress : bool
        Whether to show progress bars; they are only shown if `together` is 1.
    together : int
        The number of trials to train at the same time, each in one thread.

    Returns
    -------
    Trials
        All trials at the time when this process ends its work.

    Raises
    ------
    ConfigError
        If the configuration has no sweep or has invalid values, or if the folder is not a sweep
        folder.
    DataFileError
        If the study's file is damaged.
    MissingPackageError
        If Optuna is not installed.
    KeyboardInterrupt, SystemExit
        On Ctrl-C and SIGTERM, after the trial has been recorded as interrupted.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> from gpunn.sweep import Source, run_worker
    >>> raw = {
    ...     "data": {"dataset": "digits", "validation_fraction": 0.2},
    ...     "model": {"layers": [{"name": "dense", "units": 10}]},
    ...     "training": {"loss": "softmax_cross_entropy", "epochs": 1},
    ...     "sweep": {"parameters": {"training.batch_size": {"choices": [32, 64]}}},
    ... }
    >>> written = Path("sweep.json").write_text(json.dumps(raw))
    >>> trials = run_worker(Source(Path("sweep.json"), backend="numpy"), Path("sweep"), trials=2)
    >>> [trial.state for trial in trials.trials]
    ['complete', 'complete']
    """
    optuna()  # first, because it raises an error if the package is missing
    check_integer("together", together)
    config, sweep = source.read()
    if config.get_backend(source.backend, neighbors()).parallel_fits == 1:
        together = 1
    with exit_on_sigterm():
        study = Study(folder, config, sweep, *check_sweep(source, sweep))
        maximum = sweep.trials if trials is None else trials
    bars = progress and together == 1
    worker = Worker(source, folder, study, events or Events(), bars)
    worker.reclaim = reclaim
    if together == 1:
        worker.train_all(maximum)
    else:
        train_in_threads(worker, maximum, together)
    return study.summary()


def train_in_threads(worker: Worker, maximum: int, threads: int) -> None:
    worker.interruption = shared = Interruption()
    with shared, sharing_programs(), Threads(threads, shared) as pool:
        pool.run([partial(worker.train_all, maximum)] * threads)
    if pool.errors:
        raise pool.errors[0]
    if shared.requested:  # between two trials
        raise KeyboardInterrupt if shared.exit_status is None else SystemExit(shared.exit_status)


class Worker:
    def __init__(
        self, source: Source, folder: Path, study: Study, events: Events, progress: bool
    ) -> None:
        self.source, self.folder, self.study = source, folder, study
        self.events, self.progress = events, progress
        self.interruption: Interruption | None = None
        self.reclaim = False
        self._alone = threading.RLock()  # only the training itself runs in several threads

    def train_all(self, maximum: int) -> None:
        while self.interruption is None or not self.interruption.requested:
            with self._alone, exit_on_sigterm():
                claim = self.study.claim(maximum, reclaim=self.reclaim)
                self.reclaim = False  # trials that begin later belong to running processes
            if claim is None:
                return
            self.train(claim)

    def train(self, claim: Claim) -> None:
        try:
            with self._alone, exit_on_sigterm():
                experiment = self._built(claim)
            if experiment is not None:
                self._run(claim, experiment)
        except BaseException as error:
            # These errors are not the trial's fault: signals, full disks, missing files.
            with self._alone:
                self.study.end(claim, "interrupted", reason=interruption(error))
                self._tell(claim)
            raise
        with self._alone:
            self._tell(claim)
        gc.collect()  # a device may have too little memory for the arrays of two trials

    def _built(self, claim: Claim) -> Experiment | None:
        try:
            return self.source.build(settings_of(claim.values))
        except InvalidFileError:  # a damaged data file fails for any values
            raise
        except (ConfigError, ArgumentError, DataError, MemoryError) as error:
            self.study.end(claim, "failed", reason=str(error) or "out of memory")
            return None

    def _run(self, claim: Claim, experiment: Experiment) -> None:
        pruning = Pruning(claim.trial, self.study.rule.monitor, experiment.config.training.epochs)
        history = experiment.trainer.history
        with RunFolder(self.folder / claim.folder) as folder:
            with self._alone:
                folder.attach(experiment)
                number, name, values = claim.number, claim.folder, claim.values
                begun = Trial(number=number, folder=name, state="running", parameters=values)
                self.events.began(begun, experiment)
            state, reason = COMPLETE, ""
            try:
                fit = experiment.prepare(pruning, folder, progress=self.progress)
                fit.session.interruption = self.interruption or fit.session.interruption
                history = fit.run()
            except DivergenceError as error:
                state, reason = "diverged", str(error)
            except MemoryError as error:
                state, reason = "failed", str(error) or "out of memory"
            with self._alone, exit_on_sigterm():
                if state == COMPLETE:
                    reason = history.stopped
                    folder.save_model()
                folder.finish(reason, None, failed=state != COMPLETE)
                if state == COMPLETE and experiment.trainer.progress.interrupted:
                    raise KeyboardInterrupt(reason)
                if pruning.pruned:
                    state = "pruned"
                best = None if experiment.best is None else experiment.best.find(history.rows)
                self.study.end(claim, state, best, len(history.rows), reason)

    def _tell(self, claim: Claim) -> None:
        trials = self.study.summary()
        for each in trials.trials:
            if each.number == claim.number:
                self.events.ended(each, trials)


def interruption(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "ended by SIGTERM"
    return str(error) or "interrupted by Ctrl-C"


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    # During training, the trainer handles the signal: training ends between two updates.
    number = signal.SIGTERM
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(number) is not signal.SIG_DFL:
        yield
        return
    signal.signal(number, _exit)
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class Pruning(Callback):
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
