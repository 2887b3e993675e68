"""Nodes that change the shape of other nodes: views and reductions."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Sequence
from typing import Any

from gpunn.expressions.graph import MOST_JOINED, SLICES, Graph, Node, Untraceable
from gpunn.typing import Shape


def reshaped(graph: Graph, node: Node, shape: Shape) -> Node:
    while node.op == "reshape":
        node = node.args[0]
    if node.op in SLICES and shape[:1] != node.shape[:1]:  # their rows are not adjacent
        node = graph.node("copy", node, shape=node.shape, kind=node.kind)
    if node.shape == shape:
        return node
    return graph.node("reshape", node, shape=shape, kind=node.kind)


def part_of(graph: Graph, node: Node, axis: int, start: int, stop: int) -> Node:
    before, n, inner = split(node.shape, axis)
    matrix = reshaped(graph, node, (before, n * inner))
    part = columns_of(graph, matrix, start * inner, stop * inner)
    return reshaped(graph, part, (*node.shape[:axis], stop - start, *node.shape[axis + 1 :]))


def axis_of(shape: Shape, axis: int) -> int:
    if not -len(shape) <= axis < len(shape):
        raise IndexError(f"axis {axis} is out of bounds for {len(shape)} axes")
    return axis % len(shape)


def split(shape: Shape, axis: int) -> tuple[int, int, int]:
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def columns_of(graph: Graph, node: Node, start: int, stop: int) -> Node:
    if any(each.op in SLICES for each in (node, *node.args)):  # columns of columns
        node = graph.node("copy", node, shape=node.shape, kind=node.kind)
    shape = node.shape[0], stop - start
    return graph.node("columns", node, shape=shape, kind=node.kind, data=(start, stop))


def placed(graph: Graph, node: Node, start: int, columns: int) -> Node:
    """Return a node (rows, columns) with `node` (rows, n) in columns `start` to start + n - 1."""
    # An engine may read a whole row's width around the copied columns.
    copy = graph.node("copy", node, shape=node.shape, kind=node.kind, data=columns)
    shape = node.shape[0], columns
    return graph.node("placed", copy, shape=shape, kind=node.kind, data=start)


def joined(graph: Graph, nodes: Sequence[Node], axis: int) -> Node:
    first, total = nodes[0].shape, sum(each.shape[axis] for each in nodes)
    before, _, inner = split(first, axis)
    width, start, result = total * inner, 0, None
    for node in nodes:
        columns = node.shape[axis] * inner
        whole = reshaped(graph, node, (before, columns))
        if columns < width:
            whole = placed(graph, whole, start, width)
        if result is not None:
            data = start, start + columns
            inside = graph.node("interval", shape=(width,), kind="bool", data=data)
            whole = graph.call("where", inside, whole, result)
        start, result = start + columns, whole
    assert result is not None
    whole = expanded(graph, result, (before, width))
    return reshaped(graph, whole, (*first[:axis], total, *first[axis + 1 :]))


def expanded(graph: Graph, node: Node, shape: Shape) -> Node:
    if node.shape == shape:
        return node
    return graph.node("copy", graph.broadcastable(node, shape), shape=shape, kind=node.kind)


FOLDS = {"sum": "add", "maximum": "maximum", "minimum": "minimum"}
"""Maps each reduction to the function of two arrays that it repeats."""


def reduced(
    graph: Graph, node: Node, name: str, axes: Collection[int], keepdims: bool, data: Any = None
) -> Node:
    sizes = list(enumerate(node.shape))
    shape = tuple(1 if k in axes else n for k, n in sizes if keepdims or k not in axes)
    if math.prod(node.shape[each] for each in axes) == 1:  # nothing to reduce
        return reshaped(graph, node, shape)
    kept = [k for k, n in sizes if k not in axes and n != 1]
    first, end = (kept[0], kept[-1] + 1) if kept else (0, 0)
    parts = node.shape[:first], node.shape[first:end], node.shape[end:]
    before, between, after = map(math.prod, parts)
    # Loops compute reductions over the last axes, and sums over the first axes. Even for a batch of
    # one row, a sum within the row must not become a sum over rows.
    of_parts = name != "sum" or 0 not in axes
    others = [k for k in axes if node.shape[k] > 1 and k < end and (k > first or of_parts)]
    if others:
        count = node.shape[others[0]]
        if count > MOST_JOINED:
            raise Untraceable(
                f"the {name} over axes {tuple(axes)} of an array with {len(node.shape)} axes "
                f"is not supported for more than {MOST_JOINED} terms"
            )
        terms = [part_of(graph, node, others[0], k, k + 1) for k in range(count)]
        node = functools.reduce(lambda a, b: graph.call(FOLDS[name], a, b), terms)
        return reduced(graph, node, name, axes, keepdims, data)
    if after > 1:
        rows = reshaped(graph, node, (before * between, after))
        node = graph.node(f"row_{name}", rows, shape=rows.shape[:1], kind="float", data=data)
    if before > 1:
        columns = reshaped(graph, node, (before, between))
        node = graph.node("column_sum", columns, shape=(between,), kind="float")
    return reshaped(graph, node, shape)
