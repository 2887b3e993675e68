"""Rewrite nodes whose arguments can't be broadcast by a loop over rows and columns."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

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
from gpunn.expressions.graph import JOINED, MOST_JOINED, PART_SUM, SLICES, VIEWS
from gpunn.expressions.stages import domain_of, is_moderate
from gpunn.typing import Shape

MANY = 8
"""Dividing rows with fewer columns takes less time than computing inverses."""


def with_broadcasts(nodes: Sequence[Node]) -> list[Node]:
    """Rewrite nodes so that loops can broadcast their arguments.

    If the loop cannot repeat an argument along some axes, the argument is copied, or all axes
    except the last become rows. If one number divides each row, the row is multiplied by the
    number's reciprocal, which is faster. Rows are still divided if the reciprocal may be subnormal,
    or if a discontinuous function needs exact quotients.
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
        if (whole := whole_of_parts(node)) is not None:
            shape = whole.shape[0], math.prod(node.shape) // whole.shape[0]
            part = Node(PART_SUM, (made.get(id(whole), whole),), shape, "float")
            made[id(node)] = reshaped(part, node.shape)
            continue
        new = node
        if is_elementwise(node) and is_grouped(args, node.shape, groups):
            flat = math.prod(node.shape[:-1]), node.shape[-1]
            args = tuple(flat_argument(each, node.shape, flat) for each in args)
            new = Node(node.op, args, flat, node.kind, node.data)
        if is_elementwise(new) and not all(fits(each, new.shape) for each in args):
            new = rewritten(new, args)
        elif id(node) not in exact and is_by_rows(new, args):
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
    """Return the arrays that fill a range of columns side by side, each with its first column."""
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


def whole_of_parts(node: Node) -> Node | None:
    """Return x if a node adds all parts of each row of x, from first to last, else None."""
    parts, size = list[Node](), math.prod(node.shape)
    while node.op == "add" and part_in(node.args[1]).op == "columns":
        node, last = map(part_in, node.args)
        parts.append(last)
    if not parts or node.op != "columns":
        return None
    (whole,), parts = node.args, [node, *reversed(parts)]
    width, columns = whole.shape[1], whole.shape[1] // len(parts)
    ranges = [(first, first + columns) for first in range(0, width, columns or 1)]
    is_sum = columns > 1 and [each.data for each in parts] == ranges
    is_sum = is_sum and size == whole.shape[0] * columns  # not a + b for all pairs of a and b
    return whole if is_sum and all(each.args[0] is whole for each in parts) else None


def part_in(node: Node) -> Node:
    """Return the node, or the slice of columns that the node copies or reshapes."""
    base = base_of(node)
    is_copy = base.op == "copy" and base.args[0].op == "columns"
    return base.args[0] if is_copy and base.shape == base.args[0].shape else base


def is_by_rows(node: Node, args: Sequence[Node]) -> bool:
    """Return whether to multiply each row by the reciprocal of the row's divisor."""
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


def padded_shape(argument: Node, shape: Shape) -> Shape:
    return (1,) * (len(shape) - len(argument.shape)) + argument.shape


def reshaped(node: Node, shape: Shape) -> Node:
    if node.shape == shape:
        return node
    base = base_of(node)
    if base.op in SLICES and shape[:1] != base.shape[:1]:  # their rows are not adjacent
        base = Node("copy", (base,), base.shape, base.kind)
    return base if base.shape == shape else Node("reshape", (base,), shape, node.kind)


def rewritten(node: Node, args: Sequence[Node]) -> Node:
    shape, last = node.shape, node.shape[-1]
    args = [each if fits(each, shape) else repeated(each, shape) or each for each in args]
    if all(fits(each, shape) or padded_shape(each, shape)[0] == 1 for each in args):
        args = [each if fits(each, shape) else broadcast_copy(each, shape[1:]) for each in args]
        return Node(node.op, tuple(args), shape, node.kind, node.data)
    flat, given = (math.prod(shape[:-1]), last), list[Node]()
    for each in args:
        whole = padded_shape(each, shape)
        if whole[:-1] != shape[:-1] and math.prod(whole[:-1]) > 1:
            each = broadcast_copy(each, (*shape[:-1], whole[-1]))
            whole = each.shape
        given.append(flat_argument(each, shape, flat))
    return reshaped(Node(node.op, tuple(given), flat, node.kind, node.data), shape)


def repeated(argument: Node, shape: Shape) -> Node | None:
    """Repeat an argument along its axes of length 1 by concatenating copies, or return None."""
    whole = padded_shape(argument, shape)
    axis = next(k for k, n in enumerate(shape) if whole[k] != n)
    end = next((k for k in range(axis, len(shape)) if whole[k] != 1), len(shape))
    counts, columns = [n for n in shape[axis:end] if n > 1], math.prod(shape[end:])
    rows, is_tail = math.prod(shape[:axis]), whole[end:] == shape[end:]
    if rows == 1 or columns == 1 or not is_tail or max(counts) > MOST_JOINED:
        return None
    result = reshaped(argument, (rows, columns))
    for count in reversed(counts):
        starts = tuple(range(0, count * columns, columns))
        columns *= count
        result = Node(JOINED, (result,) * count, (rows, columns), argument.kind, starts)
    return reshaped(result, shape)


def broadcast_copy(argument: Node, shape: Shape) -> Node:
    if not fits(argument, shape) and (copy := repeated(argument, shape)) is not None:
        return copy
    whole = padded_shape(argument, shape)
    argument = reshaped(argument, whole[len(whole) - len(shape) :])
    copy = Node("copy", (argument,), shape, argument.kind)
    if not fits(argument, shape) and padded_shape(argument, shape)[0] == 1:
        return Node("copy", (broadcast_copy(argument, shape[1:]),), shape, argument.kind)
    return copy
