"""Functions of rows as nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gpunn.expressions import ARRAY, ELEMENTARY, NUMBER, Node, in_order
from gpunn.interchange.expressions.rows import RowFunction
from gpunn.tables.onnx_nodes import Value, where


def add_expression(function: RowFunction, x: Value, *others: Value | np.ndarray) -> Any:
    names = (*function.variables, *function.arrays)
    values_of = (
        each if isinstance(each, Value) else x.constant(each, x.dtype) for each in (x, *others)
    )
    given = dict(zip(names, values_of, strict=True))
    functions = FUNCTIONS | FLOAT32 if x.dtype == "float32" else FUNCTIONS
    values: dict[int, Any] = {}
    for node in in_order([function.result]):
        if node.op == ARRAY:
            values[id(node)] = given[node.data]
        elif node.op == NUMBER:
            with np.errstate(over="ignore"):  # infinity, as in networks of this dtype
                values[id(node)] = np.array(node.data).astype(x.dtype)
        else:
            arguments = [values[id(each)] for each in node.args]
            if node.op in SHAPED:
                values[id(node)] = SHAPED[node.op](node, *arguments)
            elif node.op == "as_number":
                values[id(node)] = arguments[0].astype(x.dtype)
            else:
                values[id(node)] = functions[node.op](*arguments)
    return values[id(function.result)]


def operator(name: str, **attributes: Any) -> Callable[..., Any]:
    return lambda x, *inputs: x.node(name, x, *inputs, **attributes)


def softplus(z: Any) -> Any:
    """Return log(1 + exp(z)), without the operator Softplus, which runtimes lack in float64."""
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def maximum(a: Any, b: Any) -> Any:
    """Return the elementwise maximum; if b is zero, use Relu, which runtimes can fuse."""
    return a.node("Relu", a) if isinstance(b, np.ndarray) and not b.any() else np.maximum(a, b)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(np, name)
        for name in (
            *(*ELEMENTARY, "abs", "add", "divide", "equal", "floor", "greater", "minimum"),
            *("multiply", "negative", "sign", "subtract"),
        )
    },
    "and": np.bitwise_and,
    "at_least": np.greater_equal,
    "maximum": maximum,
    "not": operator("Not"),
    "or": np.bitwise_or,
    "round": np.rint,
    "sigmoid": operator("Sigmoid"),
    "softplus": softplus,
    "tanh_softplus": lambda z: np.tanh(softplus(z)),
    "where": where,
}

FLOAT32: dict[str, Callable[..., Any]] = {
    "cos": operator("Cos"),
    "softplus": operator("Softplus"),
    "tanh_softplus": lambda z: np.tanh(operator("Softplus")(z)),
}
"""Operators that runtimes have only for float32."""


def reduction(name: str) -> Callable[[Node, Value], Any]:
    def reduced(node: Node, a: Value) -> Any:
        return a.node(name, a, a.constant([-1], "int64"), keepdims=0)

    return reduced


def placed(node: Node, a: Value) -> Any:
    others = [0] * len(node.shape)
    after = node.shape[-1] - node.data - node.args[0].shape[-1]
    return a.node("Pad", a, a.constant([*others, node.data, *others, after], "int64"))


SHAPED: Mapping[str, Callable[[Node, Value], Any]] = {
    "broadcast": lambda node, a: a.node("Expand", a, a.constant([1, *node.shape], "int64")),
    "columns": lambda node, a: a.node(
        "Slice", a, *(a.constant([each], "int64") for each in (*node.data, -1))
    ),
    "placed": placed,
    "reshape": lambda node, a: a.node("Reshape", a, a.constant([0, *node.shape], "int64")),
    "row_maximum": reduction("ReduceMax"),
    "row_minimum": reduction("ReduceMin"),
    "row_sum": reduction("ReduceSum"),
}
