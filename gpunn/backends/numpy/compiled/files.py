"""Built libraries as files: where they lie, and which of them are used.

A library lies beside a manifest, which says for what target and from what sources it was built, and
has its checksum. What is torn, damaged or built from other sources is never loaded.

A library is code. So none is loaded that another user can write, or that lies where another user
can write: neither from the user's own folder nor from the package's, which root, or whose account
the package's modules belong to, may have filled.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from gpunn.backends.numpy.compiled.targets import Target
from gpunn.errors import InvalidFileError
from gpunn.forks import IMPORTING
from gpunn.storage.files import Replacement, json_bytes, make_folder
from gpunn.storage.reading import parsed_json, read_whole

__all__ = ["VARIABLE", "folders", "read", "sources", "write"]

VARIABLE = "GPUNN_CACHE_DIR"
"""Names another folder for libraries that can't be kept in the package."""

HERE = Path(__file__).parent
PACKAGE = HERE.parents[2]

PACKAGED = HERE / "built"
"""Of the package, which a wheel brings filled."""

LARGEST_MANIFEST = 2**16
"""Bytes; usual ones have some hundred."""

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

    A FileNotFoundError if there is none, and an InvalidFileError if it must not be loaded, whose
    message says why.
    """
    path = folder / f"{target.name}.json"
    content = read_whole(path, InvalidFileError, LARGEST_MANIFEST, "a library's manifest")
    try:
        manifest = parsed_json(content)
        library = folder / Path(manifest["file"]).name
        expected, built_from = manifest["sha256"], manifest["sources"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidFileError(f"{path} is damaged") from error
    if built_from != sources():
        raise InvalidFileError(f"{library} was built from other sources")
    if not library.is_file():
        raise InvalidFileError(f"{library} is damaged")
    if problem := faults(folder, path, library):
        raise InvalidFileError(problem)
    if hashlib.sha256(library.read_bytes()).hexdigest() != expected:
        raise InvalidFileError(f"{library} is damaged")
    return library, manifest


def faults(folder: Path, *within: Path) -> str:
    """Return why code is not to be loaded from a folder, or by files in it; "" if it may be."""
    if not hasattr(os, "geteuid"):
        return ""
    owners = {os.geteuid()}
    folders = [folder, folder.parent]
    if folder == PACKAGED:  # who owns the modules that run here may as well have built these
        owners |= {0, PACKAGE.stat().st_uid}
        folders = [folder]
    for each in folders:
        if not stat.S_ISDIR((status := each.lstat()).st_mode):
            return f"{each} is not a folder"
        if problem := fault(each, status, owners):
            return problem
    for path in within:  # installers may make links of them, to where they keep all packages
        for each in {path, path.resolve(), path.resolve().parent}:
            if problem := fault(each, each.stat(), owners):
                return problem
    return ""


def fault(path: Path, status: os.stat_result, owners: Collection[int]) -> str:
    """Return why a file or folder is not to be trusted, or ""."""
    if status.st_uid not in owners:
        return f"{path} belongs to another user"
    # Others may add files to a sticky folder, such as /tmp, but not replace those of an owner.
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    writable = status.st_mode & 0o022
    if writable == stat.S_IWGRP and is_private(status):
        return ""
    return f"others can write to {path}; run: chmod go-w {path}" if writable and not sticky else ""


def is_private(status: os.stat_result) -> bool:
    """Return whether a file's group is its owner's alone, as where the umask is usually 002.

    That of root is not: containers with users of any number give it to all of them.
    """
    try:
        with IMPORTING:
            import grp
            import pwd

        user, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except (ImportError, KeyError):
        return False
    members = {user.pw_name, *group.gr_mem}
    return group.gr_gid == user.pw_gid != 0 and members == {group.gr_name}


def writable_folder() -> Path:
    """Return the first folder that a library can be written to, made if need be.

    An InvalidFileError or OSError if there is none.
    """
    *first, last = folders()
    for folder in first:
        with contextlib.suppress(OSError):
            make_folder(folder, 0o755)
            if os.access(folder, os.W_OK) and not faults(folder):
                return folder
    make_folder(last.parent, 0o700)
    make_folder(last, 0o700)
    if problem := faults(last):
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
            folder / f"{target.name}.json", json_bytes({**manifest, "sources": sources(), **notes})
        )
        new.commit()
    for path in (library, folder / f"{target.name}.json"):  # whatever the umask is
        path.chmod(path.stat().st_mode & ~0o022)
    for old in folder.glob(f"{target.name}-*"):
        if old != library:
            with contextlib.suppress(OSError):  # Windows keeps what is loaded
                old.unlink()
    return library
