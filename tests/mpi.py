"""Starting programs with mpiexec, each within a limit of time: a hang is a failed test."""

import atexit
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

MPIEXEC = shutil.which(
    "mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
)
LIMIT = 120
"""Seconds; what is started takes one or two, and a machine may be busy."""

needs_mpi = pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None,
    reason="mpi4py and mpiexec are needed: pip install '.[mpi]' mpich",
)


SLEEP = """#include <unistd.h>
int sched_yield(void) { return usleep(100); }"""


@functools.cache
def patience():
    """Return a variable by which ranks sleep where MPICH would keep a core busy while it waits."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    library = Path(folder.name, "sleep.so")
    build = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    try:
        subprocess.run(build, input=SLEEP, text=True, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"LD_PRELOAD": str(library)}


def start(ranks, *command, **options):
    threads = {"GPUNN_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [MPIEXEC, "-n", str(ranks), sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **threads, **patience()},
        **options,
    )


def ended(process):
    try:
        output, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        pytest.fail(f"did not end within {LIMIT} s; its output:\n{output}")
    return process.returncode, output


def run(ranks, *command, **options):
    return ended(start(ranks, *command, **options))
