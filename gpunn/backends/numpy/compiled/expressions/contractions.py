"""Sums over an axis in the middle, and sums of products, such as products of rows' matrices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from gpunn.backends.numpy.compiled.expressions.steps import ONE
from gpunn.expressions import Node, Untraceable, base_of
from gpunn.expressions.graph import CONTRACTED, JOINED, SLICES
from gpunn.typing import Shape

MOST_KEPT = 3
"""Maximum number of axes of a row's result, which the kernel `expression` supports."""

Axis: TypeAlias = tuple[int, ...]
"""The length of an axis, and for each factor, the distance of adjacent numbers along the axis."""


def contraction_of(node: Node, made: Mapping[int, Node]) -> Node | None:
    """Return a single node to replace the sum `node`, including any products in the sum.

    None means that `node` is not replaced. `made` maps the id of a node to the node's replacement.
    """
    if node.op == "row_sum":
        whole, inner = node.args[0], 1
    elif (found := whole_of_parts(node)) is not None:
        whole, inner = found, math.prod(node.shape) // found.shape[0]
    else:
        return None
    (rows, columns), product = whole.shape, base_of(whole)
    result = None
    if product.op == "multiply" and product.shape[0] > 1:
        factors = (made.get(id(each), each) for each in product.args)
        result = sum_of_products(factors, product.shape, inner, columns)
    if result is None and inner > 1:
        args = made.get(id(whole), whole), ONE
        result = contraction(args, rows, [(inner, 1, 0)], (columns // inner, inner, 0))
    return None if result is None else reshaped(result, node.shape)


def sum_of_products(args: Iterable[Node], shape: Shape, inner: int, outer: int) -> Node | None:
    # The sum is over the axes between those that have `inner` and `outer` numbers.
    factors = [strided(each, shape) for each in args]
    (rows, *row), *axes = zip(shape, *(steps for _, steps in factors), strict=True)
    is_summed = [inner <= unit < outer for unit in units_of(shape)[1:]]
    kept = merged(axis for axis, summed in zip(axes, is_summed, strict=True) if not summed)
    summed = merged(axis for axis, summed in zip(axes, is_summed, strict=True) if summed)
    # A chain multiplies rows by numbers, or by one row, in less time.
    is_matrix = any(row[k] and not all(axis[k + 1] for axis in kept) for k in (0, 1))
    if len(kept) > MOST_KEPT or len(summed) != 1 or (inner == 1 and not is_matrix):
        return None
    matrices = []
    for (source, _), columns in zip(factors, row, strict=True):
        if columns * rows not in (0, size := math.prod(source.shape)):
            return None
        matrices.append(reshaped(source, (rows, columns) if columns else (size,)))
    return contraction(matrices, rows, kept, summed[0])


def contraction(args: Sequence[Node], rows: int, kept: Sequence[Axis], summed: Axis) -> Node:
    if len(kept) > MOST_KEPT:
        raise Untraceable("broadcasting along so many axes is not supported")
    axes = [(1, 0, 0)] * (MOST_KEPT - len(kept)) + [*kept, summed]
    columns = math.prod(count for count, *_ in kept)
    return Node(CONTRACTED, tuple(args), (rows, columns), "float", tuple(axes))


def strided(node: Node, shape: Shape) -> tuple[Node, list[int]]:
    """Return (source, strides) such that source.flat[i @ strides] is node[i].

    The vector i is an index into the node after broadcasting to `shape`.
    """
    steps = steps_of(padded_shape(node, shape))
    while (base := base_of(node)).op in ("copy", JOINED):
        source, outer = base.args[0], base.shape
        own = padded_shape(source, outer)
        if base.op == JOINED:
            starts = tuple(range(0, outer[1], source.shape[1]))
            if base.data != starts or any(each is not source for each in base.args):
                break
            outer, own = (outer[0], len(starts), own[1]), (outer[0], 1, own[1])
        units, inner, moved = units_of(outer), steps_of(own), []
        for count, step in zip(shape, steps, strict=True):
            k = next((k for k, unit in enumerate(units) if unit <= step), 0)
            if step % units[k] or count * step > units[k] * outer[k]:
                return node, steps
            moved.append(inner[k] * (step // units[k]))
        if source.kind != "float" or base_of(source).op in SLICES:
            break
        node, steps = source, moved
    return node, steps


def units_of(shape: Shape) -> list[int]:
    return [math.prod(shape[k:]) for k in range(1, len(shape) + 1)]


def steps_of(shape: Shape) -> list[int]:
    return [unit if n > 1 else 0 for unit, n in zip(units_of(shape), shape, strict=True)]


def merged(axes: Iterable[Axis]) -> list[Axis]:
    result = list[Axis]()
    for count, *steps in axes:
        if result and list(result[-1][1:]) == [count * step for step in steps]:
            result[-1] = (result[-1][0] * count, *steps)
        elif count > 1:
            result.append((count, *steps))
    return result


def whole_of_parts(node: Node) -> Node | None:
    """Return x if a node adds all slices of n columns of x: x[:, :n] + x[:, n:2*n] + ...

    For any other node, return None.
    """
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
    """Remove outer reshapes from a node. If the result copies a column slice, return the slice."""
    base = base_of(node)
    is_copy = base.op == "copy" and base.args[0].op == "columns"
    return base.args[0] if is_copy and base.shape == base.args[0].shape else base


def padded_shape(argument: Node, shape: Shape) -> Shape:
    return (1,) * (len(shape) - len(argument.shape)) + argument.shape


def reshaped(node: Node, shape: Shape) -> Node:
    if node.shape == shape:
        return node
    base = base_of(node)
    if base.op in SLICES and shape[:1] != base.shape[:1]:  # their rows are not adjacent
        base = Node("copy", (base,), base.shape, base.kind)
    return base if base.shape == shape else Node("reshape", (base,), shape, node.kind)
