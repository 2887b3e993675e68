"""Optional packages, imported when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

from gpunn.errors import MissingPackageError
from gpunn.forks import IMPORTING

__all__ = ["require"]


def require(module: str, purpose: str, install: str) -> Any:
    """Import and return a module; if it is missing, a MissingPackageError says how to install it.

    The purpose is what needs it, and `install` what `pip install` takes.

    Examples
    --------
    >>> require("math", "counting", "nothing").floor(1.5)
    1
    >>> require("no_such_module", "magic", "gpunn[magic]")
    Traceback (most recent call last):
        ...
    gpunn.errors.MissingPackageError: magic needs the package 'no_such_module' (No module named
    'no_such_module'): pip install 'gpunn[magic]'
    """
    try:
        with IMPORTING:
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{purpose} needs the package {module.partition('.')[0]!r} ({error}): "
            f"pip install '{install}'"
        ) from error
