"""Public names that will be removed: they go on working for a while, and warn.

docs/project/versions.md says for how long. A test fails when a version is reached in which a
name was to be gone.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from gpunn.errors import ArgumentTypeError

__all__ = ["DEPRECATED", "deprecated", "renamed_argument"]

P = ParamSpec("P")
R = TypeVar("R")

DEPRECATED: dict[str, str] = {}
"""The version that is the first without it, by the name of each thing that is deprecated."""


def deprecated(instead: str, removed_in: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator of functions that warn when they are called.

    Under `@property` it is for an attribute that is read.

    Parameters
    ----------
    instead : str
        What to use, such as "log_names".
    removed_in : str
        The first version without the function, such as "0.4".

    Examples
    --------
    >>> @deprecated("total", removed_in="9.0")
    ... def add_up(numbers):
    ...     return sum(numbers)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     add_up([1, 2])
    3
    >>> print(caught[0].message)
    add_up is deprecated and will be removed in gpunn 9.0; use total instead
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        name = function.__qualname__
        DEPRECATED[f"{function.__module__}.{name}"] = removed_in

        @functools.wraps(function)
        def warning(*args: P.args, **kwargs: P.kwargs) -> R:
            _warn(name, instead, removed_in)
            return function(*args, **kwargs)

        return warning

    return decorate


def renamed_argument(
    old: str, new: str, removed_in: str
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Return a decorator of functions that take an argument by its earlier name, too, and warn.

    Parameters
    ----------
    old, new : str
        The names.
    removed_in : str
        The first version that knows the new name only.

    Raises
    ------
    ArgumentTypeError
        By the decorated function, if it is called with both.

    Examples
    --------
    >>> @renamed_argument("lr", "rate", removed_in="9.0")
    ... def step(rate):
    ...     return -rate
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     step(lr=1)
    -1
    >>> print(caught[0].message)
    step(lr=...) is deprecated and will be removed in gpunn 9.0; use rate=... instead
    """

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        name = f"{function.__qualname__}({old}=...)"
        DEPRECATED[f"{function.__module__}.{name}"] = removed_in

        @functools.wraps(function)
        def renaming(*args: Any, **kwargs: Any) -> R:
            if old in kwargs:
                if new in kwargs:
                    raise ArgumentTypeError(
                        f"{old}: expected {new} alone, got both; {old} is its earlier name"
                    )
                _warn(name, f"{new}=...", removed_in)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return renaming

    return decorate


def _warn(name: str, instead: str, removed_in: str) -> None:
    """Warn in the line that calls what is deprecated: two calls up from here."""
    warnings.warn(
        f"{name} is deprecated and will be removed in gpunn {removed_in}; use {instead} instead",
        DeprecationWarning,
        stacklevel=3,
    )
