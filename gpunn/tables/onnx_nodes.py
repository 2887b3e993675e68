"""Formulas as nodes of an ONNX graph, written with NumPy's operators and functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

OPERATORS: dict[np.ufunc, str] = {
    np.absolute: "Abs",
    np.add: "Add",
    np.bitwise_and: "And",
    np.bitwise_or: "Or",
    np.divide: "Div",
    np.equal: "Equal",
    np.exp: "Exp",
    np.floor: "Floor",
    np.floor_divide: "Div",
    np.greater: "Greater",
    np.greater_equal: "GreaterOrEqual",
    np.isnan: "IsNaN",
    np.less: "Less",
    np.less_equal: "LessOrEqual",
    np.log: "Log",
    np.matmul: "MatMul",
    np.maximum: "Max",
    np.minimum: "Min",
    np.multiply: "Mul",
    np.negative: "Neg",
    np.remainder: "Mod",
    np.rint: "Round",
    np.sign: "Sign",
    np.sin: "Sin",
    np.sqrt: "Sqrt",
    np.subtract: "Sub",
    np.tanh: "Tanh",
}
"""ONNX divides integers toward zero: use `//` only for nonnegative integers or exact multiples."""

COMPOSED: dict[np.ufunc, Callable[[Any], Any]] = {
    np.cos: lambda x: np.sin(x + math.pi / 2),  # runtimes lack the cosine in float64
    np.expm1: lambda x: np.exp(x) - 1,
    np.log1p: lambda x: np.log(x + 1),
}

TESTS = frozenset((np.equal, np.greater, np.greater_equal, np.isnan, np.less, np.less_equal))


class Graph(Protocol):
    """A graph whose methods add nodes and constants, and return the names of the new values."""

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output."""

    def constant(self, array: np.ndarray) -> str:
        """Add an array as a constant of the same dtype."""

    def element_type(self, dtype: str) -> int:
        """Return ONNX's code for a dtype."""


class Value(NDArrayOperatorsMixin):
    """An array that a graph computes; NumPy's operators and functions add nodes to the graph."""

    def __init__(self, graph: Graph, name: str, dtype: str = "float64") -> None:
        self.graph, self.name, self.dtype = graph, name, dtype

    def node(self, operator: str, *inputs: Any, dtype: str | None = None, **attributes: Any) -> Any:
        names = [
            each.name
            if isinstance(each, Value)
            else self.graph.constant(np.asarray(each, self.dtype))
            for each in inputs
        ]
        name = self.graph.node(operator, *names, **attributes)
        return Value(self.graph, name, dtype or self.dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **_: Any) -> Any:
        # The result is a new value, even for an in-place operation.
        if ufunc in COMPOSED:
            return COMPOSED[ufunc](*inputs)
        dtype = "bool" if ufunc in TESTS else None
        return self.node(OPERATORS[ufunc], *inputs, dtype=dtype)

    def __array_function__(
        self, function: Any, types: Any, arguments: Any, options: Mapping[str, Any]
    ) -> Any:
        return FUNCTIONS[function](*arguments, **options)

    def __getitem__(self, key: tuple[Any, ...]) -> Any:
        *others, last = key
        if last is None:
            return self.node("Unsqueeze", self, self.constant([len(others)], "int64"))
        if None in others:
            return self[tuple(others)]
        if isinstance(last, slice):
            parts = [(k, each) for k, each in enumerate(key) if each != slice(None)]
            bounds = ([each.start for _, each in parts], [each.stop for _, each in parts])
            axes, steps = [k for k, _ in parts], [each.step or 1 for _, each in parts]
            return self.node(
                "Slice", self, *(self.constant(each, "int64") for each in (*bounds, axes, steps))
            )
        return self.take(last)

    def constant(self, values: Any, dtype: str = "float64") -> Value:
        return Value(self.graph, self.graph.constant(np.asarray(values, dtype)), dtype)

    def astype(self, dtype: str) -> Value:
        converted: Value = self.node("Cast", self, dtype=dtype, to=self.graph.element_type(dtype))
        return converted

    def clip(self, minimum: float, maximum: float, out: Any = None) -> Any:
        return self.node("Clip", self, minimum, maximum)

    def take(self, positions: Any, axis: int = 1) -> Any:
        positions = positions if isinstance(positions, Value) else self.constant(positions, "int64")
        return self.node("Gather", self, positions, axis=axis)

    def squeezed(self, axis: int = 1) -> Any:
        return self.node("Squeeze", self, self.constant([axis], "int64"))

    def reduced(self, operator: str, axis: int, keepdims: bool) -> Any:
        return self.node(operator, self, self.constant([axis], "int64"), keepdims=int(keepdims))

    def max(self, axis: int, keepdims: bool = False) -> Any:
        return self.reduced("ReduceMax", axis, keepdims)

    def mean(self, axis: int, keepdims: bool = False) -> Any:
        return self.reduced("ReduceMean", axis, keepdims)

    def sum(self, axis: int, keepdims: bool = False) -> Any:
        return self.reduced("ReduceSum", axis, keepdims)

    def counted(self) -> Value:
        total: Value = self.astype("int32").sum(axis=2)
        return total.astype("int64")


def where(condition: Value, yes: Any, no: Any) -> Any:
    # `yes` and `no` must have the same dtype.
    if not isinstance(yes, Value) and not isinstance(no, Value):
        yes = condition.constant(yes, np.asarray(yes).dtype.name)
    value = yes if isinstance(yes, Value) else no
    return value.node("Where", condition, yes, no)


def concatenate(values: Sequence[Value], axis: int = 1) -> Any:
    return values[0] if len(values) == 1 else values[0].node("Concat", *values, axis=axis)


def padded(x: Value, widths: Sequence[tuple[int, int]], constant_values: float) -> Any:
    ends = x.constant(np.transpose(widths).ravel(), "int64")
    return x.node("Pad", x, ends, constant_values)


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.clip: Value.clip,
    np.concatenate: concatenate,
    np.pad: padded,
    np.reshape: lambda x, shape: x.node("Reshape", x, x.constant(shape, "int64")),
    np.round: np.rint,
    np.swapaxes: lambda x, first, second: x.node("Transpose", x, perm=[second, first, 2]),
    np.where: where,
}
