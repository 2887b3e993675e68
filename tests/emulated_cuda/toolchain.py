"""g++ with a cache on disk: the same text and flags are compiled once, then loaded."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from .errors import EmulatorError

INCLUDE = Path(__file__).parent / "include"


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
    """``GPUNN_EMULATOR_CACHE``, else ``~/.cache/gpunn-emulated-cuda``."""
    chosen = os.environ.get("GPUNN_EMULATOR_CACHE")
    folder = Path(chosen) if chosen else Path.home() / ".cache" / "gpunn-emulated-cuda"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def build(source: str, flags: tuple[str, ...]) -> tuple[Path, str]:
    """Compile C++ into a shared library.

    Returns the library's path and g++'s listing of the optimised program (GIMPLE).
    """
    flags = ("-shared", "-fPIC", *flags)
    key = "\0".join((source, *flags, _shim_digest(), _compiler_version()))
    stem = cache_folder() / hashlib.sha256(key.encode()).hexdigest()[:32]
    library, listing = stem.with_suffix(".so"), stem.with_suffix(".gimple")
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=stem.parent) as scratch:
            text, built, listed = (Path(scratch, name) for name in ("k.cpp", "k.so", "k.gimple"))
            text.write_text(source)
            listed.touch()  # g++ writes none for a source without functions
            result = subprocess.run(
                [
                    *(_compiler(), str(text), "-o", str(built), *flags),
                    f"-fdump-tree-optimized-asmname={listed}",
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            if result.returncode:
                raise CompilationError(result.stderr)
            listed.replace(listing)
            built.replace(library)  # last: the library is what says that all is there
    return library, listing.read_text()
