"""Run a backend's methods on its device, and refuse arrays of other devices."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, cast

import cupy

from gpunn.errors import ArgumentError
from gpunn.typing import Array

F = TypeVar("F", bound=Callable[..., Any])


class OnDevice(Protocol):
    device: Any
    _several_devices: bool


def placed(method: F) -> F:
    """Make a method switch to its backend's device, and refuse arrays of other devices."""

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
    # CuPy and CUDA accept an array of another device, but a kernel would read the array slowly, and
    # would not wait for the other device's computations.
    for value in (*args, *kwargs.values()):
        if (array := stray(value, device.id)) is not None:
            arguments = inspect.signature(method).bind(*args, **kwargs).arguments
            name = next(name for name, each in arguments.items() if each is value)
            what = method.func if isinstance(method, functools.partial) else method
            raise ArgumentError(
                f"{what.__name__}: {name}: the array is on cupy:{array.data.device_id}, but this "
                f"backend computes on cupy:{device.id}. To fix it: use one backend for the network "
                "and its data, or copy the array, first with the other backend's to_host, "
                "then with this backend's from_host"
            )


def stray(value: Any, device: int) -> Array | None:
    if isinstance(value, cupy.ndarray):
        return value if value.data.device_id != device else None
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return None
    return next((array for each in value if (array := stray(each, device)) is not None), None)
