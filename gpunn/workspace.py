"""The buffers of a pass through a network, allocated once and reused in every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from gpunn.backends.placeholder import stand_in
from gpunn.randomness import generator
from gpunn.typing import Array, HostArray, Shape

if TYPE_CHECKING:
    from gpunn.backends.base import Backend
    from gpunn.distributed.collectives import Collectives

__all__ = ["Workspace"]


class Workspace:
    """Buffers for passes of up to `capacity` rows, and the settings of a pass through a network.

    Each buffer has an owner and a name, and keeps its memory in later steps, smaller batches and
    the backward pass. If a layer calls an inner layer several times in one pass, each call has
    separate buffers (`call`).

    Attributes
    ----------
    backend, dtype : Backend, str
        The backend that computes, and the network's dtype.
    training : bool
        Whether the pass is part of training, which affects dropout and batch normalization.
    independent_members : bool
        Whether each member has separate rows, so that the layers before `Members` process one row
        for each member.
    until_loss : bool
        Whether a pass ends at the input of the loss because predictions are not needed.
    passes : array, shape (1,), integer
        On the device: the number of the current forward pass in the training, for dropout masks.
    settings : mapping of (int, str) to array of shape (1,)
        On the device: the value of each scheduled setting in this pass, by (`id` of owner, name).
    collectives : Collectives or None
        Collective operations for batch normalization over the rows of all ranks together.
    passed : callable
        A function to call with each layer after the layer's backward pass.
    position : tuple of int
        Index of the pass's first row in the batch, the pass's number of rows, index of the shard.
    keeps_averages : bool
        Whether batch normalization updates its running averages. If shards are normalized one by
        one, only the first shard of a batch updates the averages.
    calls : tuple of int
        Numbers of the current calls, for layers that one pass calls several times.
    """

    def __init__(
        self, backend: Backend, dtype: str, capacity: int, *, training: bool = False
    ) -> None:
        self.backend = backend
        self.dtype = dtype
        self.capacity = capacity
        self.training = training
        self.until_loss = self.independent_members = self.derives_keys = False
        self._passes = backend.zeros((1,), "int64")
        self.settings: Mapping[tuple[int, str], Array] = {}
        self.collectives: Collectives | None = None
        self.passed: Callable[[object], None] = ignore
        self.position = (0, 1, 0)
        self.calls: tuple[int, ...] = ()
        self._outputs: dict[tuple[int, ...], dict[object, Any]] = {}
        self._buffers: dict[tuple[object, ...], Array] = {}
        self._slices: dict[tuple[object, ...], Array] = {}

    @property
    def passes(self) -> Array:
        return stand_in(self._passes)

    @passes.setter
    def passes(self, array: Array) -> None:
        self._passes = array

    def call(self, number: int | None) -> AbstractContextManager[None]:
        """Return a context in which call `number` of a layer has separate buffers.

        If the layer is called only once, `number` is None.
        """
        return ONLY_CALL if number is None else self._call(number)

    @contextmanager
    def _call(self, number: int) -> Iterator[None]:
        outer, self.calls = self.calls, (*self.calls, number)
        try:
            yield
        finally:
            self.calls = outer

    @property
    def outputs(self) -> dict[object, Any]:
        """Values that the forward pass stores for the backward pass.

        Each key is a layer that has inner layers.
        """
        return self._outputs.setdefault(self.calls, {})

    def dropout_key(self, key: int) -> int:
        if not self.calls:
            return key
        self.derives_keys = True
        return int(generator(key, "call", *self.calls).integers(2**32))

    def fixed(self, owner: object, name: str, shape: Shape, dtype: str | None = None) -> Array:
        return stand_in(self._fixed(owner, name, shape, dtype))

    def _fixed(self, owner: object, name: str, shape: Shape, dtype: str | None) -> Array:
        key = owner, name, *self.calls
        buffer = self._buffers.get(key)
        if buffer is None:
            buffer = self._buffers[key] = self.backend.zeros(shape, dtype or self.dtype)
        return buffer

    def rows(
        self, owner: object, name: str, rows: int, shape: Shape, dtype: str | None = None
    ) -> Array:
        key = owner, name, rows, *self.calls
        view = self._slices.get(key)
        if view is None:
            multiple = max(1, -(-rows // max(1, self.capacity)))
            full_name = name if multiple == 1 else f"{name} of {multiple} members"
            size = self.capacity * multiple
            view = self._fixed(owner, full_name, (size, *shape), dtype)[:rows, ...]
            self._slices[key] = view
        return stand_in(view)

    def set_position(self, first: int, rows: int, shard: int) -> None:
        self.position = (first, max(1, rows), shard)

    @property
    def keeps_averages(self) -> bool:
        return self.position[2] == 0

    def first_element(self, x: Array) -> int:
        first, rows, _ = self.position
        return first * (math.prod(x.shape) // rows) if first else 0

    def setting(self, owner: object, name: str) -> float | Array:
        """Return the setting `name` of `owner`: a number, or for a schedule a device array (1,)."""
        value: float | Array = stand_in(self.settings.get((id(owner), name)))
        return getattr(owner, name) if value is None else value

    def constant(
        self, owner: object, name: str, make: Callable[[], HostArray], dtype: str
    ) -> Array:
        array = self._buffers.get((owner, name))
        if array is None:
            array = self._buffers[owner, name] = self.backend.from_host(make(), dtype)
        return stand_in(array)

    @property
    def nbytes(self) -> int:
        return sum(self.backend.nbytes(buffer) for buffer in self._buffers.values())

    def release(self) -> None:
        # The buffers' owners refer to this workspace, so Python would release the memory late.
        self._buffers.clear()
        self._slices.clear()


def ignore(layer: object) -> None: ...


ONLY_CALL = nullcontext()
