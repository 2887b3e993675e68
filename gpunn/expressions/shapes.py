"""Nodes that change the shape of other nodes: views and reductions."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from gpunn.expressions.graph import SLICES, Graph, Node, Untraceable
from gpunn.typing import Shape


def reshaped(graph: Graph, node: Node, shape: Shape) -> Node:
    while node.op == "reshape":
        node = node.args[0]
    if node.op in SLICES and shape[:1] != node.shape[:1]:  # their rows are not adjacent
        node = graph.node("copy", node, shape=node.shape, kind=node.kind)
    if node.shape == shape:
        return node
    return graph.node("reshape", node, shape=shape, kind=node.kind)


def columns_of(graph: Graph, node: Node, start: int, stop: int) -> Node:
    if any(each.op in SLICES for each in (node, *node.args)):  # columns of columns
        node = graph.node("copy", node, shape=node.shape, kind=node.kind)
    shape = node.shape[0], stop - start
    return graph.node("columns", node, shape=shape, kind=node.kind, data=(start, stop))


def placed(graph: Graph, node: Node, start: int, columns: int) -> Node:
    """Copy a node of shape (rows, n) into n adjacent columns of a wider node."""
    # An engine may read a row's width before and after the copy.
    copy = graph.node("copy", node, shape=node.shape, kind=node.kind, data=columns)
    shape = node.shape[0], columns
    return graph.node("placed", copy, shape=shape, kind=node.kind, data=start)


def side_by_side(graph: Graph, nodes: Sequence[Node]) -> Node:
    width, start, result = sum(each.shape[-1] for each in nodes), 0, None
    for node in nodes:
        columns = node.shape[-1]
        whole = reshaped(graph, node, (math.prod(node.shape[:-1]), columns))
        if columns > 1:
            whole = placed(graph, whole, start, width)
        if result is not None:
            data = start, start + columns
            inside = graph.node("interval", shape=(width,), kind="bool", data=data)
            whole = graph.call("where", inside, whole, result)
        start, result = start + columns, whole
    assert result is not None
    return expanded(graph, result, (result.shape[0], width))


def expanded(graph: Graph, node: Node, shape: Shape) -> Node:
    if node.shape == shape:
        return node
    return graph.node("copy", graph.broadcastable(node, shape), shape=shape, kind=node.kind)


def reduced(graph: Graph, node: Node, name: str, axes: Collection[int], keepdims: bool) -> Node:
    sizes = list(enumerate(node.shape))
    shape = tuple(1 if k in axes else n for k, n in sizes if keepdims or k not in axes)
    if math.prod(node.shape[each] for each in axes) == 1:  # nothing to reduce
        return reshaped(graph, node, shape)
    kept = [k for k, n in sizes if k not in axes and n != 1]
    first, end = (kept[0], kept[-1] + 1) if kept else (0, 0)
    parts = node.shape[:first], node.shape[first:end], node.shape[end:]
    before, between, after = map(math.prod, parts)
    if any(k in axes and n > 1 for k, n in sizes[first:end]) or (before > 1 and name != "sum"):
        raise Untraceable(
            f"the {name} over axes {tuple(axes)} of an array with {len(node.shape)} axes "
            "is not supported"
        )
    if after > 1:
        rows = reshaped(graph, node, (before * between, after))
        node = graph.node(f"row_{name}", rows, shape=rows.shape[:1], kind="float")
    if before > 1:
        columns = reshaped(graph, node, (before, between))
        node = graph.node("column_sum", columns, shape=(between,), kind="float")
    return reshaped(graph, node, shape)
