"""Record operations as a trace instead of running them, so that a backend can run them faster.

A *trace* is the list of the operations that a function calls. An *engine* is a way to run a trace,
such as compiled programs or CUDA graphs. A *lowering* is a method with the name of an operation,
which translates the operation to an engine's steps. A lowering gets the operation's arguments as
attributes of one object, so lowerings need not declare the parameters.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, cast

from gpunn.backends.placeholder import operands
from gpunn.configurable import Configurable, field_names, is_constant
from gpunn.errors import ArgumentError
from gpunn.expressions.objects import Snapshot
from gpunn.expressions.tracing import shared_traces
from gpunn.expressions.variables import value_of, variables_of


class Operation(NamedTuple):
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = {}
    definition: Callable[..., None] | None = None
    """The definition to run, or None for the operation's definition in the backend's class."""


Trace: TypeAlias = Sequence[Operation]


class Arguments(SimpleNamespace):
    @property
    def arrays(self) -> list[Any]:
        return [each for each in vars(self).values() if hasattr(each, "shape")]

    def replace(self, **changed: Any) -> Arguments:
        return Arguments(**vars(self) | changed)


class Performer(Protocol):
    def perform(self, one: Operation) -> None: ...

    def is_builtin(self, one: Operation) -> bool: ...


class Repeated(Protocol):
    def __call__(self, times: int) -> None:
        """Run the sequence `times` times."""

    def replacer(self, arguments: Sequence[Any]) -> Callable[[Sequence[Any]], None] | None:
        """Return a function that replaces `arguments` in the recording, or None if it can't.

        Call the function with the new arguments, in the same order. Keep references to the new
        arguments as long as the recording may run. Numbers are identified by `id`, so they must be
        instances of subclasses of float or int.
        """


F = TypeVar("F", bound=Callable[..., None])
T = TypeVar("T")


class Recorder(threading.local):
    """Each thread's `trace`: recorded operations, or None while operations run immediately."""

    trace: list[Operation] | None = None
    backend: Performer | None = None


RECORDER = Recorder()


def operation(method: F) -> F:
    """Turn a backend's method into an operation, defined by the method's body.

    While a thread records a trace, the method's calls in this thread are added to the trace.
    Otherwise, `Backend.perform` runs the operation.

    Parameters
    ----------
    method : function
        The definition, which writes into arrays that it receives, and returns nothing.

    Returns
    -------
    function
        The method that replaces the definition in the class.

    Examples
    --------
    >>> import array_api_compat.numpy as xp
    >>> from gpunn.backends import Backend, operation
    >>> class Doubling(Backend):
    ...     @operation
    ...     def double(self, values):
    ...         values *= 2
    >>> backend, values = Doubling(xp), xp.asarray([1.0, 2.0])
    >>> twice = backend.recorded(lambda: backend.double(values))
    >>> twice(2)
    >>> values.tolist()
    [4.0, 8.0]
    """
    name = method.__name__

    @functools.wraps(method)
    def call(self: Performer, *args: Any, **kwargs: Any) -> None:
        trace = RECORDER.trace
        if trace is None:
            self.perform(Operation(name, args, kwargs, method))
            return
        if RECORDER.backend not in (None, self):
            raise ArgumentError(
                f"{name}: a step of {RECORDER.backend!r} is being recorded, but this operation "
                f"belongs to {self!r}. In layers, use workspace.backend, or remove the mark "
                "operations_only from the calling method"
            )
        args, kwargs = operands(name, args, kwargs)
        trace.append(Operation(name, args, kwargs, method))

    # A mark is the marked function itself, because functools.wraps copies marks to other functions.
    call.definition, call.operation = method, call  # type: ignore[attr-defined]
    return cast("F", call)


def composite(method: F) -> F:
    """Mark a method as an operation that only calls other operations."""
    method.composite = method  # type: ignore[attr-defined]
    return operation(method)


def is_operation(member: Any) -> bool:
    return member is not None and getattr(member, "operation", None) is member


def is_composite(backend: Performer, one: Operation) -> bool:
    method = method_of(backend, one)
    return getattr(method, "composite", None) is method


def method_of(backend: Performer, one: Operation) -> Callable[..., None]:
    method: Callable[..., None] = getattr(type(backend), one.name).definition
    return one.definition or method


def definition(backend: Performer, one: Operation) -> Callable[[], None]:
    return functools.partial(method_of(backend, one), backend, *one.args, **one.kwargs)


@functools.cache
def parameters_of(method: Callable[..., None]) -> tuple[list[str], frozenset[str], dict[str, Any]]:
    _, *known = inspect.signature(method).parameters.values()
    positional = [each.name for each in known if each.kind is not each.KEYWORD_ONLY]
    defaults = {each.name: each.default for each in known if each.default is not each.empty}
    return positional, frozenset(each.name for each in known), defaults


def arguments_of(backend: Performer, one: Operation) -> Arguments:
    method = method_of(backend, one)
    positional, names, defaults = parameters_of(method)
    values = {**defaults, **dict(zip(positional, one.args, strict=False)), **one.kwargs}
    if len(one.args) > len(positional) or values.keys() != names:
        try:
            inspect.signature(method).bind(backend, *one.args, **one.kwargs)
        except TypeError as error:
            raise TypeError(f"{one.name}: {error}") from None
    return Arguments(**values)


def current_trace() -> list[Operation] | None:
    return RECORDER.trace


def arrays_in(value: object) -> Iterator[Any]:
    if hasattr(value, "shape"):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from arrays_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from arrays_in(each)


def record(operations: Callable[[], object], backend: Performer | None = None) -> list[Operation]:
    outer, trace = (RECORDER.trace, RECORDER.backend), list[Operation]()
    RECORDER.trace, RECORDER.backend = trace, backend
    try:
        with shared_traces():
            operations()
    finally:
        RECORDER.trace, RECORDER.backend = outer
    return trace


def expand_composites(
    trace: Trace, backend: Performer, is_kept: Callable[[Operation], bool] = lambda one: False
) -> list[Operation]:
    # A composite operation of gpunn remains if `is_kept` returns True for it.
    result: list[Operation] = []
    for one in trace:
        if is_composite(backend, one) and not (backend.is_builtin(one) and is_kept(one)):
            parts = record(definition(backend, one), backend)
            result += expand_composites(parts, backend, is_kept)
        else:
            result.append(one)
    return result


def lowered(one: Operation, backend: Performer, lowerings: object) -> list[Any] | None:
    lowering = getattr(lowerings, one.name, None) if backend.is_builtin(one) else None
    return lowering(arguments_of(backend, one)) if lowering else None


def lower_operations(
    trace: Trace, backend: Performer, lowerings: object, otherwise: Callable[[Operation], list[T]]
) -> list[T]:
    steps: list[T] = []
    for one in trace:
        own = lowered(one, backend, lowerings)
        if own is not None:
            steps += own
        elif is_composite(backend, one):
            parts = record(definition(backend, one), backend)
            steps += lower_operations(parts, backend, lowerings, otherwise)
        else:
            steps += otherwise(one)
    return steps


class RecordingCache:
    """Recorded steps of training or inference, by key.

    A step contains settings, such as a dropout rate. So the cache is cleared if one of `parts`
    changes, such as the loss or a layer. The cache is also cleared if a custom class reads a global
    variable that has changed.
    """

    def __init__(self, parts: Sequence[object], size: int | None = None) -> None:
        self._parts, self._size = parts, size
        self._made: dict[Hashable, Any] = {}
        self._fields: list[tuple[object, str]] = []
        self._remembered = Snapshot(())

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        if self._made and not self._remembered.equals(self._values()):
            self._made.clear()
        if key not in self._made:
            if self._size is not None and len(self._made) >= self._size:
                self._made.clear()
            self._made[key] = make()
            self._remember()  # after `make`, since a method may set attributes that it reads later
        return cast("T", self._made[key])

    def _remember(self) -> None:
        with shared_traces():
            self._fields = fields_of(tuple(self._parts))
        self._remembered = Snapshot(self._values())

    def _values(self) -> list[Any]:
        return [value_of(*pair) for pair in self._fields]

    def clear(self) -> None:
        self._made.clear()


def fields_of(part: object) -> list[tuple[object, str]]:
    known: dict[int, object] = {}
    result, pending = list[tuple[object, str]](), [part]
    while pending:
        part = pending.pop()
        cls = type(part)
        if part is None or isinstance(part, (str, float, int)) or is_constant(cls):
            continue
        if id(part) in known:
            continue
        known[id(part)] = part
        if isinstance(part, list | tuple):
            pending += part
            continue
        names = field_names(cls)
        result += [(part, name) for name in names]
        pending += [getattr(part, name) for name in names]
        if isinstance(part, Configurable) and known.setdefault(id(cls), part) is part:
            result += variables_of(cls)  # only once for each class
        others = getattr(part, "recorded_attributes", tuple[str, ...])()
        result += [(part, name) for name in others if name not in names]
    return result
