"""Build a library: start worker processes, and link their object files."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path

from gpunn.backends.numpy.compiled import files
from gpunn.backends.numpy.compiled.announcement import announced
from gpunn.backends.numpy.compiled.building.link import BuildError, link
from gpunn.backends.numpy.compiled.targets import VARIABLE, Target
from gpunn.backends.thread_count import usable_cores
from gpunn.errors import InvalidFileError
from gpunn.storage.files import FolderLock

MAX_SHOWN = 1000
"""Maximum length of a worker's error message: the end of the message, which names the cause."""

MAX_WORKERS = 8
"""Maximum number of workers. Starting more workers would take longer than they save."""


def build(
    target: Target, folder: Path | None = None, only: Collection[str] = (), force: bool = False
) -> Path:
    """Return a target's library; build it first if it is missing or `force` is True."""
    folder = files.writable_folder() if folder is None else folder
    lock = wait_for(folder)
    try:
        if not force:
            with contextlib.suppress(FileNotFoundError, InvalidFileError):
                return files.read(folder, target)[0]
        with (
            announced(f"the CPU kernels for {target.name}") as progress,
            tempfile.TemporaryDirectory(prefix="gpunn-") as temporary,
        ):
            objects = Path(temporary)
            make_objects(target, objects, progress, only)
            content, suffix = link(sorted(objects.glob("*.o")))
            versions = {name: importlib.metadata.version(name) for name in ("numba", "llvmlite")}
            return files.write(folder, target, content, suffix, **versions)
    finally:
        lock.release()


def wait_for(folder: Path) -> FolderLock:
    while True:
        try:
            return FolderLock(folder)
        except BlockingIOError:
            time.sleep(0.1)


def make_objects(
    target: Target, folder: Path, progress: Callable[[int, int], None], only: Collection[str]
) -> None:
    settings = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    # Workers use this process's module path, even if its folder or options differ.
    start = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from gpunn.backends.numpy.compiled.building.worker import work\n"
        f"work({str(folder)!r}, {sorted(only)!r}, {min(usable_cores(), MAX_WORKERS)})"
    )
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(  # noqa: S603 - this interpreter, without a shell
            [sys.executable, "-c", start],
            env={**settings, VARIABLE: target.name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        ) as worker,
    ):
        assert worker.stdout is not None
        try:
            for done, line in enumerate(worker.stdout, 1):
                progress(done, int(line))
            if status := worker.wait():
                errors.seek(0)
                message = errors.read().decode(errors="replace").strip()
                raise BuildError(message[-MAX_SHOWN:] or f"exit status {status}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)  # the worker and all that it has forked
