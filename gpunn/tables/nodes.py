"""Formulas as nodes of an ONNX graph, written as on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

__all__ = ["Graph", "Value", "beside", "where"]

OPERATORS: dict[np.ufunc, str] = {
    np.absolute: "Abs",
    np.add: "Add",
    np.bitwise_or: "Or",
    np.divide: "Div",
    np.equal: "Equal",
    np.floor: "Floor",
    np.floor_divide: "Div",
    np.greater: "Greater",
    np.greater_equal: "GreaterOrEqual",
    np.isnan: "IsNaN",
    np.less: "Less",
    np.less_equal: "LessOrEqual",
    np.log: "Log",
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
}
"""ONNX divides integers toward zero: `//` is for those that are not negative, or multiples."""

TESTS = frozenset((np.equal, np.greater, np.greater_equal, np.isnan, np.less, np.less_equal))
"""Functions that return Booleans."""


class Graph(Protocol):
    """What adds nodes and constants to a graph; it returns their names."""

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output."""

    def constant(self, array: np.ndarray) -> str:
        """Add an array of its own dtype."""

    def element_type(self, dtype: str) -> int:
        """Return ONNX's code of a dtype."""


class Value(NDArrayOperatorsMixin):
    """An array that a graph computes. NumPy's operators and functions on it add nodes.

    `name` is that of an input or a node. Numbers that a formula combines with it become constants
    of its dtype.
    """

    def __init__(self, graph: Graph, name: str, dtype: str = "float64") -> None:
        self.graph, self.name, self.dtype = graph, name, dtype

    def node(self, operator: str, *inputs: Any, dtype: str | None = None, **attributes: Any) -> Any:
        """Return the output of a node; inputs that are no values become constants."""
        names = [
            each.name
            if isinstance(each, Value)
            else self.graph.constant(np.asarray(each, self.dtype))
            for each in inputs
        ]
        name = self.graph.node(operator, *names, **attributes)
        return Value(self.graph, name, dtype or self.dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **_: Any) -> Any:
        """Return what a function of NumPy gives; in place it gives a new value, too."""
        dtype = "bool" if ufunc in TESTS else None
        return self.node(OPERATORS[ufunc], *inputs, dtype=dtype)

    def constant(self, values: Any, dtype: str = "float64") -> Value:
        """Return numbers as a constant of the graph."""
        return Value(self.graph, self.graph.constant(np.asarray(values, dtype)), dtype)

    def astype(self, dtype: str) -> Value:
        """Return it in another type."""
        converted: Value = self.node("Cast", self, dtype=dtype, to=self.graph.element_type(dtype))
        return converted

    def clip(self, least: float, largest: float, out: Any = None) -> Any:
        """Return it within bounds, as `np.clip` asks for."""
        return self.node("Clip", self, least, largest)

    def take(self, places: Any, axis: int = 1) -> Any:
        """Return some of its columns, or other parts."""
        places = places if isinstance(places, Value) else self.constant(places, "int64")
        return self.node("Gather", self, places, axis=axis)

    def expanded(self) -> Any:
        """Return it with a third axis, of one entry."""
        return self.node("Unsqueeze", self, self.constant([2], "int64"))

    def squeezed(self) -> Any:
        """Return a single column as a vector."""
        return self.node("Squeeze", self, self.constant([1], "int64"))

    def counted(self) -> Value:
        """Return how many entries on the third axis are true."""
        ones = self.astype("int32")
        total: Value = ones.node("ReduceSum", ones, self.constant([2], "int64"), keepdims=0)
        return total.astype("int64")


def where(condition: Value, yes: Any, no: Any) -> Any:
    """Return `yes` where the condition holds, else `no`, one of which is a value."""
    value = yes if isinstance(yes, Value) else no
    return value.node("Where", condition, yes, no)


def beside(values: Sequence[Value]) -> Any:
    """Return columns of one type side by side."""
    return values[0] if len(values) == 1 else values[0].node("Concat", *values, axis=1)
