"""How chunks of host data get to the device, one after the other."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from gpunn.typing import Array, HostArray, Shape

__all__ = ["Stager"]


class Memory(Protocol):
    """What a stager needs of a backend."""

    @property
    def device(self) -> Any: ...

    def zeros(self, shape: Shape, dtype: str) -> Array: ...

    def copy_from_host(self, array: HostArray, out: Array) -> None: ...


class Stager:
    """Device arrays that chunks of host data are put into, allocated once and filled anew.

    For each chunk: `begin`, `put` once for each of its arrays, `ready`. From `ready` on, operations
    find the chunk in the arrays; the next `begin` may take them away.
    """

    def __init__(self, backend: Memory) -> None:
        self.backend = backend
        self._arrays: dict[str, Array] = {}

    def begin(self) -> None:
        """Begin with a chunk. What was asked of the device so far concerns earlier ones."""

    def put(self, name: str, values: np.ndarray, capacity: int, dtype: str) -> Array:
        """Copy host values to the beginning of the array `name`, which has `capacity` rows."""
        array = self._arrays.get(name)
        if array is None or array.shape[0] < capacity:
            array = self._arrays[name] = self.backend.zeros((capacity, *values.shape[1:]), dtype)
        self.backend.copy_from_host(values, array[: len(values), ...])
        return array

    def ready(self) -> None:
        """Let what is asked of the device from now on see the chunk."""
