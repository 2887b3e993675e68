"""Link object files to one library."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from gpunn.errors import GpunnError


class BuildError(GpunnError):
    pass


OPTIONS = (
    ("-nostartfiles", "-Wl,--no-undefined", "-Wl,--gc-sections", "-Wl,-s")
    if sys.platform.startswith("linux")
    else ()
)


def linkers() -> list[str]:
    names = (os.environ.get("CC", ""), "cc", "gcc", "clang")
    return [path for name in names if (path := shutil.which(name))]


def link(objects: Sequence[Path]) -> tuple[bytes, str]:
    """Return a library and its suffix: a shared library, or an archive if there is no linker."""
    with tempfile.TemporaryDirectory(prefix="gpunn-") as folder:
        library = Path(folder, "kernels.so")
        for linker in linkers():
            command = [linker, "-shared", "-o", str(library), *map(str, objects), *OPTIONS]
            done = subprocess.run(  # noqa: S603 - the user's compiler, without a shell
                command, stdin=subprocess.DEVNULL, capture_output=True
            )
            if done.returncode == 0 and library.exists():
                return library.read_bytes(), ".so"
            messages = done.stderr.decode(errors="replace").splitlines()
            if any("undefined reference" in line for line in messages):
                raise BuildError(f"a kernel calls a missing function: {' '.join(messages[:2])}")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for path in objects:
            file.writestr(zipfile.ZipInfo(path.name), path.read_bytes())  # without a timestamp
    return archive.getvalue(), ".zip"
