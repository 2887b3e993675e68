"""What a sweep has found so far, as a file that anyone can read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from gpunn.config import SearchRange
from gpunn.configurable import check_number
from gpunn.errors import ArgumentError, DataFileError
from gpunn.schema import typed
from gpunn.storage.files import write_json
from gpunn.storage.reading import parsed_json, read_whole

__all__ = ["COMPLETE", "COUNTED", "TRIALS", "Trial", "Trials", "read_trials", "write_trials"]

TRIALS = "trials.json"
"""The file, in the folder of a sweep, with what it has found so far."""

LARGEST = 2**26
"""Bytes of such a file. A trial takes some hundred."""

FOLDER = re.compile(r"trial-[0-9]{4,9}")
"""Names of trials' folders."""

COMPLETE = "complete"

COUNTED = frozenset((COMPLETE, "pruned", "diverged", "failed", "running"))
"""States of trials that count. Those that were "interrupted" or "lost" are made up for."""

DEEPEST, LARGEST_NUMBER = 32, 2**63
"""Of the value of a parameter: tables within each other, as in a configuration, and numbers."""


def check_folder(path: str, name: str) -> str:
    """Return the name of a trial's folder, or raise an error if it is none."""
    if FOLDER.fullmatch(name) is None:
        raise ArgumentError(f"{path}: expected a name such as 'trial-0007'; got {name!r:.80}")
    return name


def check_count(path: str, number: int) -> int:
    """Return a number from 0, or raise an error if it is none or too large."""
    check_number(path, number, at_least=0, below=LARGEST_NUMBER)
    return number


def check_value(path: str, value: Any, depth: int = 0) -> Any:
    """Return a value of a parameter, or raise an error if no configuration can have it."""
    if depth > DEEPEST:
        raise ArgumentError(f"{path}: expected at most {DEEPEST} tables within each other")
    if isinstance(value, dict):
        for key, each in value.items():
            check_value(path, key)
            check_value(path, each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            check_value(path, each, depth + 1)
    elif isinstance(value, str):
        typed(str, value, path)
    elif isinstance(value, int):
        check_number(path, int(value), at_least=-LARGEST_NUMBER, below=LARGEST_NUMBER)
    return value


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial of a sweep.

    Parameters
    ----------
    number : int
        From 0, in the order in which they began.
    folder : str
        Name of its run's folder within the sweep's.
    state : str
        "complete", "pruned", "diverged" (its loss), "failed" (its values make no configuration, or
        need too much memory), "interrupted" (by a signal or an error), "lost" (its process was
        killed) or "running".
    parameters : dict
        Values of the configuration's keys by their paths.
    value : float or None
        The metric that trials are compared by, at the best epoch so far.
    epoch : int or None
        That epoch.
    epochs : int
        How many were trained.
    reason : str
        Why it ended before its last epoch, if it did.

    Examples
    --------
    >>> from gpunn.sweep import Trial
    >>> trial = Trial(number=0, folder="trial-0000", state="complete", value=0.25, epochs=3)
    >>> trial.plain()["value"]
    0.25
    """

    number: Annotated[int, check_count]
    folder: Annotated[str, check_folder]
    state: str
    parameters: dict[str, Annotated[Any, check_value]] = field(default_factory=dict)
    value: Annotated[float, check_number] | None = None
    epoch: Annotated[int, check_count] | None = None
    epochs: Annotated[int, check_count] = 0
    reason: str = ""

    def plain(self) -> dict[str, Any]:
        """Return its attributes by their names.

        Returns
        -------
        dict
            In JSON types.
        """
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class Trials:
    """All trials of a sweep.

    Parameters
    ----------
    metric : str
        What they are compared by: a metric of validation rows.
    direction : {"min", "max"}
        Whether smaller or larger is better.
    trials : list of Trial
        By their numbers.
    space : dict of str to SearchRange
        The values that each parameter may have; empty in files of earlier versions.

    Examples
    --------
    >>> from gpunn.sweep import Trial, Trials
    >>> first = Trial(number=0, folder="trial-0000", state="complete", value=0.25)
    >>> second = Trial(number=1, folder="trial-0001", state="complete", value=0.125)
    >>> Trials(metric="val_loss", direction="min", trials=[first, second]).best.number
    1
    """

    metric: str
    direction: Literal["min", "max"]
    trials: list[Trial]
    space: dict[str, SearchRange] = field(default_factory=dict)

    @property
    def ranked(self) -> list[Trial]:
        """Return all trials: complete ones, the best first, then the others by their values."""
        sign = 1 if self.direction == "min" else -1

        def key(trial: Trial) -> tuple[bool, bool, float, int]:
            worth = 0.0 if trial.value is None else sign * trial.value
            return trial.state != COMPLETE, trial.value is None, worth, trial.number

        return sorted(self.trials, key=key)

    @property
    def best(self) -> Trial | None:
        """The best of the complete trials, by validation; the first of several equal ones."""
        ranked = self.ranked
        first = ranked[0] if ranked else None
        return None if first is None or first.state != COMPLETE or first.value is None else first

    @property
    def counted(self) -> int:
        """How many count."""
        return sum(trial.state in COUNTED for trial in self.trials)


def write_trials(folder: Path, trials: Trials) -> None:
    """Write what a sweep has found to its folder, whole or not at all."""
    best = trials.best
    content: Mapping[str, Any] = {
        "metric": trials.metric,
        "direction": trials.direction,
        "best": None if best is None else best.number,
        "space": {path: each.plain() for path, each in trials.space.items()},
        "trials": [trial.plain() for trial in trials.trials],
    }
    write_json(folder / TRIALS, content)


def read_trials(folder: Path) -> Trials:
    """Read what a sweep has found.

    Parameters
    ----------
    folder : Path
        That of the sweep.

    Returns
    -------
    Trials
        As they were when one of the processes last wrote them.

    Raises
    ------
    DataFileError
        If the file is damaged.
    OSError
        If there is none.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> from gpunn.sweep import TRIALS, read_trials
    >>> trial = {"number": 0, "folder": "trial-0000", "state": "complete", "value": 0.25}
    >>> content = {"metric": "val_loss", "direction": "min", "trials": [trial]}
    >>> written = Path(TRIALS).write_text(json.dumps(content))
    >>> read_trials(Path()).best.value
    0.25
    """
    path = folder / TRIALS
    content = read_whole(path, DataFileError, LARGEST, "the trials of a sweep")
    try:
        found: Trials = typed(Trials, parsed_json(content.decode()), ignore_unknown=True)
    except ValueError as error:
        raise DataFileError(f"{path}: damaged: {error}") from error
    return found
