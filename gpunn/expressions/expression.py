"""Functions of arrays as graphs, which any array library can compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gpunn.expressions.evaluation import Plan
from gpunn.expressions.graph import (
    ARRAY,
    NUMBER,
    REDUCTIONS,
    VIEWS,
    Graph,
    Node,
    Untraceable,
    in_order,
)
from gpunn.expressions.namespace import Namespace
from gpunn.expressions.shapes import columns_of, reshaped
from gpunn.expressions.stand_ins import StandIn, Tracer
from gpunn.expressions.tracing import explained, traced_twice
from gpunn.typing import Array, Shape


@dataclass(frozen=True)
class Expression:
    """Functions of arrays as a graph.

    The `data` of each input is the input's name. The inputs must include all arrays that the
    results read, unless the expression is used only in the trace that made it.

    Examples
    --------
    >>> from gpunn.expressions import expression_of
    >>> expression = expression_of(lambda xp, x: xp.exp(x) - 1, {"x": ((2,), "float")}, np.float64)
    >>> expression(np, np.array([0.0, 1.0]))[0].round(3)
    array([0.   , 1.718])
    >>> print(expression)
    t1 = exp(x)
    t2 = subtract(t1, 1)
    return t2
    """

    inputs: tuple[Node, ...]
    results: tuple[Node, ...]

    def __str__(self) -> str:
        return listed(self.results)

    def structure(self) -> list[Any]:
        order = in_order(self.results)
        numbers = {id(node): number for number, node in enumerate(order)}
        nodes = [
            (each.op, repr(each.data), each.shape[1:], *(numbers[id(x)] for x in each.args))
            for each in order
        ]
        return [*nodes, *(numbers[id(each)] for each in self.results)]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.inputs, self.results)  # without the plan's functions

    @cached_property
    def _plan(self) -> Plan:
        return Plan(self.inputs, self.results)

    def __call__(self, xp: Any, *arrays: Array) -> tuple[Array, ...]:
        # `xp` is an array-API namespace. If it is a `Namespace`, arrays and results are stand-ins
        # of a trace, and the call adds this expression to the trace's graph.
        wrong = [
            f"{node.data}: expected shape {node.shape}; got {tuple(array.shape)}"
            for node, array in zip(self.inputs, arrays, strict=True)
            if tuple(array.shape) != node.shape
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        if not isinstance(xp, Namespace):
            return self._plan(xp, arrays)
        tracer = xp.tracer
        replaced = {
            id(node): tracer.node_of(array) for node, array in zip(self.inputs, arrays, strict=True)
        }
        nodes = substituted(tracer.graph, self.results, replaced)
        return tuple(StandIn(tracer, node) for node in nodes)


def expression_of(
    function: Callable[..., Any], shapes: Mapping[str, tuple[Shape, str]], dtype: Any
) -> Expression:
    """Return function(xp, *arrays) as an expression.

    `shapes` maps each array's name to its shape and kind ("float", "int" or "bool"). `dtype` is the
    type of the floating-point arrays.
    """
    inputs: list[Node] = []

    def trace(tracer: Tracer) -> tuple[Node, ...]:
        arrays = [tracer.input(name, *shape) for name, shape in shapes.items()]
        inputs[:] = [array.node for array in arrays]
        with explained(tracer):
            results = function(Namespace(tracer), *arrays)
            several = isinstance(results, list | tuple)
            nodes = tuple(map(tracer.node_of, results if several else [results]))
        if [array.node for array in arrays] != inputs:
            raise Untraceable("the code changes its arguments")
        return nodes

    results = traced_twice(trace, lambda nodes: nodes, np.dtype(dtype))
    return Expression(tuple(inputs), results)


def substituted(graph: Graph, roots: Sequence[Node], replaced: Mapping[int, Node]) -> list[Node]:
    # `replaced` maps ids of nodes to the nodes that replace them.
    made = dict(replaced)
    for node in in_order(roots):
        if id(node) not in made:
            made[id(node)] = again(graph, node, [made[id(each)] for each in node.args])
    return [made[id(root)] for root in roots]


def again(graph: Graph, node: Node, args: Sequence[Node]) -> Node:
    if node.op == "reshape":
        return reshaped(graph, args[0], node.shape)
    if node.op == "columns":
        return columns_of(graph, args[0], *node.data)
    if node.op == "copy":
        args = [graph.broadcastable(args[0], node.shape)]
    if node.op in ("copy", "placed", *REDUCTIONS) or not args:
        return graph.node(node.op, *args, shape=node.shape, kind=node.kind, data=node.data)
    return graph.call(node.op, *args, kind=node.kind, data=node.data)


def require_separate_rows(results: Sequence[Node], inputs: Sequence[Node]) -> None:
    whole = inputs[0].shape[:1]
    rows_of = {id(each): whole for each in inputs}
    for node in in_order(results):
        used = [each for each in node.args if id(each) in rows_of]
        if not used or id(node) in rows_of:
            continue
        rows = rows_of[id(used[0])]
        if node.op == "reshape" and node.shape and node.shape[0] % max(whole[0], 1) == 0:
            rows = node.shape[:1]  # each row becomes several rows
        rows_of[id(node)] = rows
        aligned = node.op in (*REDUCTIONS, *VIEWS) or all(
            len(each.shape) == len(node.shape) for each in used
        )
        if not aligned or node.op == "column_sum" or node.shape[:1] != rows:
            raise Untraceable("the code combines several rows")
    if any(rows_of.get(id(each), whole) != whole for each in results):
        raise Untraceable("the code combines several rows")


WITH_SHAPE = ("copy", "reshape")
"""Functions whose arguments do not determine the result's shape."""


def listed(results: Sequence[Node]) -> str:
    names: dict[int, str] = {}
    lines = list[str]()
    for node in in_order(results):
        names[id(node)] = f"t{len(lines) + 1}"
        if node.op == ARRAY:
            names[id(node)] = str(node.data)
        elif node.op == NUMBER:
            names[id(node)] = f"{node.data:.6g}"
        else:
            shape = [node.shape] if node.op in WITH_SHAPE else []
            others: list[Any] = [node.data] if node.data is not None and not shape else shape
            arguments = [names[id(each)] for each in node.args] + list(map(str, others))
            lines.append(f"{names[id(node)]} = {node.op}({', '.join(arguments)})")
    return "\n".join([*lines, f"return {', '.join(names[id(each)] for each in results)}"])
