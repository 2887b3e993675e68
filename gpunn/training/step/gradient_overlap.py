"""Gradients that are exchanged while those of earlier layers are being computed."""

from __future__ import annotations

from gpunn.backends.recording import current_trace
from gpunn.distributed.collectives import Collectives
from gpunn.distributed.overlap import OverlappedSum, Span
from gpunn.network import Sequential
from gpunn.typing import Array

__all__ = ["MIN_BYTES", "OverlappedGradients", "parts_by_layer"]

MIN_BYTES = 4 << 20
"""Bytes of a part at least, the last one excepted. An exchange of less is hardly faster: it begins
some microseconds after it was asked for. PyTorch's parts are of 25 MB."""


class OverlappedGradients:
    """Tells what exchanges gradients which of them are there, while a backward pass is recorded."""

    def __init__(self, model: Sequential, collectives: Collectives, length: int) -> None:
        self._parts = parts_by_layer(model)
        self._layers = {id(model.layers[index]): index for index in self._parts}
        self._left = list(self._parts)
        self._sum = OverlappedSum(collectives, model.parameters.gradients, length)

    @property
    def useful(self) -> bool:
        """Whether there is a part that does not have to wait for all layers."""
        return len(self._parts) > 1

    def begin(self, out: Array) -> None:
        """Begin with a backward pass, from which `out` takes the sums of this rank's block."""
        self._left, self._sum.out = list(self._parts), out

    def passed(self, layer: object) -> None:
        """Note that the gradients of a layer, and of those after it, are there."""
        index = self._layers.get(id(layer))
        # A layer within an operation of the user's own comes when nothing is recorded any more.
        if current_trace() is not None and self._left[:1] == [index]:
            self._add()

    def finish(self) -> None:
        """Note that all gradients are there, and let what follows wait for their sums."""
        while self._left:  # one by one, as on ranks with more rows
            self._add()
        self._sum.join()

    def _add(self) -> None:
        self._sum.add(self._parts[self._left.pop(0)])


def parts_by_layer(model: Sequential) -> dict[int, list[Span]]:
    """Return which gradients are exchanged once the backward pass is done with a layer.

    By the layer's index, from the last layer on. Together they are the whole vector, once; the last
    one is for the end of the pass.
    """
    parameters, parts = model.parameters, dict[int, list[Span]]()
    size = int(parameters.values.shape[0])
    itemsize = 8 if model.dtype == "float64" else 4
    sent: dict[int, int] = {}  # where a span ends -> where what is exchanged of it begins
    for index in range(len(model.layers) - 1, 0, -1):
        spans = parameters.spans_of_last(model.labels[index:])
        new = [(start, sent.get(stop, stop)) for start, stop in spans]
        new = [(start, stop) for start, stop in new if start < stop]
        if sum(stop - start for start, stop in new) * itemsize >= MIN_BYTES:
            parts[index] = new
            sent |= {stop: start for start, stop in spans}
    rest, begin = [], 0
    for stop, start in sorted(sent.items()):
        rest.append((begin, start))
        begin = stop
    rest.append((begin, size))
    parts[0] = [(start, stop) for start, stop in rest if start < stop]
    return parts
