"""The results of a sweep so far, in the file `trials.json`."""

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

TRIALS = "trials.json"

LARGEST = 2**26

FOLDER = re.compile(r"trial-[0-9]{4,9}")

COMPLETE = "complete"

COUNTED = frozenset((COMPLETE, "pruned", "diverged", "failed", "running"))
"""States of trials that count toward the total; "interrupted" or "lost" trials are replaced."""

DEEPEST, LARGEST_NUMBER = 32, 2**63
"""Limits of a parameter's value: depth of nested tables or lists, and size of numbers."""


def check_folder(path: str, name: str) -> str:
    if FOLDER.fullmatch(name) is None:
        raise ArgumentError(f"{path}: expected a name such as 'trial-0007'; got {name!r:.80}")
    return name


def check_count(path: str, number: int) -> int:
    check_number(path, number, at_least=0, below=LARGEST_NUMBER)
    return number


def check_value(path: str, value: Any, depth: int = 0) -> Any:
    if depth > DEEPEST:
        raise ArgumentError(f"{path}: expected at most {DEEPEST} levels of nested tables or lists")
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
        Number of the trial, counted from 0 in the order in which trials begin.
    folder : str
        Name of the trial's run folder within the sweep folder.
    state : str
        "complete", "pruned", "diverged", "failed" (values are invalid, or need too much memory),
        "interrupted" (by a signal or an error), "lost" (the process was killed) or "running".
    parameters : dict
        Values of the configuration's keys by their paths.
    value : float or None
        The metric that compares trials, at the best epoch so far.
    epoch : int or None
        The best epoch so far.
    epochs : int
        Number of trained epochs.
    reason : str
        If the trial ended before its last epoch, the reason.

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
        """Return the attributes by name.

        Returns
        -------
        dict
            A dictionary of the attributes, in JSON types.
        """
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class Trials:
    """All trials of a sweep.

    Parameters
    ----------
    metric : str
        The validation metric that compares trials.
    direction : {"min", "max"}
        Whether smaller ("min") or larger ("max") values are better.
    trials : list of Trial
        The trials, ordered by number.
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
        """The complete trials from best to worst, then all others from best to worst."""
        sign = 1 if self.direction == "min" else -1

        def key(trial: Trial) -> tuple[bool, bool, float, int]:
            value = 0.0 if trial.value is None else sign * trial.value
            return trial.state != COMPLETE, trial.value is None, value, trial.number

        return sorted(self.trials, key=key)

    @property
    def best(self) -> Trial | None:
        """The complete trial with the best validation metric; the first of several equal trials."""
        ranked = self.ranked
        first = ranked[0] if ranked else None
        return None if first is None or first.state != COMPLETE or first.value is None else first

    @property
    def counted(self) -> int:
        """The number of trials whose state is in `COUNTED`."""
        return sum(trial.state in COUNTED for trial in self.trials)


def write_trials(folder: Path, trials: Trials) -> None:
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
    """Read the results of a sweep.

    Parameters
    ----------
    folder : Path
        The sweep folder.

    Returns
    -------
    Trials
        The trials at the time when a process last wrote the file.

    Raises
    ------
    DataFileError
        If the file is damaged.
    OSError
        If there is no such file.

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
    with DataFileError.instead_of(ValueError, prefix=f"{path}: damaged: "):
        trials: Trials = typed(Trials, parsed_json(content.decode()), ignore_unknown=True)
    return trials
