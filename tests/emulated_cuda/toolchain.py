"""g++ with a cache on disk: each text with its flags is compiled once for all clones.

Reading headers takes longer than compiling a kernel, so headers are precompiled.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from . import cupy_private
from .errors import EmulatorError

INCLUDE = Path(__file__).parent / "include"

LINKING = re.compile(r"-shared|-Wl,")
LEADING_INCLUDES = re.compile(r"(?:\s*#include <[^>]+>[^\n]*\n)*")

PRECOMPILED_KEPT = 10
"""Precompiled headers that stay in the cache; each takes about 12 MB."""


class CompilationError(EmulatorError):
    """g++ refused the source; the message is its output."""


@cache
def _shim_digest() -> str:
    """Hash of every header of the shim, so that editing one makes all cached builds stale."""
    digest = hashlib.sha256()
    for path in sorted(INCLUDE.rglob("*")):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _compiler() -> str:
    found = shutil.which(os.environ.get("CXX", "g++"))
    if found is None:
        raise EmulatorError("emulated_cuda needs g++ (or another compiler named by CXX)")
    return found


@cache
def _compiler_version() -> str:
    return subprocess.run(
        [_compiler(), "--version"], capture_output=True, text=True, check=True
    ).stdout


def cache_folder() -> Path:
    chosen = os.environ.get("GPUNN_EMULATOR_CACHE")
    folder = Path(chosen) if chosen else Path.home() / ".cache" / "gpunn-emulated-cuda"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def leading_includes(source: str) -> str:
    return LEADING_INCLUDES.match(source)[0]  # type: ignore[index]  # it matches nothing, too


@cache
def _installed() -> str:
    """The installed CUDA packages, which contain the headers that kernels include."""
    folder = cupy_private.site_folder()
    found = (path.name for name in ("cupy", "nvidia") for path in folder.glob(f"{name}*.dist-info"))
    return " ".join(sorted(found))


def _digest(*parts: str) -> str:
    """Hash of sources and flags, independent of the paths of this folder and the packages."""
    key = "\0".join((*parts, _shim_digest(), _installed(), _compiler_version()))
    for folder in (INCLUDE, cupy_private.site_folder()):
        key = key.replace(str(folder), folder.name)
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _run(*arguments: str) -> None:
    result = subprocess.run([_compiler(), *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        raise CompilationError(result.stderr)


@contextmanager
def _alone(what: str) -> Iterator[None]:
    """Make other threads and processes, such as other ranks, wait for this build."""
    with (cache_folder() / f"lock-{what}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
        yield


def _precompiled(header: str, flags: tuple[str, ...]) -> Path:
    flags = tuple(flag for flag in flags if not LINKING.match(flag))
    folder = cache_folder()
    path = folder / f"{_digest('header', header, *flags)}.gch"
    with _alone("header"):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                text, built = Path(scratch, "head.h"), Path(scratch, "head.h.gch")
                text.write_text(header)
                _run("-x", "c++-header", str(text), "-o", str(built), *flags)
                built.replace(path)
            for old in sorted(folder.glob("*.gch"), key=modified)[:-PRECOMPILED_KEPT]:
                old.unlink(missing_ok=True)
    return path


def modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def build(source: str, flags: tuple[str, ...], header: str = "") -> tuple[Path, str]:
    """Compile C++ into a shared library.

    `header` is a start that several sources share; it is precompiled. Returns the library's path
    and g++'s listing of the optimized program (GIMPLE).
    """
    flags = ("-shared", "-fPIC", *flags)
    digest = _digest(header, source, *flags)
    stem = cache_folder() / digest
    library, listing = stem.with_suffix(".so"), stem.with_suffix(".gimple")
    if not library.exists():
        with _alone(digest[0]):
            if not library.exists():
                _compile(source, flags, header, library, listing)
    return library, listing.read_text()


def _compile(
    source: str, flags: tuple[str, ...], header: str, library: Path, listing: Path
) -> None:
    """Write the listing of a source, and then its library."""
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        text, built, listed = (Path(scratch, name) for name in ("k.cpp", "k.so", "k.gimple"))
        text.write_text(source)
        listed.touch()  # g++ writes none for a source without functions
        if header:
            # Beside the header, or without the precompiled form, g++ would read the text.
            Path(scratch, "head.h").write_text(header)
            Path(scratch, "head.h.gch").symlink_to(_precompiled(header, flags))
            text.write_text(f'#include "head.h"\n{source}')
        _run(
            *(str(text), "-o", str(built), *flags),
            f"-fdump-tree-optimized-asmname={listed}",
        )
        listed.replace(listing)
        built.replace(library)  # last: the library is what says that all is there
