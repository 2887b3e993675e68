"""Running totals, such as a batch's loss, which the kernel `sum_up` computes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.tracing import Write
from gpunn.expressions import ARRAY, Node, base_of


def without_totals(
    writes: Sequence[Write], dtype: np.dtype, given: Mapping[Node, np.ndarray]
) -> tuple[list[Write], list[Instruction]]:
    """Return all writes except totals, and instructions that add to the totals.

    `given` maps nodes to arrays, which replace the nodes' own arrays or names.
    """
    changed = [write.array for write in writes]
    others, instructions = list[Write](), list[Instruction]()
    for write in writes:
        terms = terms_of(write, given)
        if terms is None:
            others.append(write)
            continue
        values, weights = factors_of(terms, changed, given)
        numbers = np.empty(math.prod(values.shape), dtype)
        others.append(Write(numbers.reshape(values.shape), values))
        read = [numbers, write.array, *([] if weights is None else [weights])]
        args = [numbers, weights, numbers.size, write.array, 1]
        instructions.append(Instruction("sum_up", args, read, [write.array]))
    return others, instructions


def terms_of(write: Write, given: Mapping[Node, np.ndarray]) -> Node | None:
    """Return x if a write sets total = total + sum(x), else None."""
    total = base_of(write.node)
    if total.op != "add" or write.array.size != 1:
        return None
    for one, other in (total.args, total.args[::-1]):
        before, added = base_of(one), base_of(other)
        is_total = before.op == ARRAY and given.get(before, before.data) is write.array
        if is_total and added.op == "row_sum" and added.shape == (1,):
            return base_of(added.args[0])
    return None


def factors_of(
    terms: Node, changed: Sequence[np.ndarray], given: Mapping[Node, np.ndarray]
) -> tuple[Node, np.ndarray | None]:
    """If the terms are values times an array of weights, return both, else the terms and None."""
    if terms.op == "multiply":
        for weights, values in (terms.args, terms.args[::-1]):
            is_array = weights.op == ARRAY and weights.kind == "float"
            array = given.get(weights, weights.data)
            is_kept = not any(array is each for each in changed)
            if is_array and is_kept and weights.shape == values.shape:
                return values, array
    return terms, None
