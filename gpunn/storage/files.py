"""Files that are written whole or not at all, and locks on folders."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import secrets
import shutil
import stat
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from gpunn.errors import FileAccessError
from gpunn.forks import IMPORTING, renewed_in_children
from gpunn.storage.reading import checked_path

__all__ = [
    "FolderLock",
    "Replacement",
    "append",
    "confined",
    "holds",
    "is_locked",
    "json_bytes",
    "make_folder",
    "remove_leftovers",
    "write_atomically",
    "write_json",
    "write_output",
]

POSIX = os.name == "posix"
"""Whether folders can be opened, and open files moved: not on Windows."""

LEFTOVER = r"\.(?:{})\.[0-9a-f]{{8}}\.part"
"""Pattern of the temporary files that killed writers leave; {} is a pattern of the file's name."""

TRIES = 5
"""How often a lock is asked for; who only looks whether there is one has it for a moment."""


def write_atomically(path: str | Path, *content: bytes | memoryview) -> None:
    """Write chunks to a file: first beside its destination, then renamed over it.

    The new file is on the disk (fsync) before it takes its name, and the name is on the disk before
    this returns. After a crash, even of the machine, there is either the old file or the new one.
    Raise a FileAccessError, with nothing changed, if the folder is missing, full or can't be
    written to, or the path is that of a folder.
    """
    with Replacement() as new:
        new.add(path, *content)
        new.commit()


def write_output(path: str | Path, *content: bytes | memoryview) -> None:
    """Write a file that the user has named, as `write_atomically` does, and raise its errors.

    A link stays a link: the file to which it leads is written. So does a pipe or a device, to which
    the content goes directly. Links that lead in a circle are a FileAccessError.
    """
    path = Path(checked_path(path))
    try:
        kind = path.stat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            with path.open("wb") as file:
                file.writelines(content)
            return
    except FileNotFoundError:
        pass
    except OSError as error:
        raise FileAccessError(
            error.errno, reason(error, path, sum(map(len, content))), path
        ) from error
    write_atomically(os.path.realpath(path) if path.is_symlink() else path, *content)


class Replacement:
    """Several files that are written together: all to temporary files, then all renamed.

    Before `commit` nothing is changed; leaving the context without it removes what was added. A
    crash during `commit` leaves the first files new and the others as they were.

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
        """Write a file's content, in chunks, to a temporary file, and put it on the disk.

        It gets the permissions of the file that it is to replace. What killed writers of the file
        have left is removed first. Errors are those of `write_atomically`.
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
            lock(file.fileno())  # so that `remove_leftovers` of another process keeps it
            keep_permissions(path, temporary)
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise FileAccessError(error.errno, reason(error, path, size), path) from error

    def commit(self) -> None:
        """Give all files their names, in the order of `add`; errors as of `write_atomically`."""
        while self._added:
            temporary, path, size, file = self._added[0]
            try:
                if not POSIX:  # an open file can't be moved there
                    file.close()
                temporary.replace(path)
                file.close()
                del self._added[0]
                if not any(other.parent == path.parent for _, other, _, _ in self._added):
                    sync_folder(path.parent)
            except OSError as error:
                raise FileAccessError(error.errno, reason(error, path, size), path) from error


def make_folder(path: str | Path, mode: int = 0o777) -> None:
    """Make a folder with these permissions, and its missing parents with the default ones.

    Raise a FileAccessError if that is not possible.
    """
    try:
        Path(path).mkdir(mode, parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            problem = "a part of the path is a file, not a folder; choose another path"
        else:
            problem = f"the folder can't be made: {error.strerror or error}; choose another path"
        raise FileAccessError(error.errno, problem, path) from error


def holds(path: Path, *content: bytes | memoryview) -> bool:
    """Return whether a file has exactly this content."""
    try:
        if not path.is_file() or path.stat().st_size != sum(map(len, content)):
            return False
        with open(path, "rb") as file:
            return all(file.read(len(chunk)) == chunk for chunk in content)
    except OSError:
        return False


def append(path: str | Path, text: str) -> None:
    """Add text to the end of a file; if that raises a FileAccessError, the file is as it was."""
    path, content = Path(checked_path(path)), text.encode()
    size: int | None = None
    try:
        with open(path, "ab", buffering=0) as file:
            size = file.tell()
            written = file.write(content)
            while written < len(content):  # a disk that is nearly full takes a part
                written += file.write(content[written:])
    except OSError as error:
        if size is not None:
            with contextlib.suppress(OSError):
                os.truncate(path, size)
        raise FileAccessError(error.errno, reason(error, path, len(content)), path) from error


class FolderLock:
    """An exclusive lock on a folder, held until it is released or the process ends.

    The lock is on the folder itself (`flock`), so a killed process leaves nothing behind. Windows,
    or a file system without locks, gives none, and nobody is kept out. A forked process does not
    hold it. If another process, or another lock of this one, has it, that is a BlockingIOError.
    """

    def __init__(self, folder: Path) -> None:
        self.release: Callable[[], object] = lambda: None
        """Release the lock; a second call does nothing."""
        if not POSIX:  # Windows doesn't open folders
            return
        descriptor = os.open(folder, os.O_RDONLY)
        self.release = weakref.finalize(self, os.close, descriptor)
        renewed_in_children(self)
        for _ in range(TRIES):
            if lock(descriptor):
                return
            time.sleep(0.01)
        self.release()
        raise BlockingIOError(errno.EWOULDBLOCK, "somebody else has the folder", str(folder))

    def renew(self) -> None:
        """Leave the lock to the parent process: closing a copy of its descriptor keeps it."""
        self.release()


def is_locked(folder: Path) -> bool:
    """Return whether somebody has a `FolderLock`; an OSError if the folder can't be opened.

    False on Windows or a file system without locks.
    """
    if not POSIX:
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Shared, so that those who only look don't see each other.
        return not lock(descriptor, shared=True)
    finally:
        os.close(descriptor)


def lock(descriptor: int, shared: bool = False) -> bool:
    """Lock an open file or folder until it is closed; return False if it is locked already.

    On Windows, or a file system without locks, this does nothing and returns True. Shared locks
    keep out only those that are not shared.
    """
    if sys.platform == "win32":
        return True
    try:
        with IMPORTING:
            import fcntl

        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        pass
    return True


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk, where the system can."""
    if not POSIX:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # this file system can't
            raise
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, or leave it if that fails."""
    with contextlib.suppress(OSError):
        path.unlink()


def keep_permissions(path: Path, new: Path) -> None:
    """Give a new file the permissions of the one that it is to replace, if there is one."""
    with contextlib.suppress(OSError):  # of file systems that know no permissions, too
        found = path.lstat().st_mode
        if POSIX and stat.S_ISREG(found):
            new.chmod(found & 0o777)


def remove_leftovers(folder: Path, names: str = ".+") -> None:
    """Remove the temporary files that killed writers have left of files whose names fit a pattern.

    Those that another process is writing are locked, and stay.
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
    """Return why a file of `size` bytes can't be written, and what to do."""
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
    """Write a value as indented JSON, whole or not at all; numbers that are not finite are null."""
    write_atomically(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return what `write_json` writes."""
    text = json.dumps(finite_or_none(value), indent=2, allow_nan=False)
    return f"{text}\n".encode()


def finite_or_none(value: Any) -> Any:
    """Return a value of JSON types with None for NaN and infinity, which JSON lacks."""
    if isinstance(value, dict):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
