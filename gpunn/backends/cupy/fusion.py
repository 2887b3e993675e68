"""Replace two adjacent operations of a trace by a fused operation, which one kernel can compute.

If no kernel fits the arguments, the fused operation's definition calls the two operations.
"""

from operator import attrgetter

import cupy

from gpunn.backends.base import Backend
from gpunn.backends.operations import OPERATION_NAMES, Operations
from gpunn.backends.recording import (
    Operation,
    Trace,
    arguments_of,
    arrays_in,
    expand_composites,
    lowered,
    method_of,
    parameters_of,
)
from gpunn.typing import Array

FUSIONS = {
    (each.first, each.second): each
    for name in OPERATION_NAMES
    if (each := getattr(getattr(Operations, name), "fusion", None)) is not None
}


def fuse(trace: Trace, backend: Backend, lowerings: object) -> list[Operation]:
    # A fused operation can be fused again, with the next operation.
    result: list[Operation] = []
    for one in expand_composites(
        trace, backend, lambda one: lowered(one, backend, lowerings) is not None
    ):
        both = fused(result[-1], one, backend) if result else None
        if both is None:
            result.append(one)
        else:
            result[-1] = both
    return result


def fused(first: Operation, second: Operation, backend: Backend) -> Operation | None:
    # The two operations must share only the connecting array. A fused kernel may write results of
    # the second operation before it has read all arguments of the first.
    fusion = FUSIONS.get((first.name, second.name))
    if fusion is None or not (backend.is_builtin(first) and backend.is_builtin(second)):
        return None
    before, given = vars(arguments_of(backend, first)), arguments_of(backend, second)
    array, view = before[fusion.output], attrgetter(fusion.input)(given)
    if not same(view, array):
        return None
    after = {fusion.renamed.get(name, name): value for name, value in vars(given).items()}
    before, after = (
        {name: view if same(value, array) else value for name, value in part.items()}
        for part in (before, after)
    )
    both = Operation(fusion.name, ())
    _, names, _ = parameters_of(method_of(backend, both))
    if view.shape != array.shape and any(before[name] is view for name in before.keys() & names):
        return None  # the kernel would need an array of both shapes
    merged = before | after
    left = [before[name] for name in before.keys() & after.keys()]
    left += [merged[name] for name in merged.keys() - names]
    if not all(value is None or value is view for value in left):
        return None
    others = [[each for each in arrays_in(part) if each is not view] for part in (before, after)]
    if any(backend.overlap(own, other) for own in others[0] for other in others[1]):
        return None
    return both._replace(kwargs={name: merged[name] for name in names})


def same(value: object, array: Array) -> bool:
    if value is array:
        return True
    return (
        isinstance(value, cupy.ndarray)
        and (value.data.ptr, value.size, value.dtype) == (array.data.ptr, array.size, array.dtype)
        and bool(value.flags.c_contiguous and array.flags.c_contiguous)
    )
