"""What a run's folder says of the run, read for a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gpunn.checkpoints import newest_checkpoint, newest_first
from gpunn.config import Config, load_config, read_config
from gpunn.errors import ConfigError, DataFileError, ModelFileError
from gpunn.experiment.folder import (
    BEST,
    CHECKPOINTS,
    CONFIG,
    ENVIRONMENT,
    EVALUATION,
    FINAL,
    HISTORY,
    NORMS,
)
from gpunn.monitor import direction, improved, improvement_start

__all__ = ["NormRow", "Record", "flat", "read_run"]


class NormRow(msgspec.Struct):
    """Norms of each array and its gradient after an epoch; None if not finite."""

    epoch: int
    parameters: dict[str, float | None]
    gradients: dict[str, float | None]


class Ending(msgspec.Struct):
    """How a run ended, as `evaluation.json` says."""

    epochs: int
    stopped: str
    test: dict[str, float | None] | None


@dataclass(frozen=True)
class Record:
    """A run.

    Attributes
    ----------
    path : Path
        Its folder.
    name : str
        The folder's name.
    config : Config
    description : dict
        The configuration in JSON types, every default written out.
    environment : dict
        Backend, versions and machine; empty if not known.
    history : list of dict
        The figures of each epoch; None if not finite.
    norms : list of NormRow
        Empty if the run has none.
    ending : Ending or None
        None if the run did not come to its end.
    model_file : Path or None
        The trained network, or the newest there is of it.
    """

    path: Path
    name: str
    config: Config
    description: dict[str, Any]
    environment: dict[str, Any]
    history: list[dict[str, float | None]]
    norms: list[NormRow]
    ending: Ending | None
    model_file: Path | None

    @property
    def monitor(self) -> str | None:
        """The figure by which an epoch is the best, if there is one to tell it by."""
        stoppers = [
            callback.get("monitor")
            for callback in self.description["training"]["callbacks"]
            if callback.get("name") == "early_stopping"
        ]
        figures = self.history[-1] if self.history else {}
        wanted = (*stoppers, self.config.training.monitor, "val_accuracy", "val_loss")
        return next((name for name in wanted if name is not None and name in figures), None)

    @property
    def best(self) -> dict[str, float | None] | None:
        """The figures of the best epoch, the first of equals."""
        if self.monitor is None:
            return None
        mode = direction("auto", self.monitor)
        best, found = improvement_start(mode), None
        for row in self.history:
            figure = row.get(self.monitor)
            if figure is not None and improved(mode, figure, best):
                best, found = figure, row
        return found

    @property
    def seconds(self) -> float:
        """Time that was spent in the epochs."""
        return sum(row.get("seconds") or 0.0 for row in self.history)


def read_run(path: Path) -> Record:
    """Read a run's folder.

    Raises
    ------
    ConfigError
        If it is no such folder.
    DataFileError, ModelFileError
        If one of its files is damaged; the message names it.
    """
    if not (path / CONFIG).is_file():
        raise ConfigError(f"{path}: expected the folder of a run; there is no {CONFIG} in it")
    ending = path / EVALUATION
    environment = path / ENVIRONMENT
    return Record(
        path,
        path.resolve().name,
        load_config(path / CONFIG),
        dict(read_config(path / CONFIG)),
        decode(environment, environment.read_bytes(), dict) if environment.exists() else {},
        lines(path / HISTORY, dict[str, float | None]),
        lines(path / NORMS, NormRow),
        decode(ending, ending.read_bytes(), Ending) if ending.exists() else None,
        newest_model(path),
    )


def newest_model(path: Path) -> Path | None:
    """Return the trained network of a run's folder, or the newest undamaged one there is of it."""
    if (path / FINAL).exists():
        return path / FINAL
    best = path / BEST if (path / BEST).exists() else None
    folder = path / CHECKPOINTS
    if not folder.is_dir() or not newest_first(folder):
        return best
    try:
        return newest_checkpoint(folder).path
    except ModelFileError:
        if best is None:
            raise
        return best


def lines(path: Path, kind: Any) -> list[Any]:
    """Return the objects of a file of JSON lines; one cut short at the end is left out."""
    if not path.exists():
        return []
    *whole, _ = path.read_bytes().split(b"\n")
    return [
        decode(f"{path}, line {number}", line, kind) for number, line in enumerate(whole, start=1)
    ]


def decode(place: object, text: bytes, kind: Any) -> Any:
    """Return what JSON text holds, or raise a DataFileError that names the place."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataFileError(f"{place}: damaged: {error}") from error


def flat(value: Any, place: str = "") -> dict[str, Any]:
    """Return the leaves of a configuration by their paths, such as "training.epochs".

    Examples
    --------
    >>> flat({"a": {"b": 1}, "c": [{"d": 2}, 3], "e": []})
    {'a.b': 1, 'c[0].d': 2, 'c[1]': 3, 'e': []}
    """
    items: list[tuple[str, Any]]
    if isinstance(value, Mapping) and value:
        items = [(f"{place}.{key}" if place else str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and value:
        items = [(f"{place}[{index}]", item) for index, item in enumerate(value)]
    else:
        return {place: value}
    found: dict[str, Any] = {}
    for inner, item in items:
        found |= flat(item, inner)
    return found
