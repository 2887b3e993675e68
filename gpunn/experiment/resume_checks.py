"""What refuses `--resume`: other data, network, seed or dtype; warnings if results will differ."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.config import BackendOptions, read_config
from gpunn.differences import differences, network_differences
from gpunn.doctor import environment
from gpunn.errors import ConfigError
from gpunn.experiment.build import Experiment
from gpunn.experiment.files import CONFIG
from gpunn.schedules import Schedule
from gpunn.training.checkpoints.checkpoint import Checkpoint

__all__ = ["check_resumable", "check_same_data", "warn_of_changes"]

LOG = logging.getLogger("gpunn")

NEUTRAL = {
    "callbacks",
    "checkpoint_every",
    "checkpoint_every_seconds",
    "checkpoint_every_updates",
    "epochs",
    "keep_checkpoints",
    "metrics",
    "monitor",
}
"""Keys of `[training]` that change no update; a schedule may look at the epochs."""

FOUND = {"matmul_algorithms"}
"""What a backend says of itself that grows while it computes; the option of this name is compared
with the other ones."""

ROUNDING = ("processor", "thread_variables")
"""What is recorded of the machine, beside backend and BLAS, and changes how numbers are rounded."""


def check_resumable(folder: Path, description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of the run in a folder.

    Raise a ConfigError if its data, network, seed or dtype differ from `description`.
    """
    earlier = read_config(folder / CONFIG)
    for key in ("data", "model", "seed", "dtype"):
        for path, old, new in network_differences(earlier.get(key), description[key], key):
            if not path.endswith("path"):  # the files may have moved
                raise ConfigError(
                    f"{path}: the run in {folder} has {old!r} and cannot resume with {new!r}; "
                    "set it back, or start a new run in another folder with --output"
                )
    return earlier


def check_same_data(
    folder: Path, earlier: dict[str, list[int]], current: dict[str, list[int]]
) -> None:
    """Raise a ConfigError if the fingerprints of the data differ; see `Part.fingerprint`."""
    if earlier != current:
        raise ConfigError(
            f"data: the run in {folder} was trained on other data; its rows and checksums were "
            f"{earlier}, and are now {current}. Restore the data, or start a new run in another "
            "folder with --output"
        )


def warn_of_changes(
    experiment: Experiment, checkpoint: Checkpoint, earlier: Mapping[str, Any], recorded: Path
) -> None:
    """Log a warning for each change that gives a resumed run other results.

    `earlier` is the configuration that the run had, and `recorded` the file with its backend and
    machine.
    """
    changes = [*_settings(experiment, earlier), *_surroundings(experiment, recorded)]
    for place, old, new in changes:
        LOG.warning(
            "%s: the run had %r and goes on with %r, so it will not end with the numbers of an "
            "uninterrupted run",
            place,
            old,
            new,
        )
    _warn_of_schedule(experiment, checkpoint, earlier)


def _settings(experiment: Experiment, earlier: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    old, new = earlier.get("training"), experiment.description["training"]
    if isinstance(old, dict):
        for key in new.keys() & old.keys() - NEUTRAL:
            yield from differences(old[key], new[key], f"training.{key}")
    yield from differences(_options(earlier), _options(experiment.description), "backend_options")


def _options(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a backend; the file of an earlier release has fewer."""
    given = description.get("backend_options")
    defaults = BackendOptions().plain()
    return defaults | given if isinstance(given, dict) else defaults


def _surroundings(experiment: Experiment, recorded: Path) -> Iterator[tuple[str, Any, Any]]:
    """Yield in what backend, BLAS and processor differ from those that were recorded."""
    try:
        old = read_config(recorded)
    except (ConfigError, OSError):  # it is a record, and needed for nothing else
        return
    new = environment(experiment.trainer.model.backend)
    for key in ("backend", "blas"):
        ours = {name: item for name, item in new[key].items() if isinstance(item, str)}
        theirs = old.get(key)
        if isinstance(theirs, dict):
            for name in [name for name in ours if name in theirs and name not in FOUND]:
                yield from differences(theirs[name], ours[name], f"{key}.{name}")
    for key in ROUNDING:
        if key in old:
            yield from differences(old[key], new[key], key)


def _warn_of_schedule(
    experiment: Experiment, checkpoint: Checkpoint, earlier: Mapping[str, Any]
) -> None:
    """Warn if the learning rates so far were those of a training of another length."""
    training = earlier.get("training")
    before = training.get("epochs") if isinstance(training, dict) else None
    planned, progress = experiment.config.training.epochs, checkpoint.progress
    done = float(progress.epoch)
    if progress.cursor is not None:
        done += progress.cursor.done / progress.cursor.plan.updates
    if not isinstance(before, int) or before == planned or not done or done >= planned:
        return
    schedule = experiment.trainer.optimizer.schedule
    so_far = _rates(schedule, 0, done, before)
    if np.array_equal(so_far, _rates(schedule, 0, done, planned)):
        return
    to_come = _rates(schedule, done, planned, planned)
    LOG.warning(
        "training.epochs: the learning rate follows a schedule over all epochs, and the run was "
        "begun for %d. With %d it will not end with the numbers of a run that was begun for so "
        "many. The rate of the epochs to come goes from %.3g to %.3g; it was up to %.3g. "
        "--set training.optimizer.learning_rate=\"{name='constant', rate=...}\" gives them another "
        "one",
        before,
        planned,
        to_come[0],
        to_come[-1],
        so_far.max(),
    )


def _rates(schedule: Schedule, begin: float, end: float, duration: int) -> np.ndarray:
    """Return learning rates between two moments, in epochs."""
    times = np.linspace(begin, end, 257)
    return np.broadcast_to(np.asarray(schedule.at(times, duration), dtype=np.float64), times.shape)
