"""Build, open and serve shared libraries with the names of NVIDIA's libraries."""

import ctypes
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import cupy_private
from .toolchain import build

SUCCESS = 0
CurrentDevice = ctypes.CFUNCTYPE(ctypes.c_int)

_kept_alive: list[Any] = []
"""Libraries, and the functions that they call."""


def opened(file: str, soname: str, *flags: str, stubs: str = "") -> Any:
    """Build the library of a C++ file, or find it in the cache, and load it under a name."""
    source = (Path(__file__).parent / file).read_text() + stubs
    path, _ = build(source, ("-std=c++17", "-O1", f"-Wl,-soname,{soname}", *flags))
    library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    _kept_alive.append(library)
    return library


def connected(connect: Callable[..., Any], *callbacks: Any) -> None:
    connect(*callbacks)
    _kept_alive.append(callbacks)


def stubs(file: str, module: str, status: int) -> str:
    """C++ text of functions that CuPy's module links but a file lacks; they return an error."""
    own = (Path(__file__).parent / file).read_text()
    path = cupy_private.extension(module)
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", path], capture_output=True, text=True, check=True
    ).stdout
    needed = set(re.findall(rf"\b({module}\w+)", listed))
    missing = needed - set(re.findall(rf"\b({module}\w+)\(", own))
    return "".join(f'extern "C" int {name}() {{ return {status}; }}\n' for name in sorted(missing))


def answering(
    function: Callable[..., int | None], statuses: Mapping[type[Exception], int], library: str
) -> Callable[..., int]:
    def call(*arguments: Any) -> int:
        try:
            return function(*arguments) or SUCCESS
        except Exception as error:
            print(f"emulated {library}: {type(error).__name__}: {error}", file=sys.stderr)
            return next(s for kind, s in statuses.items() if isinstance(error, kind))

    return call
