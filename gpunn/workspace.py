"""The buffers of a pass through a network, allocated once and reused in every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from gpunn.backends.placeholder import stand_in
from gpunn.typing import Array, HostArray, Shape

if TYPE_CHECKING:
    from gpunn.backends.base import Backend
    from gpunn.distributed.collectives import Collectives

__all__ = ["Workspace"]


class Workspace:
    """Buffers for passes of up to `capacity` rows, and the settings of a pass through a network.

    Each buffer has an owner and a name, and is allocated when it is first requested. Later steps,
    smaller batches and the layer's backward pass get the same memory. After each buffer has been
    used once, a step allocates nothing. So a recorded step may store references to the arrays.

    Attributes
    ----------
    backend : Backend
        The backend that computes.
    dtype : str
        The network's dtype.
    training : bool
        Whether the pass is part of training; dropout and batch normalization depend on this
        attribute.
    independent_members : bool
        Whether each member has separate rows. With separate rows, layers before `Members` process
        members times as many rows.
    until_loss : bool
        Whether a pass ends at the input of the loss because predictions are not needed.
    passes : array, shape (1,), integer
        The number of the current forward pass, counted over the training, on the device. The number
        of the pass is part of the seed of dropout masks.
    settings : mapping of (int, str) to array of shape (1,)
        Values of scheduled settings in this pass, on the device, by (`id` of the owner, name of the
        setting).
    collectives : Collectives or None
        Collective operations for batch normalization over the rows of all ranks together.
    passed : callable
        A function that is called with each layer after the layer's backward pass.
    position : tuple of int
        The first row of the pass within its batch, the number of rows, and the number of the shard.
    keeps_averages : bool
        Whether batch normalization updates its running averages. If shards are normalized one by
        one, only the first shard of a batch updates the averages.
    outputs : dict of object to list of array
        The outputs of inner layers in this forward pass, by the layer that contains the inner
        layers.
    """

    def __init__(
        self, backend: Backend, dtype: str, capacity: int, *, training: bool = False
    ) -> None:
        self.backend = backend
        self.dtype = dtype
        self.capacity = capacity
        self.training = training
        self.until_loss = self.independent_members = False
        self._passes = backend.zeros((1,), "int64")
        self.settings: Mapping[tuple[int, str], Array] = {}
        self.collectives: Collectives | None = None
        self.passed: Callable[[object], None] = ignore
        self.position = (0, 1, 0)
        self.outputs: dict[object, list[Array]] = {}
        self._buffers: dict[tuple[object, str], Array] = {}
        self._slices: dict[tuple[object, str, int], Array] = {}

    @property
    def passes(self) -> Array:
        return stand_in(self._passes)

    @passes.setter
    def passes(self, array: Array) -> None:
        self._passes = array

    def fixed(self, owner: object, name: str, shape: Shape, dtype: str | None = None) -> Array:
        """Return the buffer `name` of `owner`, in exactly this shape."""
        return stand_in(self._fixed(owner, name, shape, dtype))

    def _fixed(self, owner: object, name: str, shape: Shape, dtype: str | None) -> Array:
        buffer = self._buffers.get((owner, name))
        if buffer is None:
            buffer = self.backend.zeros(shape, dtype or self.dtype)
            self._buffers[owner, name] = buffer
        return buffer

    def rows(
        self, owner: object, name: str, rows: int, shape: Shape, dtype: str | None = None
    ) -> Array:
        """Return the first `rows` rows of the buffer `name` of `owner`; each row has this shape.

        If each member has separate rows, `rows` may be larger than `capacity`.
        """
        view = self._slices.get((owner, name, rows))
        if view is None:
            multiple = max(1, -(-rows // max(1, self.capacity)))
            full_name = name if multiple == 1 else f"{name} of {multiple} members"
            size = self.capacity * multiple
            view = self._fixed(owner, full_name, (size, *shape), dtype)[:rows, ...]
            self._slices[owner, name, rows] = view
        return stand_in(view)

    def set_position(self, first: int, rows: int, shard: int) -> None:
        """Set the position of the next pass in its batch: `rows` rows from row `first`."""
        self.position = (first, max(1, rows), shard)

    @property
    def keeps_averages(self) -> bool:
        return self.position[2] == 0

    def first_element(self, x: Array) -> int:
        """Return the index, in the whole batch's array, of the first element of x."""
        first, rows, _ = self.position
        return first * (math.prod(x.shape) // rows) if first else 0

    def setting(self, owner: object, name: str) -> float | Array:
        """Return the value of a layer's setting in this pass.

        The value is a number or, if the setting has a schedule, an array of shape (1,) on the
        device.
        """
        value: float | Array = stand_in(self.settings.get((id(owner), name)))
        return getattr(owner, name) if value is None else value

    def constant(
        self, owner: object, name: str, make: Callable[[], HostArray], dtype: str
    ) -> Array:
        """Return an array that never changes, which `make` computes on the host at first use."""
        array = self._buffers.get((owner, name))
        if array is None:
            array = self._buffers[owner, name] = self.backend.from_host(make(), dtype)
        return stand_in(array)

    @property
    def nbytes(self) -> int:
        """The total size of all buffers in bytes."""
        return sum(self.backend.nbytes(buffer) for buffer in self._buffers.values())


def ignore(layer: object) -> None:
    """Do nothing after a layer's backward pass."""
