"""Divide a graph into stages: loops over arrays of one shape, each of which an engine can fuse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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


@dataclass
class Stage:
    """Nodes that one loop over rows and columns computes, in order.

    A reduction belongs to the stage of its argument; only later stages use its result. `once`
    contains the nodes of numbers, which are computed before the loop.
    """

    rows: int
    columns: int
    nodes: list[Node] = field(default_factory=list)
    once: list[Node] = field(default_factory=list)


def rows_and_columns(shape: Shape) -> tuple[int, int]:
    """Return the number of rows, and the number of elements in a row."""
    return (shape[0], math.prod(shape[1:])) if shape else (1, 1)


def base_of(node: Node) -> Node:
    while node.op == "reshape":
        node = node.args[0]
    return node


def is_source(node: Node) -> bool:
    """Return whether a node is not computed from other nodes: an array, a number or a range."""
    return node.op in (ARRAY, NUMBER, "range", "interval")


def stages_of(roots: Sequence[Node]) -> tuple[list[Stage], set[int]]:
    # A node needs an array if it is a root or a reduction, or if another stage uses it.
    keys: dict[int, tuple[int, int, int]] = {}
    ready: dict[int, int] = {}  # the first level that may use a node's array
    numbers: dict[int, Node] = {}
    stages: dict[tuple[int, int, int], Stage] = {}
    order = in_order(roots)
    outputs = {id(base_of(root)) for root in roots}
    for node in order:
        if is_source(node) or node.op in VIEWS:
            ready[id(node)] = 0
            continue
        domain = rows_and_columns(node.args[0].shape if node.op in REDUCTIONS else node.shape)
        arguments = [used(each) for each in node.args]
        if is_number(node) and id(node) not in outputs:
            numbers[id(node)] = node
            ready[id(node)] = max(ready[id(base)] for base, _ in arguments)
            continue
        level = 0
        for base, shape in arguments:
            before = keys.get(id(base), (0,))[0]
            in_loop = id(base) in keys and is_in_loop(base, shape, domain, keys[id(base)][1:])
            level = max(level, before if in_loop else ready[id(base)])
        keys[id(node)] = key = (level, *domain)
        ready[id(node)] = level + 1
        stages.setdefault(key, Stage(*domain)).nodes.append(node)
    for stage in stages.values():
        stage.once = needed(stage.nodes, numbers)
    in_levels = [stages[key] for key in sorted(stages, key=lambda key: key[0])]
    positions = {id(node): k for k, node in enumerate(order)}
    merged = joined(in_levels, positions)
    return merged, outputs | stored_by(merged)


def is_in_loop(
    base: Node, shape: tuple[int, int] | None, domain: tuple[int, int], own: tuple[int, ...]
) -> bool:
    return shape == domain == own and base.op not in REDUCTIONS


def stored_by(stages: Sequence[Stage]) -> set[int]:
    owner = {id(node): stage for stage in stages for node in stage.nodes}
    stored = {id(node) for stage in stages for node in stage.nodes if node.op in REDUCTIONS}
    for stage in stages:
        domain = stage.rows, stage.columns
        stored |= {
            id(base)
            for node in stage.nodes
            for base, shape in map(used, node.args)
            if id(base) in owner and (shape != domain or owner[id(base)] is not stage)
        }
        stored |= {id(used(each)[0]) for node in stage.once for each in node.args} & owner.keys()
    return stored


def joined(stages: list[Stage], positions: Mapping[int, int]) -> list[Stage]:
    # Each stage depends only on earlier stages. `positions` has the positions of nodes.
    before = [dependencies(stage, stages) for stage in stages]
    above: list[set[int]] = []  # the stages that a stage depends on, directly or indirectly
    for direct in before:
        above.append(set(direct).union(*(above[k] for k in direct)))
    for later, stage in enumerate(stages):
        for earlier, other in enumerate(stages[:later]):
            one_domain = (stage.rows, stage.columns) == (other.rows, other.columns)
            between = any(earlier in above[k] for k in before[later])
            if not one_domain or between or before[later].get(earlier):
                continue
            whole = Stage(stage.rows, stage.columns)
            for each in (other, stage):
                whole.nodes += each.nodes
                whole.once += [node for node in each.once if node not in whole.once]
            whole.nodes.sort(key=lambda node: positions[id(node)])
            whole.once.sort(key=lambda node: positions[id(node)])
            middle = range(earlier + 1, later)
            first = [stages[k] for k in middle if earlier not in above[k]]
            after = [stages[k] for k in middle if earlier in above[k]]
            stages[earlier : later + 1] = [*first, whole, *after]
            return joined(stages, positions)
    return stages


def dependencies(stage: Stage, stages: Sequence[Stage]) -> dict[int, bool]:
    owner = {id(node): k for k, each in enumerate(stages) for node in each.nodes}
    found: dict[int, bool] = {}
    domain = stage.rows, stage.columns
    for node in (*stage.nodes, *stage.once):
        for base, shape in map(used, node.args):
            k = owner.get(id(base))
            if k is None or stages[k] is stage:
                continue
            own = stages[k].rows, stages[k].columns
            apart = node in stage.once or not is_in_loop(base, shape, domain, own)
            found[k] = found.get(k, False) or apart
    return found


def is_number(node: Node) -> bool:
    return node.op not in REDUCTIONS and all(is_scalar(each) for each in (node, *node.args))


def needed(nodes: Sequence[Node], numbers: dict[int, Node]) -> list[Node]:
    result: dict[int, Node] = {}
    for node in nodes:
        for argument in node.args:
            base, _ = used(argument)
            if id(base) in numbers and id(base) not in result:
                result |= {id(each): each for each in needed([base], numbers)}
                result[id(base)] = base
    return list(result.values())


def used(argument: Node) -> tuple[Node, tuple[int, int] | None]:
    # A slice has no rows and columns of its own here.
    base = base_of(argument)
    if base.op in SLICES:
        return base_of(base.args[0]), None
    return base, rows_and_columns(argument.shape)
