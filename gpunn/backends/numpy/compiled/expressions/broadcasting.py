"""Rewrite nodes whose arguments can't be broadcast by a loop over rows and columns."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from gpunn.backends.numpy.compiled.expressions.contractions import (
    contraction,
    contraction_of,
    merged,
    padded_shape,
    reshaped,
    steps_of,
)
from gpunn.backends.numpy.compiled.expressions.steps import ONE, kind_of_input
from gpunn.backends.numpy.compiled.interface import ROW_VECTOR
from gpunn.expressions import (
    NUMBER,
    REDUCTIONS,
    Node,
    Untraceable,
    base_of,
    exact_nodes,
    in_order,
    is_source,
)
from gpunn.expressions.graph import JOINED, VIEWS
from gpunn.expressions.stages import domain_of, is_moderate
from gpunn.typing import Shape

MANY = 8
"""Dividing rows with fewer columns takes less time than computing inverses."""


def with_broadcasts(nodes: Sequence[Node]) -> list[Node]:
    """Rewrite nodes so that loops can broadcast the nodes' arguments.

    If a loop cannot repeat an argument along some axes, another step repeats the argument. Instead
    of dividing a row by one number, the loop multiplies the row by the reciprocal, which is faster.
    Rows are still divided if the reciprocal may be subnormal, or if a discontinuous function needs
    exact quotients.
    """
    made: dict[int, Node] = {}
    inverses: dict[int, Node] = {}
    order = in_order(nodes)
    exact = exact_nodes(order)
    groups = {domain_of(each)[0] for each in order if each.op in REDUCTIONS}
    for node in order:
        args = tuple(made.get(id(each), each) for each in node.args)
        if parts := parts_of(node, node.shape[0], 0, node.shape[-1]) if is_wider(node) else ():
            sources = tuple(made.get(id(each), each) for each, _ in parts)
            starts = tuple(start for _, start in parts)
            made[id(node)] = Node(JOINED, sources, node.shape, node.kind, starts)
            continue
        if (contraction := contraction_of(node, made)) is not None:
            made[id(node)] = contraction
            continue
        new = node
        if is_elementwise(node) and is_grouped(args, node.shape, groups):
            flat = math.prod(node.shape[:-1]), node.shape[-1]
            args = tuple(flat_argument(each, node.shape, flat) for each in args)
            new = Node(node.op, args, flat, node.kind, node.data)
        if is_elementwise(new):
            args = tuple(expanded(each, new.shape) for each in args)
        if id(node) not in exact and is_by_rows(new, args):
            x = base_of(args[1])
            inverse = inverses.setdefault(id(x), Node("divide", (ONE, x), x.shape, "float"))
            factors = args[0], reshaped(inverse, args[1].shape)
            new = Node("multiply", factors, new.shape, "float")
        elif any(each is not before for each, before in zip(args, new.args, strict=True)):
            new = Node(node.op, args, node.shape, node.kind, node.data)
        if new is not node:
            made[id(node)] = reshaped(new, node.shape)
    return [made.get(id(node), node) for node in nodes]


def is_elementwise(node: Node) -> bool:
    return not is_source(node) and node.op not in (*REDUCTIONS, *VIEWS)


def is_wider(node: Node) -> bool:
    is_choice = node.op == "where" and node.args[0].op == "interval"
    return len(node.shape) == 2 and (is_choice or node.op == "placed")


def parts_of(node: Node, rows: int, first: int, end: int) -> list[tuple[Node, int]]:
    """Return the arrays that, side by side, make up a node's columns `first` to `end - 1`.

    The result is a list of (array, start column). If no such arrays are found, the list is empty.
    """
    if node.op == NUMBER:
        return [(Node("copy", (node,), (rows, end - first), "float"), first)]
    if node.op == "placed":
        (source,), start = node.args[0].args, node.data
        whole = first <= start and start + source.shape[1] <= end
        return [(source, start)] if whole else []
    if not is_wider(node):
        return [(node, first)] if node.shape[1:] == (1,) and end - first == 1 else []
    (start, stop), found = node.args[0].data, list[tuple[Node, int]]()
    ranges = (first, min(end, start)), (max(first, start), min(end, stop)), (max(first, stop), end)
    for each, columns in zip((2, 1, 2), ranges, strict=True):
        if columns[0] < columns[1]:
            parts = parts_of(node.args[each], rows, *columns)
            if not parts:
                return []
            found += parts
    return found


def is_by_rows(node: Node, args: Sequence[Node]) -> bool:
    """Return whether multiplications by reciprocals should replace the divisions in `node`.

    Such a node divides each row by one number.
    """
    # The reciprocal of a huge number would be subnormal, thus 0.
    many = node.op == "divide" and node.shape[-1:] >= (MANY,)
    is_number = many and kind_of_input(args[1].shape, node.shape) == ROW_VECTOR
    return is_number and is_moderate(args[1])


def fits(argument: Node, shape: Shape) -> bool:
    try:
        kind_of_input(argument.shape, shape)
    except Untraceable:
        return False
    return True


def is_grouped(args: Sequence[Node], shape: Shape, groups: Collection[int]) -> bool:
    if len(shape) < 3 or math.prod(shape[:-1]) not in groups:
        return False
    wholes = (padded_shape(each, shape) for each in args)
    return all(each[:-1] == shape[:-1] or math.prod(each[:-1]) == 1 for each in wholes)


def flat_argument(argument: Node, shape: Shape, flat: Shape) -> Node:
    if math.prod(argument.shape) == 1:
        return argument
    whole = padded_shape(argument, shape)
    rows = flat[:1] if whole[:-1] == shape[:-1] else ()
    return reshaped(argument, (*rows, whole[-1]))


def expanded(argument: Node, shape: Shape) -> Node:
    """Repeat an argument along some axes, so that a loop can broadcast the result to `shape`."""
    if fits(argument, shape):
        return argument
    rows, *columns = padded_shape(argument, shape)
    if rows < shape[0]:
        row = expanded(reshaped(argument, tuple(columns)), shape[1:])
        return Node("copy", (row,), shape[1:], argument.kind)
    steps = steps_of((rows, *columns))[1:]
    axes = merged((count, step, 0) for count, step in zip(shape[1:], steps, strict=True))
    args = reshaped(argument, (rows, math.prod(columns))), ONE
    return reshaped(contraction(args, rows, axes, (1, 0, 0)), shape)
