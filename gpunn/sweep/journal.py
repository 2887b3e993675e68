"""The file of a study: a journal of JSON lines that several processes write without a server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpunn.errors import DataFileError
from gpunn.optional import install_command, require
from gpunn.storage.reading import read_lines

JOURNAL = "study.jsonl"

TURN = ".turn"


def optuna() -> Any:
    package = require("optuna", "a sweep", install_command("tune"))
    package.logging.set_verbosity(package.logging.WARNING)
    return package


def open_journal(path: Path) -> Any:
    storages = optuna().storages
    if os.path.lexists(path):
        for _ in read_lines(path, DataFileError):  # Optuna itself checks neither
            pass
    # The lock is a link to the file, in the same folder; a relative path would not resolve.
    path = path.absolute()
    lock = MendingLock(storages.journal.JournalFileSymlinkLock(str(path)), path)
    return storages.JournalStorage(storages.journal.JournalFileBackend(str(path), lock))


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Lock the study, so that one process at a time reads trials and begins or ends a trial."""
    lock = optuna().storages.journal.JournalFileOpenLock(str(folder.absolute() / TURN))
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


class MendingLock:
    """A journal's lock. If a killed process left an incomplete last line, `acquire` removes it."""

    def __init__(self, lock: Any, path: Path) -> None:
        self.lock, self.path = lock, path

    def acquire(self) -> bool:
        self.lock.acquire()
        try:
            remove_torn_line(self.path)
        except BaseException:
            self.lock.release()
            raise
        return True

    def release(self) -> None:
        self.lock.release()


def remove_torn_line(path: Path) -> None:
    with open(path, "rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - 4096)
            file.seek(begin)
            index = file.read(end - begin).rfind(b"\n")
            if index >= 0:
                end = begin + index + 1
                break
            end = begin
        if end < size:
            file.truncate(end)
