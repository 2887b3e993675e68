"""Trains trials of a sweep in one process, until the total number of trials is reached."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from gpunn.errors import (
    ArgumentError,
    ConfigError,
    DataError,
    DivergenceError,
    InvalidFileError,
)
from gpunn.experiment import Experiment, RunFolder
from gpunn.sweep.checks import check_sweep
from gpunn.sweep.journal import optuna
from gpunn.sweep.pruning import Pruning
from gpunn.sweep.source import Source
from gpunn.sweep.space import settings_of
from gpunn.sweep.study import Claim, Study
from gpunn.sweep.trials import COMPLETE, Trial, Trials

__all__ = ["Events", "run_worker"]


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
        """Handle the end of a trial, for any reason.

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
        Whether to show progress bars.

    Returns
    -------
    Trials
        All trials at the time when this process ends its work.

    Raises
    ------
    ConfigError
        If the configuration has no sweep, some of its values are invalid, or the folder is not a
        sweep folder.
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
    config, sweep = source.read()
    with exit_on_sigterm():
        study = Study(folder, config, sweep, check_sweep(source, sweep))
        maximum = sweep.trials if trials is None else trials
    worker = Worker(source, folder, study, events or Events(), progress)
    while True:
        with exit_on_sigterm():
            claim = study.claim(maximum, reclaim=reclaim)
            reclaim = False  # trials that begin later belong to running processes
        if claim is None:
            return study.summary()
        worker.train(claim)


class Worker:
    """Trains the trials of a study in this process."""

    def __init__(
        self, source: Source, folder: Path, study: Study, events: Events, progress: bool
    ) -> None:
        self.source, self.folder, self.study = source, folder, study
        self.events, self.progress = events, progress

    def train(self, claim: Claim) -> None:
        """Train a trial, and record how it ended."""
        try:
            with exit_on_sigterm():
                experiment = self._built(claim)
            if experiment is not None:
                self._run(claim, experiment)
        except BaseException as error:
            # These errors are not the trial's fault: signals, full disks, missing files.
            self.study.end(claim, "interrupted", reason=interruption(error))
            self._tell(claim)
            raise
        self._tell(claim)
        gc.collect()  # a device may have too little memory for the arrays of two trials

    def _built(self, claim: Claim) -> Experiment | None:
        """Return a trial's experiment, or None if its values are invalid."""
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
            folder.attach(experiment)
            self.events.began(
                Trial(
                    number=claim.number,
                    folder=claim.folder,
                    state="running",
                    parameters=claim.values,
                ),
                experiment,
            )
            state, reason = COMPLETE, ""
            try:
                history = experiment.run(pruning, folder, progress=self.progress)
            except DivergenceError as error:
                state, reason = "diverged", str(error)
            except MemoryError as error:
                state, reason = "failed", str(error) or "out of memory"
            with exit_on_sigterm():
                if state == COMPLETE:
                    reason = history.stopped
                    folder.save_model()
                folder.finish(reason, None, failed=state != COMPLETE)
                if "Ctrl-C" in reason:
                    raise KeyboardInterrupt
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
    """Return a short description of the error that interrupted a trial."""
    if isinstance(error, SystemExit):
        return "ended by SIGTERM"
    return "interrupted by Ctrl-C" if isinstance(error, KeyboardInterrupt) else str(error)


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit within this context, as Ctrl-C raises KeyboardInterrupt.

    Training itself handles the signal and ends between two updates. An existing handler stays.
    """
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
