"""Every error that gpunn raises on purpose.

Each class is also the built-in exception that a caller would expect (`ValueError`, `TypeError`,
`RuntimeError`), so code that knows nothing of gpunn catches them as usual.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "BackendUnavailableError",
    "ConfigError",
    "ConfigFileError",
    "DataError",
    "DataFileError",
    "DeviceMemoryError",
    "DivergenceError",
    "ExportError",
    "GpunnError",
    "InvalidFileError",
    "MissingPackageError",
    "ModelFileError",
    "suggest",
]


class GpunnError(Exception):
    """Base class of all errors that gpunn raises on purpose."""


class ArgumentError(GpunnError, ValueError):
    """An argument has a value that can't work."""


class ArgumentTypeError(GpunnError, TypeError):
    """An argument has a type that can't work."""


class DataError(GpunnError, ValueError):
    """Data handed in, or a data file, is malformed or does not fit the network."""


class ConfigError(GpunnError, ValueError):
    """A configuration has an unknown key, a wrong type or an impossible value."""


class InvalidFileError(GpunnError, ValueError):
    """A file is damaged, or not what it should be; the message names the file and the fault."""


class DataFileError(InvalidFileError, DataError):
    """A data file (IDX, CSV, NPY, NPZ) is damaged or does not hold what was asked for."""


class ConfigFileError(InvalidFileError, ConfigError):
    """The file of a configuration is not TOML or JSON, or not a configuration."""


class ModelFileError(InvalidFileError):
    """A saved model or checkpoint is damaged or does not fit the network it is loaded into."""


class BackendUnavailableError(GpunnError, RuntimeError):
    """The requested backend can't be used on this machine; the message names what is missing."""


class DeviceMemoryError(GpunnError, MemoryError):
    """The device has too little memory; the message says how much was wanted and what to do."""


class DivergenceError(GpunnError, ArithmeticError):
    """Training produced a loss, or parameters, that are not finite numbers."""


class ExportError(GpunnError, ValueError):
    """A network holds something that another program's format can't express."""


class MissingPackageError(GpunnError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


def suggest(name: str, valid: Iterable[str]) -> str:
    """Return a sentence that offers the nearest valid name, or lists all of them.

    Examples
    --------
    >>> suggest("rleu", ["relu", "tanh"])
    "did you mean 'relu'? (valid: 'relu', 'tanh')"
    """
    names = sorted(valid)
    listed = ", ".join(repr(known) for known in names)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]!r}? (valid: {listed})" if nearest else f"valid: {listed}"
