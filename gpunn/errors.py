"""The errors and warnings of gpunn.

Each error class is also a subclass of the matching built-in exception (`ValueError`, `TypeError`,
`RuntimeError`), so callers can catch the errors without importing gpunn.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

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
    >>> try:
    ...     gpunn.layers.Dense(0)
    ... except gpunn.errors.GpunnError as error:
    ...     print(error)
    units: expected an integer >= 1; got 0
    """

    @classmethod
    @contextmanager
    def instead_of(cls, *caught: type[Exception], prefix: str = "") -> Iterator[None]:
        """Replace exceptions in a `with` block by this error, with the same message after `prefix`.

        Parameters
        ----------
        *caught : type
            Classes of the exceptions to replace.
        prefix : str
            The beginning of the new message.

        Yields
        ------
        None
            Nothing.
        """
        try:
            yield
        except caught as error:
            raise cls(f"{prefix}{error}") from error


KEY = re.compile(r"([\w.\[\]]+): ")


class KeyedError(GpunnError):
    """An error whose message begins with the name of an argument or the key of a setting."""

    @property
    def key(self) -> str:
        """The argument or key that begins the message, such as "units", or "" if there is none."""
        match = KEY.match(str(self))
        return match[1] if match else ""

    @property
    def problem(self) -> str:
        """The message without the argument or key at its beginning."""
        match = KEY.match(str(self))
        return str(self)[match.end() :] if match else str(self)


class GpunnWarning(UserWarning):
    """A probable mistake in code that works; the message says what to do instead."""


class DeprecatedNameWarning(GpunnWarning, FutureWarning):
    """Code uses a deprecated name. The name still works; the message gives the new name."""


class UnknownCategoryWarning(GpunnWarning):
    """Rows have categories unseen in training; the message counts such rows by column."""


class ArgumentError(KeyedError, ValueError):
    """An argument has an invalid value."""


class ArgumentTypeError(KeyedError, TypeError):
    """An argument has a wrong type."""


class DataError(KeyedError, ValueError):
    """Data, or a data file, is malformed or does not fit the network."""


class ShapeError(DataError):
    """An array has a shape that does not fit the network and its loss."""


class ConfigError(GpunnError, ValueError):
    """A configuration has an unknown key, a wrong type or an invalid value."""


class InvalidFileError(GpunnError, ValueError):
    """A file is damaged or has another format; the message names the file and the problem."""


class DataFileError(InvalidFileError, DataError):
    """A data file (IDX, CSV, NPY, NPZ) is damaged or does not contain the requested data."""


class ConfigFileError(InvalidFileError, ConfigError):
    """A configuration file is not valid TOML or JSON, or not a valid configuration."""


class ModelFileError(InvalidFileError):
    """A saved model or checkpoint is damaged, or does not fit the network that loads it."""


class FileAccessError(GpunnError, OSError):
    """A file cannot be opened, read or written; the message names the file and a remedy.

    Depending on the `errno`, the error is also a `FileNotFoundError`, `IsADirectoryError`,
    `NotADirectoryError` or `PermissionError`.

    Parameters
    ----------
    number : int or None
        The system's error number, such as `errno.ENOENT`.
    reason : str
        The problem, and what to do about it.
    path : path-like
        The file or folder.
    """

    def __new__(
        cls, number: int | None, reason: str, path: str | os.PathLike[str]
    ) -> FileAccessError:
        return OSError.__new__(ACCESS_ERRORS.get(number, cls), number, reason, os.fspath(path))

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


class MissingFileError(FileAccessError, FileNotFoundError):
    """There is no such file or folder."""


class FolderInsteadError(FileAccessError, IsADirectoryError):
    """The path is a folder instead of a file."""


class NoFolderError(FileAccessError, NotADirectoryError):
    """A part of the path is a file instead of a folder."""


class ForbiddenFileError(FileAccessError, PermissionError):
    """The process has no permission to access this file."""


ACCESS_ERRORS: dict[int | None, type[FileAccessError]] = {
    errno.ENOENT: MissingFileError,
    errno.EISDIR: FolderInsteadError,
    errno.ENOTDIR: NoFolderError,
    errno.EACCES: ForbiddenFileError,
    errno.EPERM: ForbiddenFileError,
}


class BackendUnavailableError(GpunnError, RuntimeError):
    """The requested backend is unavailable on this machine; the message names the missing part.

    Parameters
    ----------
    message : str
        The problem, and what to do.
    problem : str, optional
        The problem, without the remedy; by default, the whole message.
    """

    def __init__(self, message: str, problem: str | None = None) -> None:
        super().__init__(message)
        self.problem = problem or message


class ConcurrentUseError(GpunnError, RuntimeError):
    """A thread tries to train or evaluate a network while another thread trains it."""


class DeviceError(GpunnError, RuntimeError):
    """The device has failed; this process cannot use it any more."""


class DeviceMemoryError(GpunnError, MemoryError):
    """The device has too little memory; the message has the requested size and the remedy."""


class DistributedError(GpunnError, RuntimeError):
    """Processes that train together cannot start, do not agree, or have failed.

    Parameters
    ----------
    message : str
        The problem.
    rank : int or None
        The failed rank, or None.
    elsewhere : bool or None
        Whether another rank reports the reason for the failure. The default is True if `rank` is
        given.

    Attributes
    ----------
    rank : int or None
        The rank that has failed.
    elsewhere : bool
        Whether another rank reports the reason for the failure.
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
    """A network has a part that the export format cannot express."""


class MissingMetricError(GpunnError, KeyError):
    """A history has no metric with the requested name; the message suggests the nearest name."""

    __str__ = Exception.__str__  # KeyError shows its message in quotes


class MissingPackageError(GpunnError, ImportError):
    """An optional package is not installed; the message has the command to install it."""


class SettingError(GpunnError, AttributeError):
    """An attribute cannot be set, or setting it would have no effect."""


class TrackerError(GpunnError, RuntimeError):
    """An experiment tracker cannot start or resume a run."""


def suggest(name: str, valid: Iterable[str]) -> str:
    """Return a hint with the nearest valid name, if any, and all valid names.

    Parameters
    ----------
    name : str
        The unknown name.
    valid : iterable of str
        The valid names.

    Returns
    -------
    str
        The hint without a full stop, for the end of an error message.

    Examples
    --------
    >>> from gpunn.errors import suggest
    >>> suggest("rleu", ["relu", "tanh"])
    "did you mean 'relu'? (valid: 'relu', 'tanh')"
    >>> suggest("RELU", ["relu", "tanh"])
    "did you mean 'relu'? (valid: 'relu', 'tanh')"
    """
    names = sorted(valid)
    listed = ", ".join(repr(known) for known in names)
    folded = {known.casefold(): known for known in names}
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5) or [
        folded[key] for key in difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    ]
    return f"did you mean {nearest[0]!r}? (valid: {listed})" if nearest else f"valid: {listed}"
