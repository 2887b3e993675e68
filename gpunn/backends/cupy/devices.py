"""Work for one device on a machine that has several."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, cast

import cupy

from gpunn.errors import ArgumentError
from gpunn.typing import Array

__all__ = ["placed", "refuse_strays"]

F = TypeVar("F", bound=Callable[..., Any])


class OnDevice(Protocol):
    """A backend of one device."""

    device: Any
    _several_devices: bool


def placed(method: F) -> F:
    """Let a backend's method make its device current, and refuse arrays of another one."""

    @functools.wraps(method)
    def run(self: OnDevice, *args: Any, **kwargs: Any) -> Any:
        if self._several_devices:
            self.device.use()
            refuse_strays(self.device, functools.partial(method, self), args, kwargs)
        return method(self, *args, **kwargs)

    return cast("F", run)


def refuse_strays(
    device: Any, method: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Raise an ArgumentError if an argument is, or holds, an array of another device.

    Neither CuPy nor CUDA refuses them where devices can access each other's memory, as they can on
    most nodes: a kernel then reads the other device's memory, slowly, and without waiting for what
    is still being computed there.
    """
    for value in (*args, *kwargs.values()):
        if (found := stray(value, device.id)) is not None:
            given = inspect.signature(method).bind(*args, **kwargs).arguments
            name = next(name for name, each in given.items() if each is value)
            what = method.func if isinstance(method, functools.partial) else method
            raise ArgumentError(
                f"{what.__name__}: {name}: an array on cupy:{found.data.device_id}, but this "
                f"backend computes on cupy:{device.id}. To fix it: use one backend for all that "
                "works together, or take the array over, by to_host of its own backend and "
                "from_host of this one"
            )


def stray(value: Any, device: int) -> Array | None:
    """Return an array of another device that the value is, or holds; None if there is none."""
    if isinstance(value, cupy.ndarray):
        return value if value.data.device_id != device else None
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return None
    return next((found for each in value if (found := stray(each, device)) is not None), None)
