"""Cache printed kernels of built-in classes, because tracing a definition takes a millisecond."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np

from gpunn.backends.cupy.expressions.kernels import Kernel, kernels_of
from gpunn.backends.recording import Arguments
from gpunn.backends.tracing import Arrays, form_of, is_array, trace_operation
from gpunn.configurable import Configurable, is_built_in
from gpunn.schedules import Schedule

T = TypeVar("T")

PLAIN = (int, float, bool, str, type(None))
MOST = 4096

KEPT: dict[Hashable, Any] = {}


def kept(part: Configurable, key: Hashable, make: Callable[[], T]) -> T:
    """Return `make()`; for a built-in class, return the earlier result for an equal key."""
    if key is None or not is_built_in(type(part)):
        return make()
    try:
        result: T = KEPT[key]
    except KeyError:  # one look-up, since another thread may clear the dictionary
        if len(KEPT) >= MOST:
            KEPT.clear()
        result = KEPT[key] = make()
    return result


def numbers_of(part: Configurable) -> Hashable | None:
    """Return a key of a part's type and attributes, or None if an attribute is not in `PLAIN`."""
    # Schedules and arrays are left out: a schedule's current value is an argument, or an array.
    fields = [
        (name, each)
        for name, each in vars(part).items()
        if not (isinstance(each, Schedule) or is_array(each))
    ]
    if any(type(each) not in PLAIN for _, each in fields):
        return None
    return type(part), *((name, repr(each)) for name, each in fields)


def printed(
    name: str, definition: Any, op: Arguments, part: Configurable, dtype: np.dtype
) -> list[Kernel]:
    """Return the kernels that compute the operation `name`, printed from `definition`."""

    def make() -> list[Kernel]:
        return kernels_of(name, trace_operation(definition, op, dtype), dtype)

    if not all(type(each) in PLAIN or is_array(each) for each in vars(part).values()):
        return make()
    known = Arrays(dtype)
    form = form_of(vars(op), known)

    def make_unbound() -> list[tuple[Kernel, list[int]]] | None:
        numbers = {id(each): number for number, each in enumerate(known.arrays)}
        kernels = make()
        if any(id(each) not in numbers for kernel in kernels for each in kernel.arrays):
            return None  # a temporary array, which no other recording may use
        return [(bound(each, []), [numbers[id(a)] for a in each.arrays]) for each in kernels]

    unbound = kept(part, (name, form, dtype), make_unbound)
    if unbound is None:
        return make()
    return [bound(kernel, [known.arrays[n] for n in numbers]) for kernel, numbers in unbound]


def bound(kernel: Kernel, arrays: list[Any]) -> Kernel:
    result = copy.copy(kernel)
    result.arrays = arrays
    return result
