"""The buffers of a pass through a network, allocated once and used by every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunn.typing import Array, Shape

if TYPE_CHECKING:
    from gpunn.backends.base import Backend

__all__ = ["Workspace"]


class Workspace:
    """Buffers for batches of up to `capacity` rows, and what a pass needs to know.

    A batch of fewer rows uses row slices of the same buffers, so a steady-state step allocates
    nothing. A layer's backward pass finds what its forward pass left by asking for the buffer of
    the same name.

    Attributes
    ----------
    backend : Backend
        What computes.
    dtype : str
        Type of the network's numbers.
    training : bool
        Whether layers that behave differently in training (dropout, batch normalisation) should.
    passes : array, shape (1,), integer
        On the device: number of this forward pass in the training, which dropout masks depend on.
    outputs : dict of object to list of array
        What the layers within a layer gave in this forward pass, by that layer.
    """

    def __init__(
        self, backend: Backend, dtype: str, capacity: int, *, training: bool = False
    ) -> None:
        self.backend = backend
        self.dtype = dtype
        self.capacity = capacity
        self.training = training
        self.passes = backend.zeros((1,), "int64")
        self.outputs: dict[object, list[Array]] = {}
        self._buffers: dict[tuple[object, str], Array] = {}
        self._slices: dict[tuple[object, str, int], Array] = {}

    def fixed(self, owner: object, name: str, shape: Shape, dtype: str | None = None) -> Array:
        """Return the buffer `name` of `owner`, of exactly this shape."""
        buffer = self._buffers.get((owner, name))
        if buffer is None:
            buffer = self.backend.zeros(shape, dtype or self.dtype)
            self._buffers[owner, name] = buffer
        return buffer

    def rows(
        self, owner: object, name: str, rows: int, shape: Shape, dtype: str | None = None
    ) -> Array:
        """Return the first `rows` rows of the buffer `name` of `owner`, each of `shape`."""
        view = self._slices.get((owner, name, rows))
        if view is None:
            view = self.fixed(owner, name, (self.capacity, *shape), dtype)[:rows, ...]
            self._slices[owner, name, rows] = view
        return view

    @property
    def nbytes(self) -> int:
        """Bytes held by all buffers."""
        return sum(self.backend.nbytes(buffer) for buffer in self._buffers.values())
