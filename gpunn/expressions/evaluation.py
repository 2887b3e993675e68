"""Compute a graph with an array library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import device

from gpunn.expressions.graph import ELEMENTARY, NUMBER, Node, in_order
from gpunn.typing import Array


class Library(NamedTuple):
    xp: Any
    dtypes: Mapping[str, Any]
    device: Any


class Call(NamedTuple):
    function: Callable[..., Any]
    operands: tuple[int, ...]
    result: int
    unused: list[int]
    """Numbers of the values to free after this call, because no later call needs them."""


class Plan:
    def __init__(self, inputs: Sequence[Node], results: Sequence[Node]) -> None:
        floats = (k for k, each in enumerate(inputs) if each.kind == "float")
        self._first_float = next(floats, None)  # None if all results are constants
        self._values: list[Any] = [None] * len(inputs)
        self._calls: list[Call] = []
        self._numbers: dict[tuple[int, str], int] = {}
        for k, node in enumerate(inputs):
            self._numbers[id(node), node.kind] = k
        for node in in_order(results):
            if node.op != NUMBER and (id(node), node.kind) not in self._numbers:
                self._numbers[id(node), node.kind] = self._computed(node)
        self._results = [self._array(node, node.kind) for node in results]
        last = {k: call for call in self._calls for k in call.operands}
        for k, call in last.items():
            if k not in self._results:
                call.unused.append(k)

    def __call__(self, xp: Any, arrays: Sequence[Array]) -> tuple[Array, ...]:
        like = xp.empty(0) if self._first_float is None else arrays[self._first_float]
        dtypes = {"float": like.dtype, "int": xp.int64, "bool": xp.bool}
        library = Library(xp, dtypes, device(like))
        values = [*arrays, *self._values[len(arrays) :]]
        with np.errstate(all="ignore"):  # `where` may not choose the infinite values
            for function, operands, result, unused in self._calls:
                values[result] = function(library, *[values[k] for k in operands])
                for k in unused:
                    values[k] = None  # frees its memory
        return tuple(values[k] for k in self._results)

    def _value(self, value: Any = None) -> int:
        self._values.append(value)
        return len(self._values) - 1

    def _call(self, function: Callable[..., Any], *operands: int) -> int:
        self._calls.append(Call(function, operands, self._value(), []))
        return self._calls[-1].result

    def _array(self, node: Node, kind: str) -> int:
        if (id(node), kind) not in self._numbers:
            made = partial(number, kind=kind, value=node.data)
            converted = partial(astype, kind=kind)
            self._numbers[id(node), kind] = (
                self._call(made)
                if node.op == NUMBER
                else self._call(converted, self._numbers[id(node), node.kind])
            )
        return self._numbers[id(node), kind]

    def _computed(self, node: Node) -> int:
        if node.op in SOURCES:
            return self._call(partial(SOURCES[node.op], node))
        if node.op in SHAPED:
            kind = node.kind if node.op == "copy" else node.args[0].kind
            return self._call(partial(SHAPED[node.op], node), self._array(node.args[0], kind))
        args, operands, kind = list(node.args), list[int](), node.kind
        if node.op == "where":
            operands.append(self._array(args.pop(0), "bool"))
        elif kind == "bool" and node.op not in LOGICAL:  # a comparison
            kinds = {each.kind for each in args if each.op != NUMBER}
            kind = "int" if kinds == {"int"} else "float"
        no_array = all(each.op == NUMBER for each in args)
        for position, each in enumerate(args):
            is_number = each.op == NUMBER and not (no_array and position == 0)
            constant = TYPES[kind](each.data) if is_number else None
            operands.append(self._value(constant) if is_number else self._array(each, kind))
        logical = node.kind == "bool" and node.op in LOGICAL
        return self._call((LOGICAL if logical else FUNCTIONS)[node.op], *operands)


TYPES: Mapping[str, type] = {"float": float, "int": int, "bool": bool}


def number(library: Library, kind: str, value: float) -> Array:
    return library.xp.asarray(TYPES[kind](value), dtype=library.dtypes[kind], device=library.device)


def astype(library: Library, a: Array, kind: str) -> Array:
    return library.xp.astype(a, library.dtypes[kind])


def numbers(node: Node, library: Library) -> Array:
    dtype = library.dtypes[node.kind]
    return library.xp.arange(*node.data, dtype=dtype, device=library.device)


def interval(node: Node, library: Library) -> Array:
    (start, stop), xp = node.data, library.xp
    columns = xp.arange(*node.shape, dtype=xp.int64, device=library.device)
    return xp.logical_and(columns >= start, columns < stop)


def constants(node: Node, library: Library) -> Array:
    dtype = library.dtypes[node.kind]
    elements = library.xp.asarray(node.data, dtype=dtype, device=library.device)
    return library.xp.reshape(elements, node.shape)


SOURCES: Mapping[str, Callable[..., Array]] = {
    "constants": constants,
    "range": numbers,
    "interval": interval,
}


def sigmoid(library: Library, z: Array) -> Array:
    xp = library.xp
    power = xp.exp(-xp.abs(z))
    return xp.where(z >= 0, xp.ones_like(power), power) / (1 + power)


def softplus(library: Library, z: Array) -> Array:
    xp = library.xp
    return xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


def tanh_softplus(library: Library, z: Array) -> Array:
    power = library.xp.exp(library.xp.minimum(z, 20.0))  # the result for 20 is 1, after rounding
    product = power * (power + 2)
    return product / (product + 2)


def named(name: str) -> Callable[..., Array]:
    return lambda library, *operands: getattr(library.xp, name)(*operands)


FUNCTIONS: Mapping[str, Callable[..., Array]] = {
    **{
        name: named(name)
        for name in (
            *(*ELEMENTARY, "negative", "abs", "floor", "round", "sign"),
            *("add", "subtract", "multiply", "divide"),
            *("maximum", "minimum", "greater", "equal", "where"),
        )
    },
    "at_least": named("greater_equal"),
    "quotient": named("floor_divide"),
    "remainder": named("remainder"),
    "sigmoid": sigmoid,
    "softplus": softplus,
    "tanh_softplus": tanh_softplus,
}

LOGICAL: Mapping[str, Callable[..., Array]] = {
    "multiply": named("logical_and"),
    "maximum": named("logical_or"),
    "subtract": lambda library, one, a: library.xp.logical_not(a),
    "where": named("where"),
}
"""Functions of Boolean arrays. Other engines use the numbers 0 and 1 instead of Booleans."""


def placed(node: Node, library: Library, a: Array) -> Array:
    rows, columns = node.shape
    widths = node.data, columns - node.data - a.shape[1]
    zeros = (
        library.xp.zeros((rows, each), dtype=a.dtype, device=library.device) for each in widths
    )
    return library.xp.concat([next(zeros), a, next(zeros)], axis=1)


def reduced(name: str) -> Callable[..., Array]:
    def function(node: Node, library: Library, a: Array) -> Array:
        axes = tuple(range(1, len(node.args[0].shape)))
        return getattr(library.xp, name)(a, axis=axes)

    return function


SHAPED: Mapping[str, Callable[..., Array]] = {
    "copy": lambda node, library, a: library.xp.broadcast_to(a, node.shape),
    "reshape": lambda node, library, a: library.xp.reshape(a, node.shape),
    "columns": lambda node, library, a: a[:, slice(*node.data)],
    "placed": placed,
    "row_sum": reduced("sum"),
    "row_maximum": reduced("max"),
    "row_minimum": reduced("min"),
    "column_sum": lambda node, library, a: library.xp.sum(a, axis=0),
}
"""Functions whose result may have another shape than the argument: views, copies and reductions."""
