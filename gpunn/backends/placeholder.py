"""Arrays that stand for others while a method marked `operations_only` is called to record it.

Such a method is called once, before there are any numbers, and only the operations that it asks for
are repeated in each step. A `Placeholder` has the shape and type of an array, can be indexed and
reshaped, and can be passed to operations. Everything else would read, write or compute what no
later step computes again, so it raises an error that names the method and the line. This holds for
the arrays of any library, none of which needs to allow subclasses.
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
from gpunn.typing import Array

__all__ = ["Placeholder", "actual", "guarded", "operands", "released", "repeated", "stand_in"]
__all__ += ["suspended"]

LIBRARIES = sys.stdlib_module_names | frozenset(
    ("gpunn", "numpy", "scipy", "numba", "cupy", "torch", "array_api_compat", "array_api_strict")
)
"""Packages whose lines are not those that an error names."""

METADATA = frozenset(("device", "dtype", "itemsize", "nbytes", "ndim", "shape", "size"))
"""What may be read of an array."""

SIZES = frozenset(("ndim", "shape", "size"))
"""Functions of NumPy that read no numbers."""

VIEWS = frozenset(
    (
        *("reshape", "transpose", "swapaxes", "moveaxis", "expand_dims", "squeeze"),
        *("matrix_transpose", "ravel", "broadcast_to"),
    )
)
"""Functions and methods of NumPy that give a view, or a copy, which is refused."""

PLAIN = (int, float, str, np.generic)
"""Types of arguments that can be compared by their text."""

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
    "compares the numbers of an array": ("eq", "ne", "lt", "le", "gt", "ge", "contains"),
    "reads the numbers of an array": (
        *("bool", "int", "float", "complex", "index", "iter", "reversed", "array", "buffer"),
        *("dlpack", "dlpack_device"),
    ),
    "copies an array; use assign": ("copy", "deepcopy", "reduce", "reduce_ex"),
}
"""Special methods that a placeholder refuses, by what they do."""


class Note(NamedTuple):
    """An operation asked for, in terms that can be compared, where that was, and by what method."""

    name: str
    arguments: Any
    line: FrameSummary | None
    what: str


class Guard(threading.local):
    """What this thread's marked method may not do now."""

    known: dict[int, Placeholder] | None = None
    """Placeholders by the id of their array, so that one array has one; None outside a method."""
    what = ""
    """The method."""
    refusal: ArgumentError | None = None
    """What was refused; it counts even if the method has caught it."""
    notes: list[Note] | None = None
    """The operations that a method has asked for that is called twice."""
    custom = ""
    """The innermost method of a custom class."""


GUARD = Guard()


class Placeholder:
    """Stands for an array of which only shape and type are known; equal views have equal keys."""

    __slots__ = ("_gpunn_array", "_gpunn_key")

    def __init__(self, array: Array, key: tuple[Any, ...]) -> None:
        object.__setattr__(self, "_gpunn_array", array)
        object.__setattr__(self, "_gpunn_key", key)

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        """The type of the array, so that `isinstance` answers as in a call on arrays."""
        return type(self._gpunn_array)

    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> Placeholder:
        """Return a view of another shape; a ValueError or AttributeError if there is none."""
        if order != "C" or copy:
            refuse("copies an array; use assign")
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        found = self.__array_namespace__().reshape(self._gpunn_array, tuple(sizes), copy=False)
        return self._view(found, "reshape", tuple(sizes))

    def __getitem__(self, index: Any) -> Placeholder:
        """Return a view by slices, None, an ellipsis and some integers."""
        parts = index if isinstance(index, tuple) else (index,)
        for each in parts:
            simple = each is None or each is Ellipsis or isinstance(each, int | np.integer | slice)
            if not simple or isinstance(each, bool):
                refuse("copies a selection of an array's elements")
        if len(parts) == len(self.shape) and all(isinstance(i, int | np.integer) for i in parts):
            refuse("reads a number of an array")
        return self._view(self._gpunn_array[index], "[]", *parts)

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        """Return the functions of the array's library."""
        return array_api_compat.array_namespace(self._gpunn_array)

    def __len__(self) -> int:
        """Return how many rows there are."""
        return int(self.shape[0])

    def __repr__(self) -> str:
        """Say what it is."""
        return f"<Placeholder of an array of shape {tuple(self.shape)}>"

    def __getattr__(self, name: str) -> Any:
        """Return what is known of the array, or its transpose; refuse all else that it has."""
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
        """Refuse to change an attribute."""
        refuse(f"sets {name} of an array")

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse an elementwise function of NumPy."""
        refuse(f"calls the function {ufunc.__name__}")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Refuse any other function of NumPy that does not return a view."""
        if function.__name__ in SIZES:
            return function(*actual(args), **kwargs)
        if function.__name__ in VIEWS and args and args[0] is self:
            return self._viewed(partial(function, self._gpunn_array), *args[1:], **kwargs)
        refuse(f"calls the function {function.__name__}")

    def _viewed(self, function: Callable[..., Array], *args: Any, **kwargs: Any) -> Placeholder:
        found, base = function(*args, **kwargs), self._gpunn_array
        shares = getattr(self.__array_namespace__(), "may_share_memory", None)
        if shares is None or not shares(found, base):
            refuse("copies an array; use assign")
        return self._view(found, getattr(function, "func", function).__name__, args, kwargs)

    def _view(self, array: Array, *how: Any) -> Placeholder:
        return Placeholder(array, (*self._gpunn_key, how))


for does, names in REFUSED.items():
    for name in names:
        setattr(Placeholder, f"__{name}__", lambda *_, does=does, **__: refuse(does))


def refuse(does: str, line: FrameSummary | None = None) -> NoReturn:
    """Raise an ArgumentError that names the marked method, the line, and what it does there."""
    GUARD.refusal = refusal(does, line or innermost_line(walk_stack(sys._getframe())))
    raise GUARD.refusal


def refusal(does: str, line: FrameSummary | None) -> ArgumentError:
    """Return the error of a method; `does` may end in a semicolon and what to do instead."""
    doing, _, remedy = does.partition("; ")
    remedy, place = remedy or "compute with operations", ""
    if line is not None:
        place = f" in line {line.lineno} of {Path(line.filename).name}"
        place += f" ({line.line})" if line.line else ""
    return ArgumentError(
        f"{GUARD.what or 'a method'} is marked operations_only, but {doing}{place}. gpunn "
        "calls it once, before there are numbers, and repeats nothing but the operations of "
        f"workspace.backend that it asks for. {remedy[:1].upper()}{remedy[1:]}, or remove the mark"
    )


def innermost_line(frames: Iterable[tuple[FrameType, int]]) -> FrameSummary | None:
    """Return the first line that is the user's own, of frames from the innermost on."""
    for frame, number in frames:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in LIBRARIES:
            file = frame.f_code.co_filename
            linecache.lazycache(file, frame.f_globals)  # a file may be in an archive
            return FrameSummary(file, number, frame.f_code.co_name, lookup_line=False)
    return None


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Let placeholders stand for arrays while a marked method is called; errors name `what`.

    Raises an ArgumentError if something was refused, or if a function has found that a placeholder
    is no array.
    """
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


@contextmanager
def suspended() -> Iterator[None]:
    """Take arrays as they are, for code within a marked method that is not the method's own."""
    known, GUARD.known = GUARD.known, None
    try:
        yield
    finally:
        GUARD.known = known


def repeated(call: Callable[[], Any], rehearsal: Callable[[Callable[[], Any]], object]) -> Any:
    """Call a marked method twice, and return what the second call returns.

    A method that asks for other operations each time, as one does that draws random numbers or
    counts its calls, would do the same in each step: an ArgumentError. `rehearsal` calls a
    function, and leaves out the operations that it asks for.
    """
    outer, GUARD.custom = (GUARD.notes, GUARD.custom), GUARD.what
    try:
        if outer[0] is not None:  # the two calls of a method around it are compared
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
            refuse(f"asks for another {other.name} each time it is called", other.line)
    if len(earlier) != len(later):
        last = max(earlier, later, key=len)[min(len(earlier), len(later))]
        GUARD.what = last.what
        refuse(f"asks for {last.name} in some calls and not in others", last.line)
    return result


def stand_in(array: Array) -> Array:
    """Return the placeholder of an array in a marked method that is recorded, else the array."""
    known = GUARD.known
    if known is None or array is None or isinstance(array, Placeholder):
        return array
    found = known.get(id(array))
    if found is None:
        found = known[id(array)] = Placeholder(array, (id(array),))
    return found


def actual(value: Any) -> Any:
    """Return a value with arrays for their placeholders, also those in lists, tuples and dicts."""
    if isinstance(value, Placeholder):
        return value._gpunn_array
    if isinstance(value, list | tuple):
        items = [actual(each) for each in value]
        return value._make(items) if hasattr(value, "_make") else type(value)(items)
    if isinstance(value, dict):
        return {key: actual(each) for key, each in value.items()}
    return value


def released(value: Any) -> Any:
    """Return a value with arrays for placeholders, unless a marked method is to get it."""
    return actual(value) if GUARD.known is None else value


def operands(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return an operation's arguments, with arrays for their placeholders.

    An ArgumentError if a marked method has made an array itself, which no step would compute.
    """
    if GUARD.known is None:
        return args, kwargs
    signature = [described(name, each) for each in (*args, *kwargs.items())]
    if GUARD.notes is not None:
        line = innermost_line(walk_stack(sys._getframe()))
        GUARD.notes.append(Note(name, signature, line, GUARD.custom))
    functions = (FunctionType, partial)
    args = tuple(bound(each) if isinstance(each, functions) else each for each in args)
    return actual(args), actual(kwargs)


def described(name: str, value: Any) -> Any:
    """Return an operation's argument in terms that can be compared with those of another call."""
    if isinstance(value, Placeholder):
        return value._gpunn_key
    if isinstance(value, list | tuple):
        return [described(name, each) for each in value]
    if isinstance(value, Mapping):
        return {key: described(name, each) for key, each in value.items()}
    if hasattr(value, "shape") and not isinstance(value, np.generic):
        refuse(
            f"gives {name} an array that it has made itself; take buffers from workspace.rows or "
            "workspace.fixed, constants from workspace.constant, parameters from self.values"
        )
    if isinstance(value, FunctionType | partial):
        return type(value), [described_use(each) for each in used_by(value)]
    return type(value), repr(value) if isinstance(value, PLAIN) or is_dataclass(value) else ""


def described_use(value: Any) -> Any:
    """Return the same of a number or an array that a function uses which each step calls."""
    if isinstance(value, Placeholder):
        return value._gpunn_key
    if isinstance(value, tuple):
        return [described_use(each) for each in value]
    return repr(value) if isinstance(value, PLAIN) else ""


def used_by(function: Any) -> list[Any]:
    """Return what a function that is called in each step was made with."""
    if isinstance(function, partial):
        return [function.func, *function.args, *function.keywords.items()]
    cells = [contents(cell) for cell in function.__closure__ or ()]
    return [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items(), *cells]


def bound(function: Any, done: dict[int, Any] | None = None) -> Any:
    """Return a function that is called in each step, with arrays for the placeholders it uses."""
    done = {} if done is None else done
    if isinstance(function, partial):
        inner = function.func
        inner = bound(inner, done) if isinstance(inner, FunctionType) else inner
        return partial(inner, *actual(function.args), **actual(function.keywords))
    if id(function) in done:  # it calls itself
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
    """Return the variable of a function, or None if it is not set."""
    try:
        return cell.cell_contents
    except ValueError:
        return None
