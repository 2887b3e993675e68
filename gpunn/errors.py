"""Every error that gpunn raises on purpose, and its warning.

Each class is also the built-in exception that a caller would expect (`ValueError`, `TypeError`,
`RuntimeError`), so code that knows nothing of gpunn catches them as usual.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "BackendUnavailableError",
    "ConcurrentUseError",
    "ConfigError",
    "ConfigFileError",
    "DataError",
    "DataFileError",
    "DeviceError",
    "DeviceMemoryError",
    "DivergenceError",
    "ExportError",
    "FileAccessError",
    "GpunnError",
    "GpunnWarning",
    "InvalidFileError",
    "MissingFigureError",
    "MissingMetricError",
    "MissingPackageError",
    "ModelFileError",
    "SettingError",
    "suggest",
]


class GpunnError(Exception):
    """Base class of all errors that gpunn raises on purpose."""


class GpunnWarning(UserWarning):
    """Something is possible but hardly meant; the message names it and what to do instead."""


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


class FileAccessError(GpunnError, OSError):
    """A file can't be opened, read or written; the message names it and says what to do.

    It is also the built-in class that belongs to its `errno`, where there is one of these:
    `FileNotFoundError`, `IsADirectoryError`, `NotADirectoryError`, `PermissionError`.

    Parameters
    ----------
    number : int or None
        The system's number of the error, such as `errno.ENOENT`.
    reason : str
        What is wrong, and what to do about it.
    path : path-like
    """

    def __new__(
        cls, number: int | None, reason: str, path: str | os.PathLike[str]
    ) -> FileAccessError:
        """Return an error of the class that belongs to the number."""
        return OSError.__new__(ACCESS_ERRORS.get(number, cls), number, reason, os.fspath(path))

    def __str__(self) -> str:
        """Return the path and what is wrong, without the error's number."""
        return f"{self.filename}: {self.strerror}"


class MissingFileError(FileAccessError, FileNotFoundError):
    """There is no such file or folder."""


class FolderInsteadError(FileAccessError, IsADirectoryError):
    """A folder, where a file was expected."""


class NoFolderError(FileAccessError, NotADirectoryError):
    """A file, where a folder was expected."""


class ForbiddenFileError(FileAccessError, PermissionError):
    """The system does not let this process do that with the file."""


ACCESS_ERRORS: dict[int | None, type[FileAccessError]] = {
    errno.ENOENT: MissingFileError,
    errno.EISDIR: FolderInsteadError,
    errno.ENOTDIR: NoFolderError,
    errno.EACCES: ForbiddenFileError,
    errno.EPERM: ForbiddenFileError,
}


class BackendUnavailableError(GpunnError, RuntimeError):
    """The requested backend can't be used on this machine; the message names what is missing."""


class ConcurrentUseError(GpunnError, RuntimeError):
    """A network is asked for by one thread while another one trains it."""


class DeviceError(GpunnError, RuntimeError):
    """The device has failed, and works for no one in this process any more."""


class DeviceMemoryError(GpunnError, MemoryError):
    """The device has too little memory; the message says how much was wanted and what to do."""


class DivergenceError(GpunnError, ArithmeticError):
    """Training produced a loss, or parameters, that are not finite numbers."""


class ExportError(GpunnError, ValueError):
    """A network holds something that another program's format can't express."""


class MissingMetricError(GpunnError, KeyError):
    """A history has no metric of that name; the message suggests the nearest."""

    __str__ = Exception.__str__  # KeyError shows its message in quotes


MissingFigureError = MissingMetricError
"""Earlier name of `MissingMetricError`."""


class MissingPackageError(GpunnError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class SettingError(GpunnError, AttributeError):
    """An attribute can't be set, or nothing would look at it."""


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
