"""Writing files whole or not at all, and folders that one process alone may write to."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import secrets
import shutil
import weakref
from pathlib import Path
from typing import Any, BinaryIO

from gpunn.errors import FileAccessError
from gpunn.storage.reading import checked_path

__all__ = [
    "FolderLock",
    "Replacement",
    "append",
    "confined",
    "holds",
    "json_bytes",
    "make_folder",
    "remove_leftovers",
    "write_atomically",
    "write_json",
]

LEFTOVER = r"\.(?:{})\.[0-9a-f]{{8}}\.part"
"""Names of what a writer which was killed has left of files with certain names."""


def write_atomically(path: str | Path, *content: bytes | memoryview) -> None:
    """Write a file, in one piece or several, beside its destination, then move it over.

    A crash leaves the old file as it was. The new one is on the disk (fsync) before it takes its
    name, and the name is on the disk before this returns. So after a crash of the machine, too,
    there is the old file or the new one.

    Raises
    ------
    FileAccessError
        If the folder is missing, full or can't be written to, or `path` is a folder; nothing has
        been changed then. The message says what is wrong and what helps.
    """
    with Replacement() as new:
        new.add(path, *content)
        new.commit()


class Replacement:
    """Files that are all written beside their destinations before any of them takes its name.

    Until `commit` nothing is changed, and what was added is gone again when the context is left.
    A crash in the middle of `commit` leaves the first of them new and the others as they were.

        with Replacement() as new:
            new.add(path, content)
            new.commit()
    """

    def __init__(self) -> None:
        self._added: list[tuple[Path, Path, int, BinaryIO]] = []

    def __enter__(self) -> Replacement:
        """Return this."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Remove what was not committed."""
        for temporary, *_, file in self._added:
            remove(temporary)
            with contextlib.suppress(OSError):  # of what could not be written, once more
                file.close()
        self._added.clear()

    def add(self, path: str | Path, *content: bytes | memoryview) -> None:
        """Write a file's content, in one piece or several, and put it on the disk.

        What killed writers of this file have left is removed first.

        Raises
        ------
        OSError
            As `write_atomically`.
        """
        path = Path(checked_path(path))
        if path.is_dir():
            raise FileAccessError(
                errno.EISDIR, "expected a file's name, got a folder; add a name to it", path
            )
        if not path.parent.is_dir():
            raise FileAccessError(
                errno.ENOENT, "there is no such folder; make it first", path.parent
            )
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        size = sum(map(len, content))
        try:
            remove_leftovers(path.parent, re.escape(path.name))
            file = open(temporary, "xb")  # noqa: SIM115  closed by commit or __exit__
            self._added.append((temporary, path, size, file))
            lock(file.fileno())  # it is being written; see `remove_leftovers`
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise FileAccessError(error.errno, reason(error, path, size), path) from error

    def commit(self) -> None:
        """Give all files their names, in the order in which they were added.

        Raises
        ------
        OSError
            As `write_atomically`.
        """
        while self._added:
            temporary, path, size, file = self._added[0]
            try:
                if os.name != "posix":  # an open file can't be moved there
                    file.close()
                temporary.replace(path)
                file.close()
                del self._added[0]
                if not any(other.parent == path.parent for _, other, _, _ in self._added):
                    sync_folder(path.parent)
            except OSError as error:
                raise FileAccessError(error.errno, reason(error, path, size), path) from error


def make_folder(path: str | Path, mode: int = 0o777) -> None:
    """Make a folder, and those it lies in, where they are missing.

    Parameters
    ----------
    path : str or Path
    mode : int
        Who may do what in the folder, if it is made; not in those that it lies in.

    Raises
    ------
    FileAccessError
        If that is not possible.
    """
    try:
        Path(path).mkdir(mode, parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            said = "a part of the path is a file, not a folder; choose another path"
        else:
            said = f"the folder can't be made: {error.strerror or error}; choose another path"
        raise FileAccessError(error.errno, said, path) from error


def holds(path: Path, *content: bytes | memoryview) -> bool:
    """Return whether a file has just this content."""
    try:
        if not path.is_file() or path.stat().st_size != sum(map(len, content)):
            return False
        with open(path, "rb") as file:
            return all(file.read(len(piece)) == piece for piece in content)
    except OSError:
        return False


def append(path: str | Path, text: str) -> None:
    """Add text to the end of a file; where that fails, the file is as it was.

    Raises
    ------
    FileAccessError
        As `write_atomically`.
    """
    path, content = Path(checked_path(path)), text.encode()
    size: int | None = None
    try:
        with open(path, "ab", buffering=0) as file:
            size = file.tell()
            written = file.write(content)
            while written < len(content):  # the disk is about to be full
                written += file.write(content[written:])
    except OSError as error:
        if size is not None:
            with contextlib.suppress(OSError):
                os.truncate(path, size)
        raise FileAccessError(error.errno, reason(error, path, len(content)), path) from error


class FolderLock:
    """Keeps other processes that ask for the same from a folder, for as long as this one lives.

    The lock is on the folder itself (`flock`), so that it leaves nothing behind when a process is
    killed. Where the file system knows no locks, there is none.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    BlockingIOError
        If somebody else has it.
    """

    def __init__(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        self.release = weakref.finalize(self, os.close, descriptor)
        """Let others have the folder; a second time nothing happens."""
        if not lock(descriptor):
            self.release()
            raise BlockingIOError(errno.EWOULDBLOCK, "somebody else has the folder", str(folder))


def lock(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed; return whether nobody else has it.

    Where the file system knows no locks, nobody has.
    """
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        pass
    return True


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system without such
            raise
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file if that is possible."""
    with contextlib.suppress(OSError):
        path.unlink()


def remove_leftovers(folder: Path, names: str = ".+") -> None:
    """Remove what killed writers have left in a folder of files whose names match a pattern.

    What another process is writing at the moment stays.
    """
    pattern = re.compile(LEFTOVER.format(names))
    with os.scandir(folder) as entries:
        found = [Path(entry.path) for entry in entries if pattern.fullmatch(entry.name)]
    for path in found:
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            try:
                if lock(descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


def reason(error: OSError, path: Path, size: int) -> str:
    """Return what to say when a file of so many bytes can't be written."""
    kept = "what was there before is as it was"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = ""
        with contextlib.suppress(OSError):
            free = f", {shutil.disk_usage(path.parent).free:,} are free"
        return (
            f"can't be written: the disk is full ({size:,} bytes are needed{free}). Make room; "
            f"{kept}"
        )
    if not path.parent.is_dir():
        return f"can't be written: the folder {path.parent} has vanished"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"can't be written: the folder is read-only for this process; {kept}"
    return f"can't be written: {error.strerror or error}; {kept}"


def confined(folder: Path, name: str | Path) -> Path | None:
    """Return the path of a file in a folder, or None if its name leads out of the folder.

    Symbolic links are followed; `folder` need not exist.
    """
    path = folder / name
    return path if path.resolve().is_relative_to(folder.resolve()) else None


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, atomically; null for numbers that are not finite."""
    write_atomically(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return what `write_json` writes."""
    text = json.dumps(finite_or_none(value), indent=2, allow_nan=False)
    return f"{text}\n".encode()


def finite_or_none(value: Any) -> Any:
    """Return a value of JSON types with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
