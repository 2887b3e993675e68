"""Divide a graph into stages: an engine can compute each stage by one loop over rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from gpunn.expressions.graph import (
    ARRAY,
    CONTRACTED,
    JOINED,
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
    """Nodes that one loop over rows computes, in order.

    A loop may use the sum within a row, but only later stages may use a sum over all rows. `once`
    lists the nodes that are single numbers, which are computed before the loop.
    """

    rows: int
    nodes: list[Node] = field(default_factory=list)
    once: list[Node] = field(default_factory=list)

    @cached_property
    def columns(self) -> int:
        return max(rows_and_columns(domain_of(node))[1] for node in self.nodes)

    def only(self, nodes: Sequence[Node]) -> Stage:
        kept = set(map(id, nodes))
        own = ([each for each in part if id(each) in kept] for part in (self.nodes, self.once))
        return Stage(self.rows, *own)


def domain_of(node: Node, argument: Node | None = None) -> Shape:
    """Return the shape that a node's function loops over: for reductions, the argument's shape."""
    if argument is not None and node.op in (JOINED, CONTRACTED):
        return argument.shape if node.op == JOINED else (*node.shape[:1], *argument.shape[-1:])
    return node.args[0].shape if node.op in REDUCTIONS else node.shape


def rows_and_columns(shape: Shape) -> tuple[int, int]:
    return (shape[0], math.prod(shape[1:])) if shape else (1, 1)


def base_of(node: Node) -> Node:
    while node.op == "reshape":
        node = node.args[0]
    return node


MODERATE = "moderate"
"""A prefix for the names of arrays whose elements satisfy `is_moderate`."""


def is_moderate(node: Node) -> bool:
    """Return whether a node, such as sqrt(x), is so small that 1 / node cannot be subnormal."""
    x = base_of(node)
    if x.op == NUMBER:
        return bool(abs(x.data) <= 2.0**100)
    if x.op in ("add", "maximum"):
        return all(map(is_moderate, x.args))
    power = base_of(x.args[0]) if x.op == "row_sum" else x
    if power.op == "exp" and base_of(power.args[0]).op == "subtract":
        z, largest = map(base_of, base_of(power.args[0]).args)
        return largest.op == "row_maximum" and base_of(largest.args[0]) is z
    return x.op == "sqrt" or (x.op == ARRAY and str(x.data).startswith(MODERATE))


def is_source(node: Node) -> bool:
    return node.op in (ARRAY, NUMBER, "constants", "range", "interval")


def stages_of(roots: Sequence[Node], arrays: Sequence[object] = ()) -> tuple[list[Stage], set[int]]:
    # A node needs an array if it is a root or a sum of all rows, or if another stage uses it.
    # `arrays` are those that the roots are written to.
    keys: dict[int, tuple[int, int]] = {}
    ready: dict[int, int] = {}  # the first level that may read a node's array
    numbers: dict[int, Node] = {}
    stages: dict[tuple[int, int], Stage] = {}
    order = in_order(roots)
    outputs = {id(base_of(root)) for root in roots}
    for node in order:
        if is_source(node) or node.op in VIEWS:
            ready[id(node)] = 0
            continue
        if is_number(node) and id(node) not in outputs:
            numbers[id(node)] = node
            ready[id(node)] = max(ready[id(used(each))] for each in node.args)
            continue
        level = 0
        for argument in node.args:
            base = id(used(argument))
            in_loop = base in keys and is_by_rows(node, argument)
            level = max(level, keys[base][0] if in_loop else ready[base])
        rows, _ = rows_and_columns(domain_of(node))
        keys[id(node)] = level, rows
        ready[id(node)] = level + 1
    written = {id(array): keys[id(root)] for array, root in zip(arrays, roots, strict=False)}
    delay(order, keys, outputs, written)
    for node in order:
        if (key := keys.get(id(node))) is not None:
            stages.setdefault(key, Stage(key[1])).nodes.append(node)
    for stage in stages.values():
        stage.once = needed(stage.nodes, numbers)
    in_levels = [stages[key] for key in sorted(stages, key=lambda key: key[0])]
    positions = {id(node): k for k, node in enumerate(order)}
    merged = joined(in_levels, positions)
    return merged, outputs | stored_by(merged)


MOST_READ = 2
"""For more arrays, reading one array of results takes less time than computing them again later."""


def delay(
    order: Sequence[Node],
    keys: dict[int, tuple[int, int]],
    outputs: set[int],
    written: Mapping[int, tuple[int, int]],
) -> None:
    """Change `keys` so that some nodes are computed later and fewer arrays are stored.

    Such a node moves to the first loop that reads the node's results.
    """
    read: dict[int, set[int]] = {}  # by node: arrays, outputs and nodes of earlier loops
    last: dict[int, float] = {}  # by node: the last level whose loops may read these arrays
    users: dict[int, list[tuple[Node, Node]]] = {}
    for node in order:
        key, own, latest = keys.get(id(node)), set[int](), math.inf
        for argument in node.args if node.op not in VIEWS else ():
            source = used(argument)
            users.setdefault(id(source), []).append((node, argument))
            if key is not None and keys.get(id(source)) == key and id(source) not in outputs:
                own |= read[id(source)]
                latest = min(latest, last[id(source)])
            elif not is_scalar(source):
                own.add(id(source))
                latest = min(latest, written.get(id(source.data), (math.inf,))[0])
        read[id(node)], last[id(node)] = own, latest
    for node in reversed(order):
        key = keys.get(id(node))
        if key is None or id(node) in outputs or node.op in REDUCTIONS:
            continue
        after = users[id(node)]
        levels = [keys.get(id(each), (-1, -1)) for each, _ in after]
        level = min(levels)[0]
        reads_own_rows = all(rows == key[1] for _, rows in levels) and all(
            is_by_rows(each, argument) for each, argument in after
        )
        few = len(read[id(node)]) <= MOST_READ
        if reads_own_rows and few and key[0] < level <= last[id(node)]:
            keys[id(node)] = level, key[1]


def is_by_rows(node: Node, argument: Node) -> bool:
    # Return whether each row of a node depends only on the same row of an argument's elements.
    base, view, whole = used(argument), base_of(argument), domain_of(node, argument)
    rows, _ = rows_and_columns(whole)
    shapes = [argument.shape, base.shape, *(each.shape for each in view.args if view is not base)]
    if base.op == "column_sum":
        return False
    if any(rows_and_columns(shape)[0] != rows for shape in shapes):
        return False
    is_matrix = rows_and_columns(argument.shape) == rows_and_columns(whole)
    if rows == 1:  # the sum of the only row is a number, which would be computed before the loop
        return is_matrix and view is base and base.op not in REDUCTIONS
    return is_matrix or (len(argument.shape) == len(whole) and math.prod(argument.shape[1:]) == 1)


def stored_by(stages: Sequence[Stage]) -> set[int]:
    owner = {id(node): stage for stage in stages for node in stage.nodes}
    stored = {id(node) for stage in stages for node in stage.nodes if node.op == "column_sum"}
    for stage in stages:
        bases = {id(used(each)) for node in stage.nodes for each in node.args}
        stored |= {base for base in bases & owner.keys() if owner[base] is not stage}
        stored |= {id(used(each)) for node in stage.once for each in node.args} & owner.keys()
    return stored


def joined(stages: list[Stage], positions: Mapping[int, int]) -> list[Stage]:
    # Each stage depends only on earlier stages. `positions` has the positions of nodes.
    before = [dependencies(stage, stages) for stage in stages]
    above: list[set[int]] = []  # the stages that a stage depends on, directly or indirectly
    for direct in before:
        above.append(set(direct).union(*(above[k] for k in direct)))
    for later, stage in enumerate(stages):
        for earlier, other in enumerate(stages[:later]):
            between = any(earlier in above[k] for k in before[later])
            if stage.rows != other.rows or between or before[later].get(earlier):
                continue
            whole = Stage(stage.rows)
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
    for node in (*stage.nodes, *stage.once):
        for argument in node.args:
            k = owner.get(id(used(argument)))
            if k is not None and stages[k] is not stage:
                apart = node in stage.once or not is_by_rows(node, argument)
                found[k] = found.get(k, False) or apart
    return found


def is_number(node: Node) -> bool:
    return node.op not in REDUCTIONS and all(is_scalar(each) for each in (node, *node.args))


def needed(nodes: Sequence[Node], numbers: dict[int, Node]) -> list[Node]:
    result: dict[int, Node] = {}
    for node in nodes:
        for argument in node.args:
            base = used(argument)
            if id(base) in numbers and id(base) not in result:
                result |= {id(each): each for each in needed([base], numbers)}
                result[id(base)] = base
    return list(result.values())


def used(argument: Node) -> Node:
    base = base_of(argument)
    return base_of(base.args[0]) if base.op in SLICES else base
