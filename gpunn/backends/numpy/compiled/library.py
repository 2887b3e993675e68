"""The library with the kernels' machine code, built in advance or at first use."""

import ctypes
import functools
import importlib.util
import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gpunn.backends.numpy.compiled import files
from gpunn.backends.numpy.compiled.interface import symbol
from gpunn.backends.numpy.compiled.targets import (
    OFF,
    VARIABLE,
    Target,
    requested_target,
    runnable_targets,
)
from gpunn.errors import ArgumentError, GpunnError, InvalidFileError
from gpunn.forks import IMPORTING

logger = logging.getLogger("gpunn")

ENTRIES = {
    "permutation": 2,
    "publish": 1,
    "start_sleeping": 2,
    "run_parts": 2,
    "run_as_worker": 5,
    "run_as_leader": 6,
}
"""The names of the functions that Python calls, and their numbers of parameters."""

SLOWER = "Without kernels, training takes 1.4 to 23 times as long; small networks slow down most"
"""These factors are from docs/explanation/benchmarks.md, "Without compiled kernels"."""

ONE_THREAD = (
    "If other programs keep the cores busy, set GPUNN_THREADS=1, so that threads of NumPy's BLAS "
    "don't wait for one another"
)
"""Advice for busy machines. Without kernels, gpunn uses NumPy's BLAS."""


class Library:
    """A loaded library of kernels, whose functions release Python's lock (GIL)."""

    permutation: Callable[[int, int], int]
    publish: Callable[[int], int]
    start_sleeping: Callable[[int, int], int]
    run_parts: Callable[[int, int], int]
    run_as_worker: Callable[[int, int, int, int, int], int]
    run_as_leader: Callable[[int, int, int, int, int, int], int]

    def __init__(self, path: Path, target: Target) -> None:
        self.path, self.target, self.vectors = path, target, target.vectors
        # Cached, since each look-up takes microseconds.
        self._address_of = functools.cache(
            archived(path) if path.suffix == ".zip" else linked(path)
        )
        for name, parameters in ENTRIES.items():
            # Passing an int as a pointer avoids a range check, and takes half as long.
            function = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * parameters)
            setattr(self, name, function(self._address_of(symbol(name))))

    def address(self, kernel: str, dtype: str) -> int:
        return self._address_of(symbol(kernel, dtype))


def linked(path: Path) -> Callable[[str], int]:
    loaded = ctypes.CDLL(str(path))
    return lambda name: ctypes.cast(loaded[name], ctypes.c_void_p).value or 0


def archived(path: Path) -> Callable[[str], int]:
    try:
        with IMPORTING:
            import llvmlite.binding as llvm
    except ImportError as error:
        raise OSError(f"{path} requires the package llvmlite: {error}") from error
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine: Any = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            engine.add_object_file(llvm.ObjectFileRef.from_data(file.read(name)))
    engine.finalize_object()
    return lambda name: int(engine.get_function_address(name))


class Search(NamedTuple):
    library: Library | None
    problem: str = ""
    target: Target | None = None


def find_library() -> Search:
    if os.environ.get(VARIABLE) == OFF:
        return Search(None, f"{VARIABLE} is {OFF!r}")
    target = requested_target()
    if target is None:
        return Search(None, "this processor or system is not supported")
    if target not in (runnable := runnable_targets()):
        able = ", ".join(repr(each.name) for each in runnable) or "none"
        raise ArgumentError(
            f"{VARIABLE}: this processor can't run kernels for {target.name!r}; it can run: {able}"
        )
    problem = "the kernels have not been built"
    for folder in files.folders():
        try:
            return Search(Library(files.read(folder, target)[0], target))
        except FileNotFoundError:
            pass
        except (InvalidFileError, OSError) as error:
            problem = str(error)
    return Search(None, problem, target)


@functools.cache
def library() -> Library | None:
    search = find_library()
    if search.library is None and search.target and has_numba():
        search = built(search.target)
    if search.library is None and os.environ.get(VARIABLE) != OFF:
        parts = [f"no compiled kernels ({search.problem})", SLOWER, remedy(search), ONE_THREAD]
        logger.warning("gpunn: training is slow: %s", ". ".join(filter(None, parts)))
    return search.library


def remedy(search: Search) -> str:
    if os.environ.get(VARIABLE) == OFF:
        return f"Unset {VARIABLE}"
    if search.target is None or has_numba():
        return ""
    return "Run: pip install 'numba>=0.68'. The next training then builds the kernels"


def loaded_library() -> Library:
    search = library()
    assert search is not None, "programs require kernels"
    return search


def has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


def built(target: Target) -> Search:
    with IMPORTING:
        from gpunn.backends.numpy.compiled.building import build

    try:
        return Search(Library(build(target), target))
    except (GpunnError, OSError) as error:
        return Search(None, f"building them failed: {error}")
