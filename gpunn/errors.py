"""The errors that gpunn raises, and its warning.

Each class is also a subclass of the built-in exception that a caller would expect (`ValueError`,
`TypeError`, `RuntimeError`), so code that does not know gpunn can catch them.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
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
    "DeprecatedNameWarning",
    "DeviceError",
    "DeviceMemoryError",
    "DistributedError",
    "DivergenceError",
    "ExportError",
    "FileAccessError",
    "GpunnError",
    "GpunnWarning",
    "InvalidFileError",
    "MissingMetricError",
    "MissingPackageError",
    "ModelFileError",
    "SettingError",
    "ShapeError",
    "TrackerError",
    "UnknownCategoryWarning",
    "suggest",
]


class GpunnError(Exception):
    """Base class of the errors that gpunn raises.

    Examples
    --------
    >>> import gpunn
    >>> try:
    ...     gpunn.layers.Dense(0)
    ... except gpunn.errors.GpunnError as error:
    ...     print(error)
    units: expected an integer >= 1; got 0
    """


KEY = re.compile(r"([\w.\[\]]+): ")
"""What an error is about, at the beginning of its message."""


class KeyedError(GpunnError):
    """An error about an argument, or the key of a setting, with which the message begins."""

    @property
    def key(self) -> str:
        """What it is about, such as "units"; empty if the message begins with something else."""
        match = KEY.match(str(self))
        return match[1] if match else ""

    @property
    def problem(self) -> str:
        """The message without the key."""
        match = KEY.match(str(self))
        return str(self)[match.end() :] if match else str(self)


class GpunnWarning(UserWarning):
    """Something works but is probably not intended; the message says what to do instead."""


class DeprecatedNameWarning(GpunnWarning, FutureWarning):
    """An old name still works; the message gives the new one."""


class UnknownCategoryWarning(GpunnWarning):
    """Rows have categories that the training rows had not; the message counts them by column."""


class ArgumentError(KeyedError, ValueError):
    """An argument has an impossible value."""


class ArgumentTypeError(KeyedError, TypeError):
    """An argument has a wrong type."""


class DataError(KeyedError, ValueError):
    """Data handed in, or a data file, is malformed or does not fit the network."""


class ShapeError(DataError):
    """An array has a shape that a network and its loss don't take."""


class ConfigError(GpunnError, ValueError):
    """A configuration has an unknown key, a wrong type or an impossible value."""


class InvalidFileError(GpunnError, ValueError):
    """A file is damaged or of another kind; the message names the file and what is wrong."""


class DataFileError(InvalidFileError, DataError):
    """A data file (IDX, CSV, NPY, NPZ) is damaged or does not hold what was asked for."""


class ConfigFileError(InvalidFileError, ConfigError):
    """The file of a configuration is not TOML or JSON, or not a configuration."""


class ModelFileError(InvalidFileError):
    """A saved model or checkpoint is damaged or does not fit the network it is loaded into."""


class FileAccessError(GpunnError, OSError):
    """A file can't be opened, read or written; the message names it and says what to do.

    It is also the built-in class for its `errno`, where that is one of
    `FileNotFoundError`, `IsADirectoryError`, `NotADirectoryError`, `PermissionError`.

    Parameters
    ----------
    number : int or None
        The system's number of the error, such as `errno.ENOENT`.
    reason : str
        What is wrong, and what to do about it.
    path : path-like
        The file or folder.
    """

    def __new__(
        cls, number: int | None, reason: str, path: str | os.PathLike[str]
    ) -> FileAccessError:
        """Return an error of the class for this number."""
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
    """The process has no permission for this file."""


ACCESS_ERRORS: dict[int | None, type[FileAccessError]] = {
    errno.ENOENT: MissingFileError,
    errno.EISDIR: FolderInsteadError,
    errno.ENOTDIR: NoFolderError,
    errno.EACCES: ForbiddenFileError,
    errno.EPERM: ForbiddenFileError,
}


class BackendUnavailableError(GpunnError, RuntimeError):
    """The requested backend can't be used on this machine; the message names what is missing.

    Parameters
    ----------
    message : str
        What is missing, and what to do.
    problem : str, optional
        What is missing alone, by default the message.
    """

    def __init__(self, message: str, problem: str | None = None) -> None:
        super().__init__(message)
        self.problem = problem or message


class ConcurrentUseError(GpunnError, RuntimeError):
    """One thread trains a network, and another wants to train or evaluate it."""


class DeviceError(GpunnError, RuntimeError):
    """The device has failed, and can't be used in this process any more."""


class DeviceMemoryError(GpunnError, MemoryError):
    """The device has too little memory; the message says how much was wanted and what to do."""


class DistributedError(GpunnError, RuntimeError):
    """Processes that train together can't start, differ, or one of them has failed.

    Parameters
    ----------
    message : str
        What is wrong.
    rank : int or None
        The one that has failed, if it is that.
    elsewhere : bool or None
        Whether another rank shows the reason, so that this one need not; None is whether there is a
        `rank`.

    Attributes
    ----------
    rank : int or None
        As given.
    elsewhere : bool
        As given or decided.
    """

    def __init__(
        self, message: str, rank: int | None = None, *, elsewhere: bool | None = None
    ) -> None:
        super().__init__(message)
        self.rank = rank
        self.elsewhere = rank is not None if elsewhere is None else elsewhere


class DivergenceError(GpunnError, ArithmeticError):
    """Training produced a loss or parameters that are infinite or NaN."""


class ExportError(GpunnError, ValueError):
    """A network has something that the format of another program can't express."""


class MissingMetricError(GpunnError, KeyError):
    """A history has no metric of that name; the message suggests the nearest."""

    __str__ = Exception.__str__  # KeyError shows its message in quotes


class MissingPackageError(GpunnError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class SettingError(GpunnError, AttributeError):
    """An attribute can't be set, or setting it would have no effect."""


class TrackerError(GpunnError, RuntimeError):
    """An experiment tracker can't begin a run, or go on with one."""


def suggest(name: str, valid: Iterable[str]) -> str:
    """Return a sentence that offers the nearest valid name, or lists all of them.

    Parameters
    ----------
    name : str
        The name that there is not.
    valid : iterable of str
        The names that there are.

    Returns
    -------
    str
        Without a full stop, for the end of an error message.

    Examples
    --------
    >>> from gpunn.errors import suggest
    >>> suggest("rleu", ["relu", "tanh"])
    "did you mean 'relu'? (valid: 'relu', 'tanh')"
    """
    names = sorted(valid)
    listed = ", ".join(repr(known) for known in names)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]!r}? (valid: {listed})" if nearest else f"valid: {listed}"
