"""The file of a study, which several processes write line by line.

Optuna keeps a study as a journal: JSON lines, which each process reads on from where it was. It
needs no server, and no locks of the file system.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpunn.errors import DataFileError
from gpunn.optional import install_command, require
from gpunn.storage.reading import read_lines

__all__ = ["JOURNAL", "TURN", "open_journal", "optuna", "turn"]

JOURNAL = "study.jsonl"

TURN = ".turn"
"""What the file is called, less ".lock", that the process whose turn it is has made."""


def optuna() -> Any:
    """Return Optuna, which says no more than warnings."""
    found = require("optuna", "a sweep", install_command("tune"))
    found.logging.set_verbosity(found.logging.WARNING)
    return found


def open_journal(path: Path) -> Any:
    """Return Optuna's storage of a study in a file, which is made if it is not there.

    If it is no regular file, or has a line of more than 16 MiB, it raises a DataFileError.
    """
    storages = optuna().storages
    if os.path.lexists(path):
        for _ in read_lines(path, DataFileError):  # Optuna opens anything, and lines of any length
            pass
    # A lock is a link beside the file, to that: by a relative path it would lead nowhere.
    path = path.absolute()
    lock = Mending(storages.journal.JournalFileSymlinkLock(str(path)), path)
    return storages.JournalStorage(storages.journal.JournalFileBackend(str(path), lock))


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Let one process at a time look at a sweep's trials and begin or end one."""
    lock = optuna().storages.journal.JournalFileOpenLock(str(folder.absolute() / TURN))
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


class Mending:
    """A lock of a journal; who gets it removes what a killed process has begun to write.

    A line without an end would become one with what is written after it, and no process could read
    on.
    """

    def __init__(self, lock: Any, path: Path) -> None:
        self.lock, self.path = lock, path

    def acquire(self) -> bool:
        """Wait for the lock."""
        self.lock.acquire()
        try:
            remove_torn_line(self.path)
        except BaseException:
            self.lock.release()
            raise
        return True

    def release(self) -> None:
        """Give it back."""
        self.lock.release()


def remove_torn_line(path: Path) -> None:
    """Remove what is after a file's last end of a line."""
    with open(path, "rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - 4096)
            file.seek(begin)
            found = file.read(end - begin).rfind(b"\n")
            if found >= 0:
                end = begin + found + 1
                break
            end = begin
        if end < size:
            file.truncate(end)
