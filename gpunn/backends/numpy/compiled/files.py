"""The files of built libraries: where they are, and how they are checked before loading.

Each library has a manifest in the same folder, with the target, and the checksums of the library
and its sources. A library that is incomplete, damaged or built from other sources is never loaded.
Since loading a library runs code, gpunn loads no library whose file or folder another user can
change. A library must belong to this user. In the package's folder, it may also belong to root or
to the owner of the package's modules.
"""

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

VARIABLE = "GPUNN_CACHE_DIR"
"""The environment variable with the folder for libraries, used if the package is not writable."""

HERE = Path(__file__).parent
PACKAGE = HERE.parents[2]

PACKAGED = HERE / "built"
"""The package's folder for libraries; wheels include built libraries."""

LARGEST_MANIFEST = 2**16
"""Maximum bytes of a manifest; a typical manifest has a few hundred bytes."""

ELSEWHERE = ("activations.py", "backends/hashing.py", "backends/numpy/subnormals.py")
"""Files in gpunn outside `kernels/` that kernels import."""


def source_files() -> list[Path]:
    own = [HERE / "interface.py", HERE / "targets.py"]
    folders = [*HERE.glob("building/*.py"), *HERE.glob("kernels/*.py")]
    return sorted([*folders, *own, *(PACKAGE / name for name in ELSEWHERE)])


@functools.cache
def sources() -> str:
    checksum = hashlib.sha256()
    for path in source_files():
        checksum.update(path.name.encode() + path.read_bytes())
    return checksum.hexdigest()


def folders() -> list[Path]:
    chosen = os.environ.get(VARIABLE)
    with contextlib.suppress(RuntimeError):  # raised if the user has no home folder
        root = Path(chosen) if chosen else user_cache() / "gpunn"
        return [PACKAGED, root.absolute() / "kernels" / sources()[:16]]
    return [PACKAGED]


def user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def read(folder: Path, target: Target) -> tuple[Path, dict[str, Any]]:
    path = folder / f"{target.name}.json"
    content = read_whole(path, InvalidFileError, LARGEST_MANIFEST, "a library's manifest")
    try:
        manifest = parsed_json(content)
        library = folder / Path(manifest["file"]).name
        expected, built_from = manifest["sha256"], manifest["sources"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidFileError(f"{path} is damaged") from error
    if built_from != sources():
        raise InvalidFileError(f"{library} was built from other sources than this gpunn's")
    if not library.is_file():
        raise InvalidFileError(f"{library} is damaged")
    if problem := faults(folder, path, library):
        raise InvalidFileError(problem)
    if hashlib.sha256(library.read_bytes()).hexdigest() != expected:
        raise InvalidFileError(f"{library} is damaged")
    return library, manifest


def faults(folder: Path, *within: Path) -> str:
    if not hasattr(os, "geteuid"):
        return ""
    owners = {os.geteuid()}
    folders = [folder, folder.parent]
    if folder == PACKAGED:  # the owner of the modules is trusted anyway
        owners |= {0, PACKAGE.stat().st_uid}
        folders = [folder]
    for each in folders:
        if not stat.S_ISDIR((status := each.lstat()).st_mode):
            return f"{each} is not a folder"
        if problem := fault(each, status, owners):
            return problem
    for path in within:  # installers may replace the files by links to a shared folder
        for each in {path, path.resolve(), path.resolve().parent}:
            if problem := fault(each, each.stat(), owners):
                return problem
    return ""


def fault(path: Path, status: os.stat_result, owners: Collection[int]) -> str:
    if status.st_uid not in owners:
        return f"{path} belongs to another user"
    # In a sticky folder, such as /tmp, others can add files, but not replace this user's files.
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    writable = status.st_mode & 0o022
    if not writable or sticky or (writable == stat.S_IWGRP and is_private(status)):
        return ""
    return f"other users can write to {path}; run: chmod go-w {path}"


def is_private(status: os.stat_result) -> bool:
    """Return whether a file's owner is the only member of the file's group (a per-user group).

    The result is False for root's group, because some containers add all users to root's group.
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
    *first, last = folders()
    for folder in first:
        with contextlib.suppress(OSError):
            make_folder(folder, 0o755)
            if os.access(folder, os.W_OK) and not faults(folder):
                return folder
    make_folder(last.parent, 0o700)
    make_folder(last, 0o700)
    if problem := faults(last):
        raise InvalidFileError(f"{problem}. Set {VARIABLE} to a folder that only you can write to")
    return last


def write(folder: Path, target: Target, content: bytes, suffix: str, **notes: str) -> Path:
    """Write a library and its manifest, remove older libraries, and return the library's path.

    The library's name contains a checksum. So a manifest names exactly one library even if
    processes build concurrently, and the file of a loaded library never changes.
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
            with contextlib.suppress(OSError):  # Windows does not delete loaded files
                old.unlink()
    return library
