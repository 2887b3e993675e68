"""Operations of one device on a machine that has several."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import cupy

from gpunn.errors import ArgumentError
from gpunn.typing import Array

__all__ = ["on_device"]


def on_device(device: Any, operation: Callable[..., Any]) -> Callable[..., Any]:
    """Return the operation, which makes its device current, and refuses arrays of another one.

    Neither CuPy nor CUDA refuses them where devices can access each other's memory, as they can on
    most nodes: a kernel then reads the other device's memory, slowly, and without waiting for what
    is still being computed there.

    Raises
    ------
    ArgumentError
        By the operation, if an argument is, or holds, an array of another device.
    """

    @functools.wraps(operation)
    def run(*arguments: Any, **options: Any) -> Any:
        device.use()
        for value in (*arguments, *options.values()):
            if (found := stray(value, device.id)) is not None:
                given = inspect.signature(operation).bind(*arguments, **options).arguments
                name = next(name for name, each in given.items() if each is value)
                raise ArgumentError(
                    f"{operation.__name__}: {name}: an array on cupy:{found.data.device_id}, but "
                    f"this backend computes on cupy:{device.id}. To fix it: use one backend for "
                    "all that works together, or take the array over, by to_host of its own "
                    "backend and from_host of this one"
                )
        return operation(*arguments, **options)

    return run


def stray(value: Any, device: int) -> Array | None:
    """Return an array of another device that the value is, or holds; None if there is none."""
    if isinstance(value, cupy.ndarray):
        return value if value.data.device_id != device else None
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return None
    return next((found for each in value if (found := stray(each, device)) is not None), None)
