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
from typing import Any

from gpunn.errors import FileAccessError
from gpunn.reading import checked_path

__all__ = [
    "FolderLock",
    "append",
    "confined",
    "remove_leftovers",
    "write_atomically",
    "write_json",
]

LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.part")
"""Names of files that a writer which was killed has left."""


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
    path = Path(checked_path(path))
    if path.is_dir():
        raise FileAccessError(
            errno.EISDIR, "expected a file's name, got a folder; add a name to it", path
        )
    if not path.parent.is_dir():
        raise FileAccessError(errno.ENOENT, "there is no such folder; make it first", path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        remove(temporary)
        size = sum(map(len, content))
        raise FileAccessError(error.errno, reason(error, path, size), path) from error
    except BaseException:
        remove(temporary)
        raise


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
        try:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise
        except (ImportError, OSError):
            pass


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


def remove_leftovers(folder: Path) -> None:
    """Remove what writers that were killed have left in a folder."""
    for path in folder.iterdir():
        if LEFTOVER.fullmatch(path.name):
            remove(path)


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
    text = json.dumps(finite_or_none(value), indent=2, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def finite_or_none(value: Any) -> Any:
    """Return a value of JSON types with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
