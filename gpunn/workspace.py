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
    """Buffers for batches of up to `capacity` rows, and the settings of a pass.

    Buffers are allocated when they are first asked for, by owner and name. Later steps, batches of
    fewer rows and the backward pass of the same layer get the same memory, so a step allocates
    nothing once each buffer has been used. A recorded step may therefore hold on to the arrays.

    Attributes
    ----------
    backend : Backend
        Where to compute.
    dtype : str
        The network's dtype.
    training : bool
        True in training, False in inference; dropout and batch normalisation differ.
    independent_members : bool
        Whether each member has rows of its own, so that there are members times as many in front of
        the layer `Members`.
    until_loss : bool
        Whether a pass ends where the loss is taken, since nobody looks at predictions.
    passes : array, shape (1,), integer
        On the device: the number of this forward pass in the training, a part of the seed of
        dropout masks.
    settings : mapping of (int, str) to array of shape (1,)
        What a schedule gives an owner's setting in this pass, on the device, by the owner's `id`.
    collectives : Collectives or None
        What batch normalisation needs to take the rows of all ranks together, if it does.
    passed : callable
        Is told of each layer with which a backward pass is done.
    place : tuple of int
        The first row of the pass within its batch, the number of rows, and the number of the shard.
    keeps_averages : bool
        Whether batch normalisation updates its running averages: of a batch's shards that are
        normalised one by one, only the first does.
    outputs : dict of object to list of array
        By layer that contains layers: the outputs of these in this forward pass.
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
        self.passed: Callable[[object], None] = unnoticed
        self.place = (0, 1, 0)
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
        """Return the buffer `name` of `owner`, of exactly this shape."""
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
        """Return the first `rows` rows of the buffer `name` of `owner`, each of `shape`.

        Where members have rows of their own, there may be more than `capacity`.
        """
        view = self._slices.get((owner, name, rows))
        if view is None:
            multiple = max(1, -(-rows // max(1, self.capacity)))
            own_name = name if multiple == 1 else f"{name} of {multiple} members"
            size = self.capacity * multiple
            view = self._fixed(owner, own_name, (size, *shape), dtype)[:rows, ...]
            self._slices[owner, name, rows] = view
        return stand_in(view)

    def place_in_batch(self, first: int, rows: int, shard: int) -> None:
        """Say which rows of a batch the next pass has: so many, from number `first` on."""
        self.place = (first, max(1, rows), shard)

    @property
    def keeps_averages(self) -> bool:
        return self.place[2] == 0

    def first_element(self, x: Array) -> int:
        """Return which number the first element of x has in the array of the whole batch."""
        first, rows, _ = self.place
        return first * (math.prod(x.shape) // rows) if first else 0

    def setting(self, owner: object, name: str) -> float | Array:
        """Return a setting of a layer as it is in this pass: a number, or one on the device.

        The latter, an array of shape (1,), if a schedule moves it.
        """
        value: float | Array = stand_in(self.settings.get((id(owner), name)))
        return getattr(owner, name) if value is None else value

    def constant(
        self, owner: object, name: str, make: Callable[[], HostArray], dtype: str
    ) -> Array:
        """Return an array that never changes, made on the host when it is first asked for."""
        array = self._buffers.get((owner, name))
        if array is None:
            array = self._buffers[owner, name] = self.backend.from_host(make(), dtype)
        return stand_in(array)

    @property
    def nbytes(self) -> int:
        """Bytes held by all buffers."""
        return sum(self.backend.nbytes(buffer) for buffer in self._buffers.values())


def unnoticed(layer: object) -> None:
    """Do nothing about a layer that a backward pass is done with."""
