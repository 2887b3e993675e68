"""Copy chunks of host data to the device, one after the other."""

from typing import Any, Protocol

import numpy as np

from gpunn.typing import Array, HostArray, Shape


class Memory(Protocol):
    @property
    def device(self) -> Any: ...

    def zeros(self, shape: Shape, dtype: str) -> Array: ...

    def copy_from_host(self, array: HostArray, out: Array) -> None: ...


class Stager:
    """Device arrays for chunks of host data, allocated once and reused for each chunk.

    For each chunk, call `begin`, then `put` for each of the chunk's arrays, then `ready`. From
    `ready` until the next `begin`, operations can read the chunk from the arrays.
    """

    def __init__(self, backend: Memory) -> None:
        self.backend = backend
        self._arrays: dict[str, Array] = {}

    def begin(self) -> None:
        """Begin a chunk. Earlier operations may still read the previous chunk."""

    def put(self, name: str, values: np.ndarray, capacity: int, dtype: str) -> Array:
        array = self.reserve(name, capacity, dtype, values.shape[1:])
        self.backend.copy_from_host(values, array[: len(values), ...])
        return array

    def reserve(self, name: str, capacity: int, dtype: str, shape: Shape = ()) -> Array:
        array = self._arrays.get(name)
        if array is None or array.shape[0] < capacity:
            array = self._arrays[name] = self.backend.zeros((capacity, *shape), dtype)
        return array

    def ready(self) -> None:
        """Make the chunk visible to later operations."""
