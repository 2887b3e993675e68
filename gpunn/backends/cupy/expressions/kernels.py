"""Divide the graph of an operation into kernels."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import compress
from typing import TypeAlias

import cupy
import numpy as np

from gpunn.backends.cupy.expressions.columns import ColumnKernel
from gpunn.backends.cupy.expressions.rows import RowKernel
from gpunn.backends.cupy.expressions.statements import Overwritten, rows_of
from gpunn.backends.tracing import Write
from gpunn.expressions import ARRAY, REDUCTIONS, Node, base_of, in_order, substituted
from gpunn.expressions.graph import Graph, is_scalar
from gpunn.typing import Array, Shape

Kernel: TypeAlias = RowKernel | ColumnKernel


def kernels_of(name: str, writes: Sequence[Write], dtype: np.dtype) -> list[Kernel]:
    """Return the kernels that compute traced results, in launch order."""
    try:
        return kernels_in_place(name, writes, dtype)
    except Overwritten:  # use temporary arrays: a kernel would overwrite elements still to be read
        apart = [Write(cupy.empty(array.shape, dtype), node) for array, node in writes]
        copies = [
            Write(to, node_of_array(each.array))
            for (to, _), each in zip(writes, apart, strict=True)
        ]
        return [*kernels_in_place(name, apart, dtype), *row_kernels(name, copies, dtype)]


def kernels_in_place(name: str, writes: Sequence[Write], dtype: np.dtype) -> list[Kernel]:
    """Return kernels that write each result directly to its array.

    The first kernels compute results that need no sum over rows. Then, one kernel for each shape
    sums the matrices of this shape over rows. The last kernels compute results from the sums.
    """
    nodes = in_order([node for _, node in writes])
    rows = rows_of([array.shape for array, _ in writes], nodes)
    sums = [each for each in nodes if each.op == "column_sum"]
    # The kernel that computes vectors, such as column sums, can also sum their elements.
    sums += totals_for(
        nodes, rows, lambda each: each.shape[:1] == (rows,) if sums else not is_scalar(each)
    )
    if not sums:
        return row_kernels(name, writes, dtype)
    late = dependent_ids(nodes, sums)
    reduced = dependent_ids(nodes, [each for each in nodes if each.op in REDUCTIONS])
    now = [each for each in writes if id(each.node) not in late]
    groups: dict[Shape, list[Write]] = defaultdict(list)
    results: dict[int, Array] = {}
    for each in sums:
        (summed,) = each.args
        if id(summed) in late:
            continue
        if each.op == "row_sum":
            now.append(Write(cupy.empty(each.shape, dtype), each))
            results[id(each)] = now[-1].array
            continue
        outs = [array for array, node in writes if base_of(node) is each]
        results[id(each)] = out = outs[0] if outs else cupy.empty(each.shape, dtype)
        if id(summed) in reduced:
            now.append(Write(cupy.empty(summed.shape, dtype), summed))
            summed = node_of_array(now[-1].array)
        groups[summed.shape].append(Write(out, summed))
    kernels = list[Kernel]()
    for shape, group in groups.items():
        size = math.prod(shape)
        joined = [w.array.size == size and id(w.node) not in reduced for w in now]
        kernels.append(ColumnKernel(name, list(compress(now, joined)), group, dtype))
        now = [each for each, is_joined in zip(now, joined, strict=True) if not is_joined]
    kernels = [*row_kernels(name, now, dtype), *kernels]
    done = {id(array) for array in results.values()}
    rest = [each for each in writes if id(each.node) in late and id(each.array) not in done]
    changed = {id(each.array) for each in writes} - {id(each.array) for each in rest}
    if any(each.op == ARRAY and id(each.data) in changed for each in nodes):
        raise Overwritten("an array changes before the last kernel reads it")
    if rest:
        made = {id(each): node_of_array(results[id(each)]) for each in sums if id(each) in results}
        again = substituted(Graph(exact=True), [node for _, node in rest], made)
        kernels += kernels_in_place(
            name, list(map(Write, [each.array for each in rest], again)), dtype
        )
    return kernels


def totals_for(nodes: Sequence[Node], rows: int, reads: Callable[[Node], bool]) -> list[Node]:
    """Return the totals that affect at least one node for which `reads(node)` is true.

    A total is a sum over rows and columns.
    """
    totals = [each for each in nodes if each.op == "row_sum" and each.args[0].shape[0] == 1 < rows]
    used = dependent_ids(nodes, totals)
    needed = set(map(id, in_order([each for each in nodes if id(each) in used and reads(each)])))
    return [each for each in totals if id(each) in needed]


def row_kernels(name: str, writes: Sequence[Write], dtype: np.dtype) -> list[Kernel]:
    groups: dict[int, list[Write]] = defaultdict(list)
    for write in sorted(writes, key=lambda each: each.array.size == 1):
        rows = rows_of([write.array.shape], in_order([write.node]))
        if write.array.size == 1 and rows not in groups:
            rows = next(iter(groups), rows)
        groups[rows].append(write)
    changed = set[int]()
    for group in groups.values():
        if any(id(each.data) in changed for each in in_order([node for _, node in group])):
            raise Overwritten("an array changes before the last kernel reads it")
        changed |= {id(array) for array, _ in group}
    return [RowKernel(name, group, dtype) for group in groups.values()]


def node_of_array(array: Array) -> Node:
    return Node(ARRAY, (), array.shape, "float", array)


def dependent_ids(nodes: Sequence[Node], on: Sequence[Node]) -> set[int]:
    result = set(map(id, on))
    for node in nodes:
        if any(id(each) in result for each in node.args):
            result.add(id(node))
    return result
