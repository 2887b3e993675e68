"""Compute a graph with an array library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from array_api_compat import device

from gpunn.expressions.graph import NUMBER, Node, in_order
from gpunn.typing import Array

__all__ = ["evaluated"]


def evaluated(
    inputs: Sequence[Node], results: Sequence[Node], xp: Any, arrays: Sequence[Array]
) -> tuple[Array, ...]:
    """Return the results, given the arrays of the inputs."""
    pairs = list(zip(inputs, arrays, strict=True))
    floats = [array for node, array in pairs if node.kind == "float"]
    compute = Evaluation(xp, floats[0])
    values: dict[int, Any] = {id(node): array for node, array in pairs}
    order = in_order(results)
    uses = Counter(id(each) for node in order for each in node.args)
    uses.update(map(id, results))
    with np.errstate(all="ignore"):  # `where` may not choose what is infinite
        for node in order:
            if id(node) not in values:
                values[id(node)] = compute.value(node, [values[id(each)] for each in node.args])
            for each in node.args:
                uses[id(each)] -= 1
                if not uses[id(each)]:
                    del values[id(each)]  # frees its memory
    return tuple(compute.array(node, values[id(node)]) for node in results)


class Evaluation:
    """The functions of graphs, with arrays of one library, floating-point type and device."""

    def __init__(self, xp: Any, like: Array) -> None:
        self._xp, self._device = xp, device(like)
        self._dtypes = {"float": like.dtype, "int": xp.int64, "bool": xp.bool}

    def array(self, node: Node, value: Any, kind: str = "") -> Array:
        """Return the value of a node as an array of a kind."""
        kind = kind or node.kind
        if node.op == NUMBER:
            return self._xp.asarray(value, dtype=self._dtypes[kind], device=self._device)
        return value if kind == node.kind else self._xp.astype(value, self._dtypes[kind])

    def value(self, node: Node, values: Sequence[Any]) -> Any:
        """Return the value of a node, given those of its arguments; numbers are Python numbers."""
        if node.op == NUMBER:
            return TYPES[node.kind](node.data)
        if node.op == "range":
            dtype = self._dtypes[node.kind]
            return self._xp.arange(*node.data, dtype=dtype, device=self._device)
        if node.op in SHAPED:
            (argument,) = node.args
            kind = node.kind if node.op == "copy" else argument.kind
            return SHAPED[node.op](self._xp, node, self.array(argument, values[0], kind))
        logical = node.kind == "bool" and node.op in LOGICAL
        function = LOGICAL[node.op] if logical else FUNCTIONS[node.op]
        operands = self._operands(node, values, "bool" if logical else "")
        return function(self._xp, *operands)

    def _operands(self, node: Node, values: Sequence[Any], wanted: str) -> list[Any]:
        """Return the arguments of a function: arrays of one kind, and numbers."""
        pairs = list(zip(node.args, values, strict=True))
        condition = []
        if node.op == "where":
            condition = [self.array(*pairs.pop(0), "bool")]
            wanted = node.kind
        kinds = {each.kind for each, _ in pairs if each.op != NUMBER}
        kind = wanted or ("int" if kinds == {"int"} else "float")
        only_numbers = all(each.op == NUMBER for each, _ in pairs)
        operands = [
            TYPES[kind](value)
            if each.op == NUMBER and not (only_numbers and position == 0)
            else self.array(each, value, kind)
            for position, (each, value) in enumerate(pairs)
        ]
        return condition + operands


TYPES: Mapping[str, type] = {"float": float, "int": int, "bool": bool}


def sigmoid(xp: Any, z: Array) -> Array:
    """Return 1 / (1 + e^-z), with small relative errors."""
    power = xp.exp(-xp.abs(z))
    return xp.where(z >= 0, xp.ones_like(power), power) / (1 + power)


def softplus(xp: Any, z: Array) -> Array:
    """Return log(1 + e^z)."""
    return xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


def tanh_softplus(xp: Any, z: Array) -> Array:
    """Return tanh(log(1 + e^z))."""
    power = xp.exp(xp.minimum(z, 20.0))  # the result for 20 is 1, after rounding
    product = power * (power + 2)
    return product / (product + 2)


FUNCTIONS: Mapping[str, Callable[..., Array]] = {
    **{
        name: lambda xp, *operands, name=name: getattr(xp, name)(*operands)
        for name in (
            *("negative", "abs", "sqrt", "exp", "expm1", "log", "log1p", "tanh", "sin", "cos"),
            *("floor", "round", "sign", "add", "subtract", "multiply", "divide"),
            *("maximum", "minimum", "greater", "equal", "where"),
        )
    },
    "at_least": lambda xp, a, b: xp.greater_equal(a, b),
    "sigmoid": sigmoid,
    "softplus": softplus,
    "tanh_softplus": tanh_softplus,
}

LOGICAL: Mapping[str, Callable[..., Array]] = {
    "multiply": lambda xp, a, b: xp.logical_and(a, b),
    "maximum": lambda xp, a, b: xp.logical_or(a, b),
    "subtract": lambda xp, one, a: xp.logical_not(a),
}
"""Functions of Boolean arrays, which other engines compute with the numbers 0 and 1."""


def axes_of_row(node: Node) -> tuple[int, ...]:
    """Return the axes over which a node reduces each row."""
    return tuple(range(1, len(node.args[0].shape)))


SHAPED: Mapping[str, Callable[..., Array]] = {
    "copy": lambda xp, node, a: xp.broadcast_to(a, node.shape),
    "reshape": lambda xp, node, a: xp.reshape(a, node.shape),
    "columns": lambda xp, node, a: a[:, slice(*node.data)],
    "row_sum": lambda xp, node, a: xp.sum(a, axis=axes_of_row(node)),
    "row_maximum": lambda xp, node, a: xp.max(a, axis=axes_of_row(node)),
    "row_minimum": lambda xp, node, a: xp.min(a, axis=axes_of_row(node)),
    "column_sum": lambda xp, node, a: xp.sum(a, axis=0),
}
"""Views, copies and reductions."""
