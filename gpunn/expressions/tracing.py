"""Trace array code twice, and explain why code can't be traced."""

from __future__ import annotations

import random
import threading
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from gpunn.expressions.graph import Graph, Node, Untraceable
from gpunn.expressions.stand_ins import Tracer

T = TypeVar("T")

CHANGES = "the code's result changes when it runs again"


class Shared(threading.local):
    traces: dict[Hashable, Any] | None = None


SHARED, MISSING = Shared(), object()


@contextmanager
def shared_traces() -> Iterator[None]:
    """Within the context, trace the code of equal objects only once.

    Within the context, neither the code nor the variables that the code reads may change.
    """
    outer = SHARED.traces
    SHARED.traces = {} if outer is None else outer
    try:
        yield
    finally:
        SHARED.traces = outer


def once(key: Hashable, make: Callable[[], T]) -> T:
    traces = SHARED.traces
    if traces is None:
        return make()
    result: T = traces.get(key, MISSING)
    if result is MISSING:
        result = traces[key] = make()
    return result


@contextmanager
def explained(tracer: Tracer) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        own = isinstance(error, Untraceable)
        reason = str(error) if own else f"{type(error).__name__}: {error}"
        if "__array_ufunc__" in reason:
            reason = "the code calls a function of NumPy; use the functions of xp"
        raise Untraceable(tracer.refusal or reason) from error
    if tracer.refusal:
        raise Untraceable(tracer.refusal)


def traces_of(
    functions: Sequence[Callable[[Any], T]], dtype: np.dtype, tracer: type[Tracer] = Tracer
) -> list[T]:
    # Each function that draws random numbers draws different numbers. Afterwards, the states of the
    # random number generators are restored.
    graph, states = Graph(), (random.getstate(), np.random.get_state())  # noqa: NPY002
    try:
        results = [traced(each, tracer(graph, dtype)) for each in functions]
        if graph.needs_exact:
            graph = Graph(exact=True)
            results = [traced(each, tracer(graph, dtype)) for each in functions]
        return results
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def traced_twice(
    function: Callable[[Any], T], nodes: Callable[[T], Sequence[Node]], dtype: np.dtype
) -> T:
    # The nodes of the two traces differ if the code uses random numbers or counts its calls.
    first, second = traces_of([function] * 2, dtype)
    if list(map(id, nodes(first))) != list(map(id, nodes(second))):
        raise Untraceable(CHANGES)
    return first


def traced(function: Callable[[Any], T], tracer: Tracer) -> T:
    kept = weakref.ref(tracer)
    result = function(tracer)
    del tracer
    if kept() is not None:
        raise Untraceable("the code stores arrays")
    return result
