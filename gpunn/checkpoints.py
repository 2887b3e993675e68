"""Folders of checkpoints: the newest undamaged one is gone on from, the oldest ones are removed."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from gpunn.errors import ModelFileError
from gpunn.files import remove, remove_leftovers
from gpunn.saving import Checkpoint, TakenCheckpoint, read_checkpoint, take_checkpoint

if TYPE_CHECKING:
    from gpunn.training.trainer import Trainer

__all__ = ["FOLDER", "SUFFIX", "CheckpointFolder", "newest_checkpoint"]

LOG = logging.getLogger("gpunn")

FOLDER = "checkpoints"
"""Name of the folder within that of a run."""

SUFFIX = ".safetensors"


def newest_checkpoint(path: str | Path) -> Checkpoint:
    """Return the newest undamaged checkpoint, and say which newer ones are damaged.

    Parameters
    ----------
    path : str or Path
        A checkpoint, a folder of checkpoints, or the folder of a run. A file's age is told by the
        numbers in its name, and where these are the same, by its time.

    Raises
    ------
    ModelFileError
        If there is none; the message says what is wrong with each.
    """
    path = Path(path)
    if not path.is_dir():
        return read_checkpoint(path)
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    faults = []
    for file in newest_first(folder):
        try:
            checkpoint = read_checkpoint(file)
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
    """Return the checkpoints of a folder."""

    def age(file: Path) -> tuple[list[int], int]:
        try:
            written = file.stat().st_mtime_ns
        except FileNotFoundError:  # a training that goes on has just removed it
            written = 0
        return [int(number) for number in re.findall(r"\d+", file.stem)], written

    files = [file for file in folder.glob(f"*{SUFFIX}") if not file.name.startswith(".")]
    return sorted(files, key=age, reverse=True)


class CheckpointFolder:
    """Keeps the last few checkpoints of a training, each named by its number of updates.

    A checkpoint is on the disk before an older one is removed, and none is ever changed. So
    whatever happens, there are the last ones but one.

    Parameters
    ----------
    path : Path
    keep : int
        How many.
    """

    def __init__(self, path: Path, keep: int) -> None:
        self.path = path
        self.keep = keep

    def begin(self, trainer: Trainer) -> None:
        """Write the first checkpoint of a call of `fit`; those that are ahead of it are of no use.

        They are damaged, or the trainer was put back behind them.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.path)
        written = self.write(take_checkpoint(trainer))
        for file in newest_first(self.path):
            if file == written:
                break
            remove(file)

    def write(self, taken: TakenCheckpoint) -> Path:
        """Write a checkpoint, then remove the oldest beyond those to keep."""
        path = self.path / f"{taken.updates:010d}{SUFFIX}"
        taken.write(path)
        for file in newest_first(self.path)[self.keep :]:
            if file != path:
                remove(file)
        return path

    def clear(self) -> None:
        """Remove all checkpoints."""
        if self.path.is_dir():
            for file in newest_first(self.path):
                file.unlink()
            remove_leftovers(self.path)
