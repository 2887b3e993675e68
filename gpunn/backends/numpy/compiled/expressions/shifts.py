"""Concatenations and slices of columns, as choices between whole rows whose columns move."""

from __future__ import annotations

from collections.abc import Mapping

from gpunn.backends.numpy.compiled.interface import BY_VECTORS
from gpunn.expressions import REDUCTIONS, Node, in_order, is_source
from gpunn.expressions.graph import SHIFTED, VIEWS, is_scalar
from gpunn.typing import Shape

MOST_CHOICES = 4
"""Choosing between more parts takes more time than copying the parts."""

MOST_STEPS = 8
"""Computing more functions for whole rows takes more time than copying parts of rows."""


class Shifts:
    """Nodes that replace concatenations and slices. `made` maps the ids of nodes to new nodes."""

    def __init__(self, made: Mapping[int, Node]) -> None:
        self._made = made
        self._found: dict[tuple[int, int, Shape], Node | None] = {}
        self._intervals: dict[tuple[int, int, int], Node] = {}

    def of(self, node: Node) -> Node | None:
        """Return a node that has the same elements as `node`, but contains no slices.

        The result is None if there is no such node, or if copies take less time.
        """
        if len(node.shape) != 2 or node.shape[0] == 1:
            return None
        result = self._moved(node, 0, node.shape)
        parts = [] if result is None else parts_of(result)
        if len(parts) > 1 and all(each.op == SHIFTED for each in parts):
            return None  # copies take less time if nothing is computed
        if result is None or (result.shape == node.shape and result.op != SHIFTED):
            return result
        return Node("copy", (result,), node.shape, node.kind)

    def _moved(self, node: Node, start: int, shape: Shape) -> Node | None:
        """Return a node of shape `shape`: the columns of `node`, moved right by `start` columns.

        If `start` is negative, the columns move left.
        """
        key = id(node), start, shape
        if key not in self._found:
            self._found[key] = self._rows(node, start, shape)
        return self._found[key]

    def _rows(self, node: Node, start: int, shape: Shape) -> Node | None:
        if is_scalar(node):
            return self._new(node)
        if node.op == "columns":
            return self._moved(node.args[0], start - node.data[0], shape)
        if node.op == "placed":
            return self._moved(node.args[0], start + node.data, shape)
        if node.op == "copy" and (node.args[0].shape == node.shape or is_scalar(node.args[0])):
            return self._moved(node.args[0], start, shape)
        if is_choice(node):
            return self._choice(node, start, shape)
        if node.shape == shape and not (start and is_scaled(node)):
            new = self._new(node)
            return Node(SHIFTED, (new,), shape, node.kind, start) if start else new
        if not is_elementwise(node) or node.op in BY_VECTORS or len(node.shape) != 2:
            return None
        alike = [each for each in in_order([node]) if each.shape == node.shape]
        if sum(map(is_elementwise, alike)) > MOST_STEPS:
            return None
        args = [self._argument(node, each, start, shape) for each in node.args]
        found = tuple(each for each in args if each is not None)
        return (
            Node(node.op, found, shape, node.kind, node.data) if len(found) == len(args) else None
        )

    def _choice(self, node: Node, start: int, shape: Shape) -> Node | None:
        columns, chosen, rest = node.args
        begin, stop = (each + start for each in columns.data)
        count, width = 1, shape[1]
        while is_choice(rest):
            count, rest = count + 1, rest.args[2]
        if count > MOST_CHOICES:
            return None
        other = self._argument(node, node.args[2], start, shape)
        first, end = max(0, begin), min(width, stop)
        if other is None or first >= end:
            return other
        if chosen.shape[1:] == (1,) and stop == begin + 1:
            moved = self._moved(chosen, begin, shape)
        else:
            moved = self._argument(node, chosen, start, shape)
        if moved is None:
            return None
        key = first, end, width
        columns = self._intervals.setdefault(key, Node("interval", (), shape[1:], "bool", key[:2]))
        return Node("where", (columns, moved, other), shape, node.kind)

    def _argument(self, node: Node, argument: Node, start: int, shape: Shape) -> Node | None:
        is_repeated = argument.shape[1:] == (1,) != node.shape[1:]
        return self._new(argument) if is_repeated else self._moved(argument, start, shape)

    def _new(self, node: Node) -> Node:
        return self._made.get(id(node), node)


def is_elementwise(node: Node) -> bool:
    return not is_source(node) and node.op not in (*REDUCTIONS, *VIEWS)


def is_choice(node: Node) -> bool:
    is_interval = node.op == "where" and node.args[0].op == "interval"
    return is_interval and len(node.shape) == 2


def parts_of(node: Node) -> list[Node]:
    return [node.args[1], *parts_of(node.args[2])] if is_choice(node) else [node]


def is_scaled(node: Node) -> bool:
    """Return whether a node is a function of one matrix and numbers, such as 2 * x."""
    matrices = [each for each in node.args if not is_scalar(each)]
    return is_elementwise(node) and len(matrices) == 1 and matrices[0].shape == node.shape
