"""Folders of checkpoints: which one to resume from, and which ones to keep."""

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

__all__ = ["FOLDER", "CheckpointContent", "CheckpointFolder", "newest_first", "newest_undamaged"]

LOG = logging.getLogger("gpunn")

Read = TypeVar("Read")

FOLDER = "checkpoints"
"""Name of the folder within that of a run."""

SUFFIX = ".safetensors"

OWN = rf"\d{{10}}{re.escape(SUFFIX)}"
"""Names of the checkpoints that a run writes."""


@dataclass(frozen=True)
class CheckpointContent(ModelContent):
    """What a checkpoint is to hold, on the host, and the epochs and updates done by then.

    It is a model file that also holds what training needs to continue, as
    `gpunn.training.checkpoints.checkpoint` describes it.
    """

    epoch: int
    updates: int


def newest_undamaged(path: str | Path, read: Callable[[Path], Read]) -> Read:
    """Return what is read from the newest undamaged checkpoint, and log which newer are damaged.

    The path is a checkpoint, a folder of checkpoints, or the folder of a run. The newest has the
    largest numbers in its name; of equal ones, the latest time. Where there are checkpoints that a
    run has written, those with other names don't count. `read` reads one, or raises a
    ModelFileError if it is damaged; so does this function if there is no other, and says what is
    wrong with each.
    """
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
            LOG.warning("Going on from %s", file)
        return checkpoint
    raise ModelFileError(
        f"{folder}: there is no undamaged checkpoint in this folder"
        + "".join(map("; {}".format, faults))
    )


def newest_first(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, by the numbers in their names, then by time."""

    def age(file: Path) -> tuple[list[int], int]:
        try:
            written = file.stat().st_mtime_ns
        except FileNotFoundError:  # a running training has just removed it
            written = 0
        return [int(number) for number in re.findall(r"\d+", file.stem)], written

    files = [file for file in folder.glob(f"*{SUFFIX}") if not file.name.startswith(".")]
    own = [file for file in files if re.fullmatch(OWN, file.name)]
    return sorted(own or files, key=age, reverse=True)


class CheckpointFolder:
    """The last `keep` checkpoints of a training, each named by its number of updates.

    A new checkpoint is on the disk before an old one is removed, and none is ever changed. Files
    with other names are left alone.
    """

    def __init__(self, path: Path, keep: int) -> None:
        self.path = path
        self.keep = keep

    def newest_first(self) -> list[Path]:
        """Return the checkpoints of the training."""
        if not self.path.is_dir():
            return []
        return sorted((f for f in self.path.iterdir() if re.fullmatch(OWN, f.name)), reverse=True)

    def add_first(self, content: CheckpointContent, new: Replacement) -> Path:
        """Add the first checkpoint of a training to files that are written together.

        After their `commit`, `drop_ahead_of` removes checkpoints that are of no use any more.
        """
        make_folder(self.path)
        remove_leftovers(self.path, OWN)
        path = self._place(content)
        new.add(path, *content.chunks)
        return path

    def drop_ahead_of(self, first: Path) -> None:
        """Remove the checkpoints with more updates than the first one of a training.

        They are damaged, or the training was set back to before them.
        """
        for file in self.newest_first():
            if file.name > first.name:
                remove(file)

    def write(self, content: CheckpointContent) -> Path:
        """Write a checkpoint, then remove the oldest ones beyond `keep`."""
        path = self._place(content)
        content.write(path)
        for file in self.newest_first()[self.keep :]:
            if file != path:
                remove(file)
        return path

    def clear(self) -> None:
        """Remove all checkpoints."""
        for file in self.newest_first():
            file.unlink()
        if self.path.is_dir():
            remove_leftovers(self.path, OWN)

    def _place(self, content: CheckpointContent) -> Path:
        return self.path / f"{content.updates:010d}{SUFFIX}"
