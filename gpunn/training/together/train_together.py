"""Train many networks at the same time, each in one thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from gpunn.configurable import check_choice, check_flag
from gpunn.distributed.agreement import AgreedExit
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.storage.reading import checked_path
from gpunn.storage.training_folder import TrainingFolder
from gpunn.training.fit import Fit
from gpunn.training.interruption import Interruption
from gpunn.training.sharing import sharing_programs
from gpunn.training.together.fit_job import FitJob
from gpunn.training.together.fit_result import FitResult, StopRule
from gpunn.training.together.networks_bar import NetworksBar
from gpunn.training.together.threads import Threads, number_of_threads


def train_together(
    fits: Sequence[Fit],
    threads: int | None = None,
    stop: StopRule | None = None,
    on_error: str = "raise",
    folder: str | Path | None = None,
    progress: bool = True,
) -> list[FitResult]:
    """Train prepared networks at the same time, the largest first.

    Each thread trains one network at a time. For any number of threads and in any order, parameters
    and histories are bitwise identical to the results of `Trainer.fit` on one compute thread
    (GPUNN_THREADS=1).

    Parameters
    ----------
    fits : sequence of Fit
        The results of `Trainer.prepare`, each with a separate trainer.
    threads : int or None
        The number of threads, that is, of networks that train at the same time. None means
        `GPUNN_THREADS` if set; else all cores of this process, or 8 threads on CUDA devices.
    stop : StopRule or None
        A rule that compares the networks, such as `gpunn.Halving`, and ends some of them early.
    on_error : {"raise", "keep"}
        What to do if a network's training or callback fails, for example with a `DivergenceError`.
        With "raise", the other networks end after the current update, and the error is raised. With
        "keep", the other networks continue, and the failed network's result has the error.
    folder : str or Path or None
        Folder for checkpoints, written every few seconds at the end of an epoch. After a kill or
        Ctrl-C, repeat the call with the same fits to resume: networks that have ended don't train
        again.
    progress : bool
        Whether to show one progress bar for all networks.

    Returns
    -------
    list of FitResult
        The trainer, the history and the error of each fit; entry i belongs to `fits[i]`.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an argument is invalid. If two fits share a trainer, a network, a callback or a schedule
        with a state. If the networks in the folder belong to other fits.
    Exception
        With `on_error="raise"`, the first error of a network.
    SystemExit
        After all networks have ended, if the process received SIGTERM.

    See Also
    --------
    Trainer.prepare : Checks the arguments of `fit` without training.
    Halving : Ends the worse candidates early.

    Notes
    -----
    As in `Trainer.fit`, Ctrl-C ends training after the current update of each network. No further
    network begins, and all results so far are returned. A second Ctrl-C raises a KeyboardInterrupt
    immediately.

    Callbacks run in the threads that train, so callbacks of several networks may run at the same
    time. Therefore each fit needs separate callbacks.

    Examples
    --------
    >>> X, y, X_test, y_test = gpunn.data.load_digits()
    >>> fits = []
    >>> for units in (8, 16):
    ...     layers = [gpunn.layers.Dense(units, activation="relu"), gpunn.layers.Dense(10)]
    ...     model = gpunn.Sequential(layers, 64, backend="numpy", seed=0)
    ...     trainer = gpunn.Trainer(model, "softmax_cross_entropy", metrics=["accuracy"])
    ...     fits.append(trainer.prepare(X / 16, y, epochs=3, validation_split=0.2))
    >>> results = gpunn.train_together(fits, progress=False)
    >>> [len(result.history["val_accuracy"]) for result in results]
    [3, 3]
    """
    check_choice("on_error", on_error, ("raise", "keep"))
    fits = check_fits(fits)
    backends = {fit.trainer.model.backend for fit in fits}
    for backend in backends:
        backend.synchronize()  # the calling thread may have a stream for which others don't wait
    threads = max(1, min(number_of_threads(backends, threads), len(fits)))
    if stop is not None:
        if not isinstance(stop, StopRule):
            raise ArgumentTypeError(
                f"stop: expected a rule that compares networks, such as gpunn.Halving; got {stop!r}"
            )
        stop.begin(fits)
    interruption = Interruption()
    with ExitStack() as contexts:
        paths: Sequence[Path | None] = [None] * len(fits)
        if folder is not None:
            folder = Path(checked_path(folder, "folder"))
            settings = [fit.session.settings() for fit in fits]
            contexts.enter_context(
                TrainingFolder(folder, "fits.json", settings, "fits", "networks")
            )
            paths = [folder / f"{index}.safetensors" for index in range(len(fits))]
        keep = on_error == "keep"
        jobs = [FitJob(i, fit, interruption, keep, paths[i]) for i, fit in enumerate(fits)]
        bar = contexts.enter_context(NetworksBar(jobs, check_flag("progress", progress)))
        contexts.enter_context(interruption)
        contexts.enter_context(sharing_programs())
        pool = contexts.enter_context(Threads(threads, interruption, bar.show))
        largest_first = sorted(jobs, key=lambda job: job.size, reverse=True)
        for epochs in rounds(jobs, stop, interruption):
            pool.run([partial(job.train, epochs) for job in largest_first if not job.ended])
    if pool.errors:
        raise pool.errors[0]
    if interruption.requested and interruption.exit_status is not None:
        raise AgreedExit(interruption.exit_status)
    return [job.result for job in jobs]


def rounds(
    jobs: list[FitJob], stop: StopRule | None, interruption: Interruption
) -> Iterator[int | None]:
    if stop is not None:
        try:
            yield from compared_rounds(jobs, stop, interruption)
        except Exception as error:  # the waiting networks end before the error is raised
            interruption.cancel(f"ended because the rule `stop` raised {error!r}")
            yield None
            raise
    yield None


def compared_rounds(
    jobs: list[FitJob], stop: StopRule, interruption: Interruption
) -> Iterator[int]:
    results = {job.index: job.result for job in jobs}
    epoch, until = 0, stop.next_epoch(0)
    while until is not None and not all(job.ended for job in jobs):
        if until <= epoch:
            raise ArgumentError(
                f"stop: next_epoch({epoch}) must return a number > {epoch}, or None; got {until}"
            )
        yield until
        if interruption.requested:
            return
        for index, reason in stop.compare(until, dict(results)).items():
            del results[index]
            if not jobs[index].ended:
                jobs[index].fit.trainer.stop_reason = reason
        epoch, until = until, stop.next_epoch(until)


def check_fits(fits: Sequence[Fit]) -> list[Fit]:
    checked = list(fits) if isinstance(fits, Iterable) else [fits]
    if isinstance(fits, Fit) or not all(isinstance(fit, Fit) for fit in checked):
        raise ArgumentTypeError(
            "fits: expected a list of fits; make each with Trainer.prepare, which accepts the "
            "arguments of Trainer.fit"
        )
    owners: dict[int, int] = {}
    for index, fit in enumerate(checked):
        if not fit.trainer.ranks.alone:
            raise ArgumentError(
                f"fits[{index}]: several processes train this network together; give its trainer "
                "no communicator. To use several processes, give each process some of the fits"
            )
        for what, owned, advice in objects_changed_by(fit):
            other = owners.setdefault(id(owned), index)
            if other != index:
                raise ArgumentError(
                    f"fits[{index}]: has the same {what} as fits[{other}]; create a separate "
                    f"{advice}"
                )
    return checked


def objects_changed_by(fit: Fit) -> Iterator[tuple[str, object, str]]:
    trainer = fit.trainer
    yield "trainer", trainer, "trainer for each fit, for example with copy.deepcopy(trainer)"
    yield "network", trainer.model, "network for each fit, for example with copy.deepcopy(model)"
    if trainer.optimizer.schedule.state():
        yield "schedule", trainer.optimizer.schedule, "optimizer and schedule for each fit"
    for callback in fit.session.callbacks:
        yield f"callback {callback.name!r}", callback, "callback for each fit"
