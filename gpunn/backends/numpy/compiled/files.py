"""Built libraries as files: where they lie, and which of them are used.

A library lies beside a manifest, which says for what target and from what sources it was built, and
has its checksum. What is torn, damaged or built from other sources is never loaded.

A library is code. So none is loaded but from the package's own folder or from one of this user's
to which nobody else may write.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from gpunn.backends.numpy.compiled.targets import Target
from gpunn.errors import InvalidFileError
from gpunn.storage.files import Replacement, json_bytes, make_folder

__all__ = ["VARIABLE", "folders", "read", "sources", "write"]

VARIABLE = "GPUNN_CACHE_DIR"
"""Names another folder for libraries that can't be kept in the package."""

HERE = Path(__file__).parent
PACKAGE = HERE.parents[2]

PACKAGED = HERE / "built"
"""Of the package, which a wheel brings filled."""

ELSEWHERE = ("activations.py", "backends/hashing.py", "backends/numpy/subnormals.py")
"""What kernels import, beside one another."""


def source_files() -> list[Path]:
    """Return the files that libraries are built from."""
    own = [HERE / "interface.py", HERE / "targets.py"]
    folders = [*HERE.glob("building/*.py"), *HERE.glob("kernels/*.py")]
    return sorted([*folders, *own, *(PACKAGE / name for name in ELSEWHERE)])


@functools.cache
def sources() -> str:
    """Return the checksum of what libraries are built from."""
    checksum = hashlib.sha256()
    for path in source_files():
        checksum.update(path.name.encode() + path.read_bytes())
    return checksum.hexdigest()


def folders() -> list[Path]:
    """Return the folders in which a library may lie, the one to look at first before the other."""
    chosen = os.environ.get(VARIABLE)
    with contextlib.suppress(RuntimeError):  # there is no home folder
        root = Path(chosen) if chosen else user_cache() / "gpunn"
        return [PACKAGED, root.absolute() / "kernels" / sources()[:16]]
    return [PACKAGED]


def user_cache() -> Path:
    """Return the system's folder for files of this user that can be made again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def read(folder: Path, target: Target) -> tuple[Path, dict[str, Any]]:
    """Return the library for a target in a folder, and its manifest.

    Raises
    ------
    FileNotFoundError
        If there is none.
    InvalidFileError
        If it must not be loaded; the message says why.
    """
    path = folder / f"{target.name}.json"
    try:
        manifest = json.loads(path.read_bytes())
        library = folder / Path(manifest["file"]).name
        expected, built_from = manifest["sha256"], manifest["sources"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidFileError(f"{path} is damaged") from error
    if built_from != sources():
        raise InvalidFileError(f"{library} was built from other sources")
    if folder != PACKAGED and (problem := fault(folder) or fault(folder.parent)):
        raise InvalidFileError(problem)
    if not library.is_file() or hashlib.sha256(library.read_bytes()).hexdigest() != expected:
        raise InvalidFileError(f"{library} is damaged")
    return library, manifest


def fault(folder: Path) -> str:
    """Return why code is not to be loaded from this folder, or ""."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        return f"{folder} is not a folder"
    if not hasattr(os, "geteuid"):
        return ""
    if found.st_uid != os.geteuid():
        return f"{folder} belongs to another user"
    if found.st_mode & 0o022:
        return f"others can write to {folder} (chmod go-w helps)"
    return ""


def writable_folder() -> Path:
    """Return the first folder that a library can be written to, made if need be.

    Raises
    ------
    InvalidFileError, OSError
        If there is none.
    """
    *first, last = folders()
    for folder in first:
        with contextlib.suppress(OSError):
            make_folder(folder)
            if os.access(folder, os.W_OK):
                return folder
    make_folder(last.parent, 0o700)
    make_folder(last, 0o700)
    if problem := fault(last) or fault(last.parent):
        raise InvalidFileError(f"{problem}. Set {VARIABLE} to a folder that you alone can write to")
    return last


def write(folder: Path, target: Target, content: bytes, suffix: str, **notes: str) -> Path:
    """Write a library and its manifest, and remove what they replace; return the library.

    Its name has its checksum. So of processes that write at once none finds another one's library
    with its own manifest, and the file that a process has loaded stays as it was.
    """
    checksum = hashlib.sha256(content).hexdigest()
    library = folder / f"{target.name}-{checksum[:16]}{suffix}"
    manifest = {"target": target.name, "file": library.name, "sha256": checksum}
    with Replacement() as new:
        new.add(library, content)
        new.add(
            folder / f"{target.name}.json",
            json_bytes({**manifest, "sources": sources(), **notes}),
        )
        new.commit()
    for old in folder.glob(f"{target.name}-*"):
        if old != library:
            with contextlib.suppress(OSError):  # Windows keeps what is loaded
                old.unlink()
    return library
