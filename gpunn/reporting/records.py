"""Reads a run folder for a report."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from gpunn.config import Config, load_config
from gpunn.configurable import check_number, resolve
from gpunn.errors import ArgumentError, ArgumentTypeError, DataFileError, ModelFileError
from gpunn.experiment.files import (
    BEST,
    CHECKPOINTS,
    CONFIG,
    ENVIRONMENT,
    EVALUATION,
    HISTORY,
    NORMS,
    require_run,
)
from gpunn.experiment.networks import AUTO
from gpunn.metrics import Metric
from gpunn.monitor import Best, default_monitor, direction, directions
from gpunn.schema import typed
from gpunn.storage.checkpoint_folder import newest_first
from gpunn.storage.files import is_locked
from gpunn.storage.models import FINAL
from gpunn.storage.reading import parsed_json, read_lines, read_whole
from gpunn.training.callbacks import Callback, EarlyStopping
from gpunn.training.checkpoints.checkpoint import newest_checkpoint

LARGEST = 2**20

MAX_METRICS = 100
"""Maximum number of metrics in a history. Drawing a chart of a metric takes about 0.1 seconds."""

RANGES = {"epoch": (1, 2**53), "seconds": (0, 1e12), "samples_per_second": (0, 1e15)}

Values = dict[str, Annotated[float, check_number] | None]
"""Finite numbers by name. None replaces NaN and infinity, because JSON lacks them."""


@dataclass(frozen=True)
class NormRow:
    """Norms of parameters and gradients after an epoch, by name; None means not finite."""

    epoch: int
    parameters: Values
    gradients: Values


@dataclass(frozen=True)
class Blas:
    name: str = ""
    version: str = ""


@dataclass(frozen=True)
class Environment:
    started: str = ""
    processor: str = ""
    platform: str = ""
    python: str = ""
    gpunn: str = ""
    cores: int | None = None
    backend: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str | None] = field(default_factory=dict)
    blas: Blas = Blas()


@dataclass(frozen=True)
class Ending:
    epochs: int
    stopped: str
    test: Values | None


@dataclass(frozen=True)
class Record:
    """The content of a run folder; `ending` is None until the run ends."""

    path: Path
    name: str
    config: Config
    description: dict[str, Any]
    environment: Environment
    history: list[dict[str, float | None]]
    ending: Ending | None
    running: bool

    @property
    def automatic(self) -> bool:
        return self.config.model.name == AUTO

    @cached_property
    def norms(self) -> list[NormRow]:
        rows: list[NormRow] = lines(self.path / NORMS, NormRow)
        return rows

    @cached_property
    def model_file(self) -> Path | None:
        return newest_model(self.path)

    @cached_property
    def state(self) -> str:
        """The run's state. "failed" means that the run ended without a network."""
        ending = self.ending
        if self.running:
            return "running"
        if ending is None or ending.epochs < len(self.history):
            return "interrupted"
        if ending.stopped.startswith("pruned"):
            return "pruned"
        if not (self.path / FINAL).exists():
            return "failed"
        # Resumed for more epochs, of which none is complete.
        more = not ending.stopped and ending.epochs < self.config.training.epochs
        return "interrupted" if more or "Ctrl-C" in ending.stopped else "finished"

    @property
    def monitor(self) -> str | None:
        last = self.history[-1] if self.history else {}
        named = self._named
        return named.monitor if named and named.monitor in last else default_monitor(last)

    @cached_property
    def rule(self) -> Best | None:
        monitor, named = self.monitor, self._named
        if monitor is None:
            return None
        default = Best(monitor, "auto")
        rule = named if named is not None and named.monitor == monitor else default
        try:
            settled = direction(rule.direction, monitor, self.larger_is_better)
        except ArgumentError:  # the run is old, and the metric's class is not defined here
            return None
        return replace(rule, direction=settled)

    @cached_property
    def best(self) -> dict[str, float | None] | None:
        return None if self.rule is None else self.rule.find(self.history)

    @property
    def larger_is_better(self) -> dict[str, bool | None]:
        return directions(self._metrics)

    @property
    def _named(self) -> Best | None:
        """The configured rule that selects the best epoch; its direction may be "auto"."""
        stopping, training = self._stopping, self.config.training
        if stopping is not None:
            return Best(stopping.monitor, stopping.mode, stopping.min_delta, stopping.ties)
        return None if training.monitor is None else Best(training.monitor, training.monitor_mode)

    @property
    def _metrics(self) -> list[Metric]:
        metrics, training = [], self.config.training
        for index, value in enumerate([*training.metrics, *training.validation_metrics]):
            with suppress(ArgumentError, ArgumentTypeError):
                metrics.append(resolve(Metric, value, f"training.metrics[{index}]"))
        return metrics

    @property
    def _stopping(self) -> EarlyStopping | None:
        for index, value in enumerate(self.config.training.callbacks):
            name = value if isinstance(value, str) else value.get("name")
            if name == EarlyStopping.name:
                callback = resolve(Callback, value, f"training.callbacks[{index}]")
                assert isinstance(callback, EarlyStopping)
                return callback
        return None

    @property
    def seconds(self) -> float:
        return sum(row.get("seconds") or 0.0 for row in self.history)


def read_run(path: Path) -> Record:
    # The run's norms and networks are read later, when they are accessed.
    require_run(path)
    ending, environment = path / EVALUATION, path / ENVIRONMENT
    config = load_config(path / CONFIG)
    return Record(
        path,
        path.resolve().name,
        config,
        config.plain(),
        whole(environment, Environment) if environment.exists() else Environment(),
        history(path / HISTORY),
        whole(ending, Ending) if ending.exists() else None,
        is_locked(path),
    )


def newest_model(path: Path) -> Path | None:
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


def history(path: Path) -> list[dict[str, float | None]]:
    rows = lines(path, Values)
    names: set[str] = set()
    for number, row in enumerate(rows, start=1):
        if row.get("epoch") is None:
            raise DataFileError(f"{path}, line {number}: damaged: there is no number 'epoch'")
        for name, (low, high) in RANGES.items():
            if (value := row.get(name)) is not None and not low <= value <= high:
                raise DataFileError(
                    f"{path}, line {number}: damaged: {name!r} is {value!r}; expected {low:g} to "
                    f"{high:g}"
                )
        names.update(row)
        if len(names) > MAX_METRICS:
            raise DataFileError(
                f"{path}, line {number}: expected at most {MAX_METRICS} metrics, since each has a "
                f"chart; got {len(names):,}"
            )
    return rows


def lines(path: Path, kind: Any) -> list[Any]:
    if not path.exists():
        return []
    return [
        decode(f"{path}, line {number}", line, kind)
        for number, line in enumerate(read_lines(path, DataFileError), start=1)
        if line.endswith(b"\n")
    ]


def whole(path: Path, kind: Any) -> Any:
    return decode(path, read_whole(path, DataFileError, LARGEST, "a file of a run"), kind)


def decode(location: object, text: bytes, kind: Any) -> Any:
    with DataFileError.instead_of(ValueError, prefix=f"{location}: damaged: "):
        return typed(kind, parsed_json(text.decode()), ignore_unknown=True)
