"""Exchange gradients between ranks while the gradients of earlier layers are being computed."""

from gpunn.backends.recording import current_trace
from gpunn.distributed.collectives import Collectives
from gpunn.distributed.overlapped_sum import OverlappedSum, Span
from gpunn.network import Sequential
from gpunn.typing import Array

MIN_BYTES = 4 << 20
"""Minimum size of an exchanged part of the gradients, except the last part. Each exchange begins
with a delay of some microseconds. By default, PyTorch exchanges parts (buckets) of 25 MB."""


class OverlappedGradients:
    """Starts the exchange of each part of the gradients as soon as the part is computed."""

    def __init__(self, model: Sequential, collectives: Collectives, length: int) -> None:
        self._parts = parts_by_layer(model)
        self._layers = {id(model.layers[index]): index for index in self._parts}
        self._remaining = list(self._parts)
        self._sum = OverlappedSum(collectives, model.parameters.gradients, length)

    @property
    def useful(self) -> bool:
        return len(self._parts) > 1

    def begin(self, out: Array) -> None:
        self._remaining, self._sum.out = list(self._parts), out

    def passed(self, layer: object) -> None:
        index = self._layers.get(id(layer))
        # A layer within a user's operation is called later, when nothing is recorded.
        if current_trace() is not None and self._remaining[:1] == [index]:
            self._add()

    def finish(self) -> None:
        while self._remaining:  # exchange part by part, as ranks with more rows do
            self._add()
        self._sum.join()

    def _add(self) -> None:
        self._sum.add(self._parts[self._remaining.pop(0)])


def parts_by_layer(model: Sequential) -> dict[int, list[Span]]:
    # Keys are indices of layers in backward order; values are the gradients that are exchanged
    # after the layer's backward pass. The last part is exchanged at the end of the pass.
    parameters, parts = model.parameters, dict[int, list[Span]]()
    size = int(parameters.values.shape[0])
    itemsize = 8 if model.dtype == "float64" else 4
    sent: dict[int, int] = {}  # end of a span -> start of its part that is already exchanged
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
