"""Placeholders, which replace arrays while a method marked `operations_only` is recorded.

Such a method is called only once. So if it computes without operations, a placeholder raises an
error that names the method and the line. Placeholders also work with array libraries that allow no
subclasses.
"""

from __future__ import annotations

import linecache
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from traceback import FrameSummary, walk_stack, walk_tb
from types import CellType, FrameType, FunctionType
from typing import Any, NamedTuple, NoReturn

import array_api_compat
import numpy as np

from gpunn.errors import ArgumentError
from gpunn.expressions.variables import LIBRARIES
from gpunn.typing import Array

METADATA = frozenset(("device", "dtype", "itemsize", "nbytes", "ndim", "shape", "size"))
"""Attributes that a marked method may read, because they do not depend on an array's values."""

SIZES = frozenset(("ndim", "shape", "size"))
"""NumPy functions that a marked method may call, because they read no values."""

VIEWS = frozenset(
    (
        *("reshape", "transpose", "swapaxes", "moveaxis", "expand_dims", "squeeze"),
        *("matrix_transpose", "ravel", "broadcast_to"),
    )
)
"""NumPy functions and methods that return a view or a copy. A placeholder refuses copies."""

PLAIN = (int, float, str, np.generic)
"""Types of arguments that can be compared by their `repr`."""

REFUSED = {
    "writes into an array; use assign, fill or copy_columns": ("setitem", "delitem"),
    "adds to an array; use accumulate": ("iadd",),
    "changes an array in place": (
        *("isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "imatmul"),
        *("iand", "ior", "ixor", "ilshift", "irshift"),
    ),
    "computes with an array": (
        *("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "floordiv"),
        *("rfloordiv", "mod", "rmod", "divmod", "rdivmod", "pow", "rpow", "matmul", "rmatmul"),
        *("and", "rand", "or", "ror", "xor", "rxor", "lshift", "rlshift", "rshift", "rrshift"),
        *("neg", "pos", "abs", "invert", "round", "trunc", "floor", "ceil"),
    ),
    "compares the values of an array": ("eq", "ne", "lt", "le", "gt", "ge", "contains"),
    "reads the values of an array": (
        *("bool", "int", "float", "complex", "index", "iter", "reversed", "array", "buffer"),
        *("dlpack", "dlpack_device"),
    ),
    "copies an array; use assign": ("copy", "deepcopy", "reduce", "reduce_ex"),
}
"""Maps an action, as in the error, to the special methods that a placeholder refuses."""


class Note(NamedTuple):
    name: str
    arguments: Any
    line: FrameSummary | None
    what: str


class Guard(threading.local):
    known: dict[int, Placeholder] | None = None
    """Placeholders by the id of their array; None while no marked method is called."""
    what = ""
    refusal: ArgumentError | None = None
    """The error of a refused action. If the method catches this error, it is raised again."""
    notes: list[Note] | None = None
    """The operations that a method has called so far, for comparing two calls of the method."""
    custom = ""


GUARD = Guard()


class Placeholder:
    """A substitute for an array while a step is recorded. `_gpunn_key` says how a view was made."""

    __slots__ = ("_gpunn_array", "_gpunn_key")

    def __init__(self, array: Array, key: tuple[Any, ...]) -> None:
        object.__setattr__(self, "_gpunn_array", array)
        object.__setattr__(self, "_gpunn_key", key)

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        # For `isinstance`
        return type(self._gpunn_array)

    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> Placeholder:
        if order != "C" or copy:
            refuse("copies an array; use assign")
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        view = self.__array_namespace__().reshape(self._gpunn_array, tuple(sizes), copy=False)
        return self._view(view, "reshape", tuple(sizes))

    def __getitem__(self, index: Any) -> Placeholder:
        parts = index if isinstance(index, tuple) else (index,)
        for each in parts:
            simple = each is None or each is Ellipsis or isinstance(each, int | np.integer | slice)
            if not simple or isinstance(each, bool):
                refuse("copies a selection of an array's elements")
        if len(parts) == len(self.shape) and all(isinstance(i, int | np.integer) for i in parts):
            refuse("reads a value of an array")
        return self._view(self._gpunn_array[index], "[]", *parts)

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return array_api_compat.array_namespace(self._gpunn_array)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __repr__(self) -> str:
        return f"<Placeholder of an array of shape {tuple(self.shape)}>"

    def __getattr__(self, name: str) -> Any:
        if name in METADATA:
            return getattr(self._gpunn_array, name)
        if name in ("T", "mT"):
            return self._view(getattr(self._gpunn_array, name), name)
        if name in VIEWS and hasattr(self._gpunn_array, name):
            return partial(self._viewed, getattr(self._gpunn_array, name))
        if hasattr(self._gpunn_array, name):
            refuse(f"uses {name} of an array")
        raise AttributeError(f"an array has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        refuse(f"sets {name} of an array")

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> NoReturn:
        refuse(f"calls the function {ufunc.__name__}")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function.__name__ in SIZES:
            return function(*actual(args), **kwargs)
        if function.__name__ in VIEWS and args and args[0] is self:
            return self._viewed(partial(function, self._gpunn_array), *args[1:], **kwargs)
        refuse(f"calls the function {function.__name__}")

    def _viewed(self, function: Callable[..., Array], *args: Any, **kwargs: Any) -> Placeholder:
        view, base = function(*args, **kwargs), self._gpunn_array
        shares = getattr(self.__array_namespace__(), "may_share_memory", None)
        if shares is None or not shares(view, base):
            refuse("copies an array; use assign")
        return self._view(view, getattr(function, "func", function).__name__, args, kwargs)

    def _view(self, array: Array, *how: Any) -> Placeholder:
        return Placeholder(array, (*self._gpunn_key, how))


for does, names in REFUSED.items():
    for name in names:
        setattr(Placeholder, f"__{name}__", lambda *_, does=does, **__: refuse(does))


def refuse(does: str, line: FrameSummary | None = None) -> NoReturn:
    GUARD.refusal = refusal(does, line or innermost_line(walk_stack(sys._getframe())))
    raise GUARD.refusal


def refusal(does: str, line: FrameSummary | None) -> ArgumentError:
    # `does` may add a remedy after a semicolon.
    doing, _, remedy = does.partition("; ")
    remedy, location = remedy or "compute with operations", ""
    if line is not None:
        location = f" in line {line.lineno} of {Path(line.filename).name}"
        location += f" ({line.line})" if line.line else ""
    return ArgumentError(
        f"{GUARD.what or 'a method'} is marked operations_only, but {doing}{location}. gpunn "
        "calls a marked method only once, with placeholders instead of arrays. Later steps repeat "
        f"only the method's calls of workspace.backend. {remedy[:1].upper()}{remedy[1:]}, or "
        "remove the mark"
    )


def innermost_line(frames: Iterable[tuple[FrameType, int]]) -> FrameSummary | None:
    for frame, number in frames:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in LIBRARIES:
            file = frame.f_code.co_filename
            linecache.lazycache(file, frame.f_globals)  # a file may be in an archive
            return FrameSummary(file, number, frame.f_code.co_name, lookup_line=False)
    return None


@contextmanager
def guarded(what: str) -> Iterator[None]:
    outer = GUARD.known, GUARD.what, GUARD.refusal
    GUARD.known = {} if outer[0] is None else outer[0]
    GUARD.what, GUARD.refusal = what, None
    try:
        yield
        if GUARD.refusal is not None:
            raise GUARD.refusal
    except ArgumentError:
        raise
    except Exception as error:
        if GUARD.refusal is not None:
            raise GUARD.refusal from error
        if Placeholder.__name__ in str(error):
            raise refusal(
                "uses an array", innermost_line(reversed([*walk_tb(error.__traceback__)]))
            ) from error
        raise
    finally:
        GUARD.known, GUARD.what, GUARD.refusal = outer


def is_guarded() -> bool:
    return GUARD.known is not None


@contextmanager
def suspended() -> Iterator[None]:
    known, GUARD.known = GUARD.known, None
    try:
        yield
    finally:
        GUARD.known = known


def repeated(call: Callable[[], Any], rehearsal: Callable[[Callable[[], Any]], object]) -> Any:
    # Each training step repeats the recorded operations, so both calls must be equal. They differ,
    # for example, if the method draws random numbers.
    outer, GUARD.custom = (GUARD.notes, GUARD.custom), GUARD.what
    try:
        if outer[0] is not None:  # an outer method is being compared
            return call()
        GUARD.notes = []
        rehearsal(call)
        earlier, GUARD.notes = GUARD.notes, []
        result = call()
        later = GUARD.notes
    finally:
        GUARD.notes, GUARD.custom = outer
    for one, other in zip(earlier, later, strict=False):
        if one[:2] != other[:2]:
            GUARD.what = other.what
            refuse(f"calls {other.name} differently each time", other.line)
    if len(earlier) != len(later):
        last = max(earlier, later, key=len)[min(len(earlier), len(later))]
        GUARD.what = last.what
        refuse(f"calls {last.name} in some runs but not in others", last.line)
    return result


def stand_in(array: Array) -> Array:
    known = GUARD.known
    if known is None or array is None or type(array) is Placeholder:
        return array
    match = known.get(id(array))
    if match is None:
        match = known[id(array)] = Placeholder(array, (id(array),))
    return match


def actual(value: Any, operation: str = "") -> Any:
    """Replace the placeholders in a value by arrays.

    If `operation` is set, any array that is not a placeholder raises an error.
    """
    if type(value) is Placeholder:
        return value._gpunn_array
    if isinstance(value, (list, tuple)):
        items = [actual(each, operation) for each in value]
        return value._make(items) if hasattr(value, "_make") else type(value)(items)
    if isinstance(value, dict):
        return {key: actual(each, operation) for key, each in value.items()}
    if operation and isinstance(value, FunctionType | partial):
        return bound(value)
    if operation and hasattr(value, "shape") and not isinstance(value, np.generic):
        # Later training steps would not compute this array again.
        refuse(
            f"passes {operation} an array that it created; use buffers of workspace.rows or "
            "workspace.fixed, constants of workspace.constant, parameters of self.values"
        )
    return value


def released(value: Any) -> Any:
    return actual(value) if GUARD.known is None else value


def operands(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if GUARD.known is None:
        return args, kwargs
    if GUARD.notes is not None:
        signature = [described(each) for each in (*args, *kwargs.items())]
        line = innermost_line(walk_stack(sys._getframe()))
        GUARD.notes.append(Note(name, signature, line, GUARD.custom))
    return actual(args, name), actual(kwargs, name)


def described(value: Any) -> Any:
    if isinstance(value, Placeholder):
        return value._gpunn_key
    if isinstance(value, list | tuple):
        return [described(each) for each in value]
    if isinstance(value, Mapping):
        return {key: described(each) for key, each in value.items()}
    if isinstance(value, FunctionType | partial):
        return type(value), [described_use(each) for each in used_by(value)]
    return type(value), repr(value) if isinstance(value, PLAIN) or is_dataclass(value) else ""


def described_use(value: Any) -> Any:
    if isinstance(value, Placeholder):
        return value._gpunn_key
    if isinstance(value, tuple):
        return [described_use(each) for each in value]
    return repr(value) if isinstance(value, PLAIN) else ""


def used_by(function: Any) -> list[Any]:
    if isinstance(function, partial):
        return [function.func, *function.args, *function.keywords.items()]
    cells = [contents(cell) for cell in function.__closure__ or ()]
    return [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items(), *cells]


def bound(function: Any, done: dict[int, Any] | None = None) -> Any:
    done = {} if done is None else done
    if isinstance(function, partial):
        inner = function.func
        inner = bound(inner, done) if isinstance(inner, FunctionType) else inner
        return partial(inner, *actual(function.args), **actual(function.keywords))
    if id(function) in done:  # the function calls itself
        return done[id(function)]
    changed = {
        number: CellType()
        for number, cell in enumerate(function.__closure__ or ())
        if isinstance(contents(cell), Placeholder | tuple | FunctionType)
    }
    cells = [changed.get(number, cell) for number, cell in enumerate(function.__closure__ or ())]
    copy = done[id(function)] = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        actual(function.__defaults__),
        tuple(cells),
    )
    copy.__kwdefaults__ = actual(function.__kwdefaults__)
    copy.__dict__.update(function.__dict__)
    for number, cell in changed.items():
        value = contents(function.__closure__[number])
        local = isinstance(value, FunctionType)
        cell.cell_contents = bound(value, done) if local else actual(value)
    return copy


def contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None
