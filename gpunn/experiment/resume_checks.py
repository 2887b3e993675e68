"""Refuses other data, network, seed or dtype than a run had; warns if results will differ."""

import logging
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.config import BackendOptions, Config, read_config
from gpunn.differences import differences, network_differences
from gpunn.doctor import environment
from gpunn.errors import ArgumentError, ConfigError, ConfigFileError
from gpunn.experiment.build import Experiment
from gpunn.experiment.data import load
from gpunn.experiment.files import CONFIG, EVALUATION
from gpunn.experiment.splits import Splits
from gpunn.losses import Loss
from gpunn.schedules import Schedule
from gpunn.schema import typed
from gpunn.training.checkpoints.checkpoint import Checkpoint

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
"""Keys of `[training]` that do not affect updates, except that `epochs` affects schedules."""

GROWING = {"matmul_algorithms"}
"""Recorded facts that training changes; the backend's options of this name are compared instead."""

ROUNDING = ("processor", "thread_variables")
"""Recorded facts about the machine, besides backend and BLAS, that may change rounding."""


def check_resumable(
    folder: Path, description: Mapping[str, Any], free: Collection[str] = ()
) -> dict[str, Any]:
    # Apart from keys in `free`, data, network, seed and dtype must be the same as in `description`.
    earlier = read_config(folder / CONFIG)
    for key in ("data", "model", "seed", "dtype"):
        for path, old, new in network_differences(earlier.get(key), description[key], key):
            if not (path.endswith("path") or path in free):  # the files may have moved
                before = "has no such key" if old is None else f"has {old!r}"
                after = "without this key" if new is None else f"with {new!r}"
                raise ConfigError(
                    f"{path}: the run in {folder} {before} and cannot resume {after}; "
                    "undo the change, or start a new run in another folder with --output"
                )
    return earlier


def check_same_data(
    trained: str, earlier: dict[str, list[int]], current: dict[str, list[int]], advice: str
) -> None:
    if earlier != current:
        old, new = (
            ", ".join(f"{sum(checked[:1]):,} {split}" for split, checked in splits.items())
            for splits in (earlier, current)
        )
        change = f"its rows were {old}; now they are {new}"
        if old == new:
            change = "as many rows, but with other values, in another order or of another type"
        raise ConfigError(f"data: {trained} was trained on other data: {change}. {advice}")


def data_of_run(folder: Path, config: Config, loss: Loss, outputs: int) -> Splits:
    # After a change of the files, other rows are held out, so test rows may be training rows.
    splits = load(config, loss).split(config.data, loss, outputs)
    current, ending = splits.fingerprints(), folder / EVALUATION
    recorded = read_config(ending).get("data", current) if ending.exists() else current
    with ConfigFileError.instead_of(ArgumentError, prefix=f"{ending}: "):
        earlier = typed(dict[str, list[int]], recorded, "data")
    advice = "Test rows may now be training rows; restore the data, or evaluate another file"
    check_same_data(f"the run in {folder}", earlier, current, advice)
    return splits


def warn_of_changes(
    experiment: Experiment, checkpoint: Checkpoint, earlier: Mapping[str, Any], recorded: Path
) -> None:
    changes = [*_settings(experiment, earlier), *_machine(experiment, recorded)]
    for path, old, new in changes:
        LOG.warning(
            "%s: the run had %r and resumes with %r, so its results will differ from an "
            "uninterrupted run",
            path,
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
    options = description.get("backend_options")
    defaults = BackendOptions().plain()
    return defaults | options if isinstance(options, dict) else defaults


def _machine(experiment: Experiment, recorded: Path) -> Iterator[tuple[str, Any, Any]]:
    try:
        old = read_config(recorded)
    except (ConfigError, OSError):  # only this comparison needs the file
        return
    new = environment(experiment.trainer.model.backend)
    for key in ("backend", "blas"):
        current = {name: item for name, item in new[key].items() if isinstance(item, str)}
        earlier = old.get(key)
        if isinstance(earlier, dict):
            for name in [name for name in current if name in earlier and name not in GROWING]:
                yield from differences(earlier[name], current[name], f"{key}.{name}")
    for key in ROUNDING:
        if key in old:
            yield from differences(old[key], new[key], key)


def _warn_of_schedule(
    experiment: Experiment, checkpoint: Checkpoint, earlier: Mapping[str, Any]
) -> None:
    """Warn if the learning rates so far would have been different with the new `epochs`."""
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
        "training.epochs: the learning rate follows a schedule over all epochs. The run began with "
        "%d epochs. A run with %d epochs from the beginning would have other results. "
        "The remaining epochs have rates from %.3g to %.3g; the highest so far was %.3g. For "
        "another rate, use --set training.optimizer.learning_rate=\"{name='constant', rate=...}\"",
        before,
        planned,
        to_come[0],
        to_come[-1],
        so_far.max(),
    )


def _rates(schedule: Schedule, begin: float, end: float, duration: int) -> np.ndarray:
    times = np.linspace(begin, end, 257)
    return np.broadcast_to(np.asarray(schedule.at(times, duration), dtype=np.float64), times.shape)
