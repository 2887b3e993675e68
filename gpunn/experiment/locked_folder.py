"""The folder of a run, in which only one process can train."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from gpunn.backends import Backend
from gpunn.doctor import environment
from gpunn.errors import ConfigError
from gpunn.experiment.files import CHECKPOINTS, CONFIG, ENVIRONMENT, EVALUATION, FILES
from gpunn.experiment.splits import Splits
from gpunn.storage.files import (
    FolderLock,
    Replacement,
    confined,
    json_bytes,
    make_folder,
    remove_leftovers,
    write_json,
)


class LockedFolder:
    """A run's folder. `_take_lock` locks out other processes; `__exit__` unlocks the folder."""

    def __init__(self, path: Path, *, overwrite: bool = False, resume: bool = False) -> None:
        self.path = path
        self.overwrite = overwrite
        self.resume = resume
        self._lock: FolderLock | None = None
        if path.exists() and not path.is_dir():
            raise ConfigError(
                f"{path}: expected a folder for the run; this is a file. Choose another path with "
                "--output"
            )
        self._check_link(CHECKPOINTS)
        if not (overwrite or resume) and path.is_dir() and any(path.iterdir()):
            raise ConfigError(
                f"{path}: the folder is not empty. Continue the run with --resume, replace it with "
                "--overwrite, or choose another folder with --output"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _check_link(self, name: str) -> None:
        if confined(self.path, name) is None:
            raise ConfigError(
                f"{self.path / name}: this link leads out of the run folder; remove it, or link "
                "the whole run folder"
            )

    def _prepare(self) -> None:
        make_folder(self.path)
        self._take_lock()
        remove_leftovers(self.path, "|".join(map(re.escape, FILES)))

    def _describe(self, new: Replacement, description: Mapping[str, Any], backend: Backend) -> None:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        machine = {"started": started, **environment(backend)}
        new.add(self.path / CONFIG, json_bytes(description))
        new.add(self.path / ENVIRONMENT, json_bytes(machine))

    def _write_evaluation(
        self, epochs: int, stopped: str, splits: Splits, metrics: Mapping[str, float] | None
    ) -> None:
        measured = None
        if metrics is not None and splits.test is not None:
            measured = {"rows": splits.test.rows, **metrics}
        report = {"epochs": epochs, "stopped": stopped, "test": measured}
        write_json(self.path / EVALUATION, {**report, "data": splits.fingerprints()})

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        try:
            self._lock = FolderLock(self.path)
        except BlockingIOError:
            raise ConfigError(
                f"{self.path}: another process is training in this folder; wait until it ends, or "
                "choose another folder with --output"
            ) from None
        if not (self.overwrite or self.resume) and (self.path / CONFIG).exists():
            raise ConfigError(
                f"{self.path}: another process has trained in this folder since this process "
                "began; choose another folder with --output"
            )
