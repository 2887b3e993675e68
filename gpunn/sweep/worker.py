"""One of the processes that work on a sweep: it trains trials until there are enough."""

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
    """Whoever wants to know of a worker's trials overrides these; they do nothing.

    Examples
    --------
    >>> from gpunn.sweep import Events
    >>> class Print(Events):
    ...     def ended(self, trial, trials):
    ...         print(trial.number, trial.state, trial.value)
    """

    def began(self, trial: Trial, experiment: Experiment) -> None:
        """Do something when a trial's training begins.

        Parameters
        ----------
        trial : Trial
            The one that begins.
        experiment : Experiment
            What is trained.
        """

    def ended(self, trial: Trial, trials: Trials) -> None:
        """Do something when a trial has ended, in any way.

        Parameters
        ----------
        trial : Trial
            The one that has ended.
        trials : Trials
            All that have begun.
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
    """Train trials of a sweep until there are as many as are wanted, over all processes.

    Parameters
    ----------
    source : Source
        The configuration of the sweep.
    folder : Path
        Of the sweep; it is made, or holds what this and other processes have done so far.
    trials : int or None
        How many are wanted; None is what the configuration says.
    reclaim : bool
        Whether to give up, before the first trial, those that others have begun and not ended.
    events : Events or None
        Who is told when trials begin and end.
    progress : bool
        Whether to show progress bars.

    Returns
    -------
    Trials
        All there are when this process has no more to do.

    Raises
    ------
    ConfigError
        If the configuration has no sweep, or some values in it make no configuration, or the
        folder holds something else.
    DataFileError
        If the study's file is damaged.
    MissingPackageError
        If Optuna is not installed.
    KeyboardInterrupt, SystemExit
        On Ctrl-C and SIGTERM, once the trial is noted as interrupted.

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
    optuna()  # which may be missing; nothing else is worth its time then
    config, sweep = source.read()
    with exit_on_sigterm():
        study = Study(folder, config, sweep, check_sweep(source, sweep))
        most = sweep.trials if trials is None else trials
    worker = Worker(source, folder, study, events or Events(), progress)
    while True:
        with exit_on_sigterm():
            claim = study.claim(most, reclaim=reclaim)
            reclaim = False  # what begins from here on is somebody's
        if claim is None:
            return study.summary()
        worker.train(claim)


class Worker:
    """What trains the trials of a study in this process."""

    def __init__(
        self, source: Source, folder: Path, study: Study, events: Events, progress: bool
    ) -> None:
        self.source, self.folder, self.study = source, folder, study
        self.events, self.progress = events, progress

    def train(self, claim: Claim) -> None:
        """Train a trial, and note how it ended."""
        try:
            with exit_on_sigterm():
                experiment = self._built(claim)
            if experiment is not None:
                self._run(claim, experiment)
        except BaseException as error:
            # What no trial is to blame for: signals, full disks, missing files.
            self.study.end(claim, "interrupted", reason=why(error))
            self._tell(claim)
            raise
        self._tell(claim)
        gc.collect()  # a device may have no room for the arrays of two trials

    def _built(self, claim: Claim) -> Experiment | None:
        """Return a trial's experiment, or None if its values make none."""
        try:
            return self.source.build(settings_of(claim.values))
        except InvalidFileError:  # of the data, whatever the values are
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


def why(error: BaseException) -> str:
    """Return in a few words what interrupted a trial."""
    if isinstance(error, SystemExit):
        return "ended by SIGTERM"
    return "interrupted by Ctrl-C" if isinstance(error, KeyboardInterrupt) else str(error)


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Within this context SIGTERM raises SystemExit, as Ctrl-C raises KeyboardInterrupt.

    While a network is trained this is left to the training, which ends between two updates. A
    handler that somebody has set stays.
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
