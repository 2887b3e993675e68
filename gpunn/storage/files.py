"""Atomic writing of files, and locks on folders."""

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

POSIX = os.name == "posix"
"""Whether the system can open folders and rename open files; Windows allows neither."""

LEFTOVER = r"\.(?:{})\.[0-9a-f]{{8}}\.part"
"""Pattern of the names of temporary files; {} is replaced by a pattern of the final names."""

TRIES = 5
"""Number of attempts to lock a folder: `is_locked` in another process may lock it for a moment."""


def write_atomically(path: str | Path, *content: bytes | memoryview) -> None:
    # Both the new file and its new name are on the disk (fsync) before this function returns. So
    # even a crash of the machine leaves either the old file or the new file.
    with Replacement() as new:
        new.add(path, *content)
        new.commit()


def write_output(path: str | Path, *content: bytes | memoryview) -> None:
    # Replaces the target of a link, and writes directly to a pipe or a device.
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
    """Replaces several files: `add` writes a temporary file, and `commit` renames all in order.

    If the process crashes during `commit`, files added early may be new and later files unchanged.
    """

    def __init__(self) -> None:
        self._added: list[tuple[Path, Path, int, BinaryIO]] = []

    def __enter__(self) -> Replacement:
        return self

    def __exit__(self, *exception: object) -> None:
        for temporary, *_, file in self._added:
            remove(temporary)
            with contextlib.suppress(OSError):  # closing repeats the error of a failed write
                file.close()
        self._added.clear()

    def add(self, path: str | Path, *content: bytes | memoryview) -> None:
        # The temporary file gets the permissions of the file that it will replace.
        path = Path(checked_path(path))
        if path.is_dir():
            raise FileAccessError(
                errno.EISDIR, "expected a file, got a folder; add a file name to the path", path
            )
        if not path.parent.is_dir():
            raise FileAccessError(
                errno.ENOENT, "there is no such folder; create it first", path.parent
            )
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        size = sum(map(len, content))
        try:
            remove_leftovers(path.parent, re.escape(path.name))
            file = open(temporary, "xb")  # noqa: SIM115  closed by commit or __exit__
            self._added.append((temporary, path, size, file))
            lock(file.fileno())  # so that `remove_leftovers` of another process does not remove it
            keep_permissions(path, temporary)
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise FileAccessError(error.errno, reason(error, path, size), path) from error

    def commit(self) -> None:
        while self._added:
            temporary, path, size, file = self._added[0]
            try:
                if not POSIX:  # Windows cannot rename an open file
                    file.close()
                temporary.replace(path)
                file.close()
                del self._added[0]
                if not any(other.parent == path.parent for _, other, _, _ in self._added):
                    sync_folder(path.parent)
            except OSError as error:
                raise FileAccessError(error.errno, reason(error, path, size), path) from error


def make_folder(path: str | Path, mode: int = 0o777) -> None:
    try:
        Path(path).mkdir(mode, parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            problem = "a part of the path is a file, not a folder; choose another path"
        else:
            problem = f"cannot create the folder: {error.strerror or error}; choose another path"
        raise FileAccessError(error.errno, problem, path) from error


def holds(path: Path, *content: bytes | memoryview) -> bool:
    try:
        if not path.is_file() or path.stat().st_size != sum(map(len, content)):
            return False
        with open(path, "rb") as file:
            return all(file.read(len(chunk)) == chunk for chunk in content)
    except OSError:
        return False


def append(path: str | Path, text: str) -> None:
    # If writing fails, the file stays unchanged.
    path, content = Path(checked_path(path)), text.encode()
    size: int | None = None
    try:
        with open(path, "ab", buffering=0) as file:
            size = file.tell()
            written = file.write(content)
            while written < len(content):  # a nearly full disk accepts only a part
                written += file.write(content[written:])
    except OSError as error:
        if size is not None:
            with contextlib.suppress(OSError):
                os.truncate(path, size)
        raise FileAccessError(error.errno, reason(error, path, len(content)), path) from error


class FolderLock:
    """An exclusive lock on a folder, until `release` or the end of the process.

    If another process holds the lock, a BlockingIOError is raised. A forked process does not hold
    the lock. On Windows, or a file system without locks, there is no lock.
    """

    def __init__(self, folder: Path) -> None:
        self.release: Callable[[], object] = lambda: None
        """Release the lock; a second call does nothing."""
        if not POSIX:  # Windows cannot open folders
            return
        descriptor = os.open(folder, os.O_RDONLY)
        self.release = weakref.finalize(self, os.close, descriptor)
        renewed_in_children(self)
        for _ in range(TRIES):
            if lock(descriptor):
                return
            time.sleep(0.01)
        self.release()
        raise BlockingIOError(errno.EWOULDBLOCK, "another process holds the lock", str(folder))

    def renew(self) -> None:
        self.release()


def is_locked(folder: Path) -> bool:
    if not POSIX:
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # A shared lock, so that concurrent calls of this function do not see each other.
        return not lock(descriptor, shared=True)
    finally:
        os.close(descriptor)


def lock(descriptor: int, shared: bool = False) -> bool:
    # Without locks, as on Windows, the result is True. A shared lock allows other shared locks, but
    # no exclusive lock.
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
    if not POSIX:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not supported by this file system
            raise
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def keep_permissions(path: Path, new: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems do not support permissions
        mode = path.lstat().st_mode
        if POSIX and stat.S_ISREG(mode):
            new.chmod(mode & 0o777)


def remove_leftovers(folder: Path, names: str = ".+") -> None:
    # Temporary files that another process is writing are locked, so they stay.
    pattern = re.compile(LEFTOVER.format(names))
    with os.scandir(folder) as entries:
        leftovers = [Path(entry.path) for entry in entries if pattern.fullmatch(entry.name)]
    for path in leftovers:
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            try:
                if lock(descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


def reason(error: OSError, path: Path, size: int) -> str:
    kept = "an existing file is unchanged"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = ""
        with contextlib.suppress(OSError):
            free = f", {shutil.disk_usage(path.parent).free:,} are free"
        return (
            f"cannot be written: the disk is full ({size:,} bytes are needed{free}). Free some "
            f"space; {kept}"
        )
    if not path.parent.is_dir():
        return f"cannot be written: the folder {path.parent} no longer exists"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"cannot be written: the folder is read-only for this process; {kept}"
    return f"cannot be written: {error.strerror or error}; {kept}"


def confined(folder: Path, name: str | Path) -> Path | None:
    """Return `folder / name`, or None if `name` or a link leads out of the folder."""
    path = folder / name
    real = Path(os.path.realpath(path))  # unlike `Path.resolve`, this accepts circular links
    return path if real.is_relative_to(os.path.realpath(folder)) else None


def write_json(path: str | Path, value: Any) -> None:
    write_atomically(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    text = json.dumps(finite_or_none(value), indent=2, allow_nan=False)
    return f"{text}\n".encode()


def finite_or_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
