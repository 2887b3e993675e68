"""Folders of checkpoints: selects the checkpoint to resume from, and removes old checkpoints."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gpunn.errors import ModelFileError
from gpunn.storage.files import Replacement, make_folder, remove, remove_leftovers
from gpunn.storage.models import ModelContent
from gpunn.storage.reading import checked_path

LOG = logging.getLogger("gpunn")

Read = TypeVar("Read")

FOLDER = "checkpoints"

SUFFIX = ".safetensors"

OF_RUN = rf"\d{{10}}{re.escape(SUFFIX)}"


@dataclass(frozen=True)
class CheckpointContent(ModelContent):
    epoch: int
    updates: int


def newest_undamaged(path: str | Path, read: Callable[[Path], Read]) -> Read:
    """Read the newest undamaged checkpoint; log a warning for each newer, damaged checkpoint."""
    path = Path(checked_path(path))
    if not path.is_dir():
        return read(path)
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    faults = []
    for file in newest_first(folder):
        try:
            checkpoint = read(file)
        except ModelFileError as error:
            faults.append(str(error))
            continue
        for fault in faults:
            LOG.warning("Skipped a checkpoint: %s", fault)
        if faults:
            LOG.warning("Resuming from %s", file)
        return checkpoint
    every = "all checkpoints in this folder are damaged"
    problem = every if faults else "this folder contains no checkpoint"
    raise ModelFileError("; ".join([f"{folder}: {problem}", *faults]))


def newest_first(folder: Path) -> list[Path]:
    def age(file: Path) -> tuple[list[int], int]:
        try:
            written = file.stat().st_mtime_ns
        except FileNotFoundError:  # a running training process has just removed it
            written = 0
        return [int(number) for number in re.findall(r"\d+", file.stem)], written

    files = [file for file in folder.glob(f"*{SUFFIX}") if not file.name.startswith(".")]
    of_run = [file for file in files if re.fullmatch(OF_RUN, file.name)]
    return sorted(of_run or files, key=age, reverse=True)


class CheckpointFolder:
    """The last `keep` checkpoints of a run. A new one is written before an old one is removed."""

    def __init__(self, path: Path, keep: int) -> None:
        self.path, self.keep = path, keep

    def newest_first(self) -> list[Path]:
        if not self.path.is_dir():
            return []
        files = (file for file in self.path.iterdir() if re.fullmatch(OF_RUN, file.name))
        return sorted(files, reverse=True)

    def add_first(self, content: CheckpointContent, new: Replacement) -> Path:
        make_folder(self.path)
        remove_leftovers(self.path, OF_RUN)
        path = self._path_of(content)
        new.add(path, *content.chunks)
        return path

    def drop_ahead_of(self, first: Path) -> None:
        """Remove all checkpoints with more updates than `first`: each is damaged or obsolete."""
        for file in self.newest_first():
            if file.name > first.name:
                remove(file)

    def write(self, content: CheckpointContent) -> Path:
        path = self._path_of(content)
        content.write(path)
        for file in self.newest_first()[self.keep :]:
            if file != path:
                remove(file)
        return path

    def clear(self) -> None:
        for file in self.newest_first():
            file.unlink()
        if self.path.is_dir():
            remove_leftovers(self.path, OF_RUN)

    def _path_of(self, content: CheckpointContent) -> Path:
        return self.path / f"{content.updates:010d}{SUFFIX}"
