"""The folder of a run, in which only one process can train."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from gpunn.errors import ConfigError
from gpunn.experiment.files import CHECKPOINTS, CONFIG
from gpunn.storage.files import FolderLock, confined


class LockedFolder:
    """A folder for a run, locked for other processes from `_take_lock` to the end of the context.

    A ConfigError is raised if the folder is not empty while `overwrite` and `resume` are False, or
    if the link `checkpoints` in it leads out of the folder.
    """

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
        if confined(path, CHECKPOINTS) is None:
            raise ConfigError(
                f"{path / CHECKPOINTS}: this link leads out of the run folder; remove it, or link "
                "the whole run folder"
            )
        if not (overwrite or resume) and path.is_dir() and any(path.iterdir()):
            raise ConfigError(
                f"{path}: the folder is not empty. Continue the run with --resume, replace it with "
                "--overwrite, or choose another folder with --output"
            )

    def __enter__(self) -> Self:
        """Return this folder."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Unlock the folder for other processes."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _take_lock(self) -> None:
        """Lock the folder, or raise a ConfigError if another process trains in it."""
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
