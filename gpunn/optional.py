"""Optional packages, imported when they are first used."""

import importlib
from typing import Any

from gpunn.errors import MissingPackageError
from gpunn.forks import IMPORTING


def require(module: str, purpose: str, install: str) -> Any:
    """Import and return a module, or raise a MissingPackageError that says how to install it.

    `purpose` names the feature that needs the module; `install` is the command that installs it.

    >>> require("math", "counting", "nothing").floor(1.5)
    1
    >>> require("no_such_module", "magic", install_command("magic"))
    Traceback (most recent call last):
        ...
    gpunn.errors.MissingPackageError: magic needs the package 'no_such_module' (No module named
    'no_such_module'): pip install '.[magic]' in a clone of gpunn
    """
    try:
        with IMPORTING:
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{purpose} needs the package {module.partition('.')[0]!r} ({error}): {install}"
        ) from error


def install_command(*extras: str) -> str:
    """Return the command that installs gpunn with an extra, or with one of several extras.

    >>> install_command("cuda12", "cuda13")
    "pip install '.[cuda12]' or '.[cuda13]' in a clone of gpunn"
    """
    names = " or ".join(f"'.[{extra}]'" for extra in extras)
    return f"pip install {names} in a clone of gpunn"
