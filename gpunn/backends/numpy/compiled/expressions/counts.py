"""Sums of weights by position, such as a histogram, which the kernel `add_at` computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gpunn.backends.numpy.compiled.expressions.steps import kind_of_input
from gpunn.backends.numpy.compiled.interface import ROW_VECTOR
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.tracing import Write
from gpunn.expressions import ARRAY, NUMBER, Node, base_of, in_order

MANY = 128
"""For fewer positions, comparing each number with all positions takes about as long."""


class Count(NamedTuple):
    """Sums of weights: sums[k] is the sum of weights_i over the rows i with positions_i = k."""

    positions: Node
    weights: Node
    sums: Node


def without_counts(writes: Sequence[Write], dtype: np.dtype) -> tuple[Sequence[Write], list[Count]]:
    order = in_order([node for _, node in writes])
    counts = {id(node): found for node in order if (found := count_of(node, dtype)) is not None}
    if not counts:
        return writes, []
    made = {key: each.sums for key, each in counts.items()}
    for node in order:
        args = tuple(made.get(id(each), each) for each in node.args)
        if id(node) not in made and args != node.args:
            made[id(node)] = Node(node.op, args, node.shape, node.kind, node.data)
    return [Write(array, made.get(id(node), node)) for array, node in writes], [*counts.values()]


def count_of(node: Node, dtype: np.dtype) -> Count | None:
    """Return a `Count` if a node sums where(positions == arange(n), weights, 0) over the rows."""
    if node.op != "column_sum" or node.shape[0] < MANY:
        return None
    terms = base_of(node.args[0])
    if terms.op != "where" or terms.args[0].op != "equal" or not is_zero(terms.args[2]):
        return None
    weights, pair, shape = terms.args[1], terms.args[0].args, terms.shape
    if shape[1:] != node.shape:
        return None
    for positions, numbers in (pair, pair[::-1]):
        kinds = {kind_of_input(each.shape, shape) for each in (positions, weights)}
        is_range = numbers.op == "range" and numbers.data == (0, *node.shape, 1)
        if is_range and kinds == {ROW_VECTOR} and is_whole(positions):
            array = np.empty(node.shape, dtype)
            return Count(positions, weights, Node(ARRAY, (), node.shape, "float", array))
    return None


def is_zero(node: Node) -> bool:
    base = base_of(node)
    return (base.args[0] if base.op == "copy" else base).is_number(0)


def is_whole(node: Node) -> bool:
    if node.op == NUMBER:
        return float(node.data).is_integer()
    if node.op in ("copy", "reshape", "columns", "maximum", "minimum"):
        return all(map(is_whole, node.args))
    return node.kind == "int" or node.op in ("floor", "round")


def additions(positions: np.ndarray, weights: np.ndarray, sums: np.ndarray) -> list[Instruction]:
    read, sizes = [positions, weights, sums], (1, weights.size)
    return [
        Instruction("fill", [sums, sums.size, 0.0], [], [sums]),
        Instruction("add_at", [positions, weights, *sizes, sums, sums.size], read, [sums]),
    ]
