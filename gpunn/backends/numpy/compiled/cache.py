"""Compiled code kept between processes, in files that are verified before anything is made of them.

A file holds what numba makes of a function: machine code and its description, as a pickle. A pickle
can run code when it is read. So the files lie in a folder of the user's own, to which nobody else
may write, and are read from nowhere else. A checksum finds what is torn, damaged or swapped; it is
no protection from somebody who may write there.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import pickle
import re
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import compiler, serialize

from gpunn.backends.numpy.compiled.announcement import ANNOUNCEMENT
from gpunn.errors import InvalidFileError
from gpunn.storage.files import make_folder, write_atomically
from gpunn.storage.reading import read_whole

__all__ = ["VARIABLE", "KernelCache", "cache_folder", "describe_cache"]

VARIABLE = "GPUNN_CACHE_DIR"
"""Names another folder for the cache."""

MAGIC = b"gpunn kernel 1\n"

MOST_BYTES = 1 << 26
"""Of a file. A kernel takes some hundred thousand."""

KEPT = 4
"""Folders of code made from other sources, or by other versions, that are kept beside the one in
use."""

logger = logging.getLogger("gpunn")


def user_cache() -> Path:
    """Return the system's folder for files of this user that can be made again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@functools.cache
def build() -> str:
    """Return a name for what code is compiled from and by: sources, versions, processor."""
    from numba.core.registry import cpu_target

    described = hashlib.sha256()
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        described.update(source.read_bytes())
    versions = numba.__version__, llvmlite.__version__, sys.version, sys.flags.optimize
    processor = cpu_target.target_context.codegen().magic_tuple()
    described.update(repr((versions, processor)).encode())
    return described.hexdigest()[:16]


@functools.cache
def cache_folder() -> Path | None:
    """Return the folder of this build's code, made if need be; None, said once, if there is none.

    Nobody but this user may be able to write to it.
    """
    try:
        chosen = os.environ.get(VARIABLE)
        root = (Path(chosen) if chosen else user_cache() / "gpunn").absolute()
        folder = root / "kernels"
        make_folder(folder, 0o700)
        problem = fault(folder)
        if not problem:
            own = folder / build()
            make_folder(own, 0o700)
            problem = fault(own)
            if not problem:
                with contextlib.suppress(OSError):  # such as a filesystem that is read-only now
                    os.utime(own)
                    remove_old(folder)
                return own
    except (OSError, RuntimeError, ValueError) as error:  # such as no home folder
        problem = str(error)
    logger.warning(
        "gpunn: compiled kernels can't be kept, so each process compiles its own: %s. Set %s to a "
        "folder that you alone can write to",
        problem,
        VARIABLE,
    )
    return None


def fault(folder: Path) -> str:
    """Return why code is not to be read from this folder, or ""."""
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


def remove_old(folder: Path) -> None:
    """Remove the code of builds that were not used for the longest time, but for a few."""
    builds = [each for each in folder.iterdir() if re.fullmatch("[0-9a-f]{16}", each.name)]
    builds.sort(key=lambda each: each.lstat().st_mtime)
    for old in builds[: -KEPT - 1]:
        shutil.rmtree(old, ignore_errors=True)


def describe_cache() -> dict[str, Any]:
    """Return where the code is kept, and how many functions are there, in JSON types."""
    folder = cache_folder()
    kept = 0 if folder is None else sum(1 for _ in folder.glob("*.kernel"))
    return {"folder": None if folder is None else str(folder), "functions": kept}


class KernelCache:
    """Where numba looks for a function's code, and puts it: numba's interface of a cache.

    Parameters
    ----------
    function : callable
        The one to be compiled.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"

    @property
    def cache_path(self) -> str | None:
        """The folder."""
        folder = cache_folder()
        return None if folder is None else str(folder)

    def path(self, signature: Any) -> Path | None:
        """Return the file for arguments of these types."""
        folder = cache_folder()
        if folder is None:
            return None
        short = self._name.rpartition(".")[2].lower()
        return folder / f"{short}-{self._key(signature).hex()[:16]}.kernel"

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return what was compiled for arguments of these types; None if it has to be done now."""
        target.refresh()
        path = self.path(signature)
        if path is not None and path.exists():
            try:
                return self._read(path, signature, target)
            except Exception as error:  # whatever damaged code can lead to
                logger.warning("gpunn: compiling anew, since %s: %s", path, error)
        ANNOUNCEMENT.begin(kept=path is not None)
        return None

    def _read(self, path: Path, signature: Any, target: Any) -> Any:
        content = read_whole(path, InvalidFileError, MOST_BYTES, "a compiled kernel")
        head = len(MAGIC) + 32
        code = content[head:]
        if content[:head] != MAGIC + self._checksum(signature, code):
            raise InvalidFileError("it is damaged, or holds another function")
        # In a folder to which this user alone can write.
        return compiler.CompileResult._rebuild(target, *pickle.loads(code))

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep what was compiled, unless it can't be or there is no place."""
        path = self.path(signature)
        fixed = not result.library.has_dynamic_globals and all(x.can_cache for x in result.lifted)
        if path is None or not fixed:
            return
        code = serialize.dumps(result._reduce())
        with contextlib.suppress(OSError):  # such as a full disk: it is compiled again next time
            write_atomically(path, MAGIC, self._checksum(signature, code), code)

    def _key(self, signature: Any) -> bytes:
        return hashlib.sha256(f"{build()} {self._name} {signature}".encode()).digest()

    def _checksum(self, signature: Any, code: bytes) -> bytes:
        return hashlib.sha256(self._key(signature) + code).digest()

    def enable(self) -> None:
        """Do nothing: it is in use from the beginning."""

    def disable(self) -> None:
        """Do nothing, as `enable`."""

    def flush(self) -> None:
        """Do nothing: other sources have another folder."""
