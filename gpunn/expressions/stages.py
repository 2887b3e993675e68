"""Divide a graph into stages: loops over arrays of one shape, each of which an engine can fuse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from gpunn.expressions.graph import (
    ARRAY,
    NUMBER,
    REDUCTIONS,
    SLICES,
    VIEWS,
    Node,
    in_order,
    is_scalar,
)
from gpunn.typing import Shape

__all__ = ["Stage", "base_of", "is_source", "rows_and_columns", "stages_of"]


@dataclass
class Stage:
    """Nodes that one loop over rows and columns computes, in order.

    A reduction belongs to the stage of its argument; only later stages use its result. `once` are
    numbers that the nodes use, computed before the loop.
    """

    rows: int
    columns: int
    nodes: list[Node] = field(default_factory=list)
    once: list[Node] = field(default_factory=list)


def rows_and_columns(shape: Shape) -> tuple[int, int]:
    """Return the number of rows, and the number of elements in a row."""
    return (shape[0], math.prod(shape[1:])) if shape else (1, 1)


def base_of(node: Node) -> Node:
    """Return the node whose elements a reshaped node has."""
    while node.op == "reshape":
        node = node.args[0]
    return node


def is_source(node: Node) -> bool:
    """Return whether a node's elements exist before the operation."""
    return node.op in (ARRAY, NUMBER, "range", "interval")


def domain_of(node: Node) -> tuple[int, int]:
    """Return rows and columns of the loop that computes a node."""
    return rows_and_columns(node.args[0].shape if node.op in REDUCTIONS else node.shape)


def stages_of(roots: Sequence[Node]) -> tuple[list[Stage], set[int]]:
    """Return the stages that compute the roots, and the ids of nodes that need an array.

    A node needs an array if it is a root, a reduction, or an argument in another stage.
    """
    stored = {id(base_of(root)) for root in roots}
    keys: dict[int, tuple[int, int, int]] = {}
    ready: dict[int, int] = {}  # the first level that may use a node's array
    numbers: dict[int, Node] = {}
    stages: dict[tuple[int, int, int], Stage] = {}
    for node in in_order(roots):
        if is_source(node) or node.op in VIEWS:
            ready[id(node)] = 0
            continue
        domain = domain_of(node)
        arguments = [used(each) for each in node.args]
        if is_number(node) and id(node) not in stored:
            numbers[id(node)] = node
            ready[id(node)] = max(ready[id(base)] for base, _ in arguments)
            continue
        level = 0
        for base, shape in arguments:
            before, *other = keys.get(id(base), (0, 0, 0))
            in_loop = shape == domain == tuple(other) and base.op not in REDUCTIONS
            level = max(level, before if in_loop else ready[id(base)])
        keys[id(node)] = key = (level, *domain)
        ready[id(node)] = level + 1
        stored |= {
            id(base)
            for base, shape in arguments
            if id(base) in keys and (shape != domain or keys[id(base)] != key)
        }
        if node.op in REDUCTIONS:
            stored.add(id(node))
        stages.setdefault(key, Stage(*domain)).nodes.append(node)
    for stage in stages.values():
        stage.once = needed(stage.nodes, numbers)
        stored |= {id(used(each)[0]) for node in stage.once for each in node.args} & keys.keys()
    return [stages[key] for key in sorted(stages, key=lambda key: key[0])], stored


def is_number(node: Node) -> bool:
    """Return whether a node is a function of numbers."""
    return node.op not in REDUCTIONS and all(is_scalar(each) for each in (node, *node.args))


def needed(nodes: Sequence[Node], numbers: dict[int, Node]) -> list[Node]:
    """Return the numbers that nodes use, directly or indirectly, in order."""
    result: dict[int, Node] = {}
    for node in nodes:
        for argument in node.args:
            base, _ = used(argument)
            if id(base) in numbers and id(base) not in result:
                result |= {id(each): each for each in needed([base], numbers)}
                result[id(base)] = base
    return list(result.values())


def used(argument: Node) -> tuple[Node, tuple[int, int] | None]:
    """Return the node whose elements an argument has; and its rows and columns, unless a slice."""
    base = base_of(argument)
    if base.op in SLICES:
        return base_of(base.args[0]), None
    return base, rows_and_columns(argument.shape)
