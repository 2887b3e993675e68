"""Running totals, such as the sum of the losses, which the kernel `sum_up` computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.tracing import Write
from gpunn.expressions import ARRAY, Node, base_of


class Total(NamedTuple):
    """An addition: total = total + sum(weights * values). The weights default to 1."""

    values: np.ndarray
    weights: np.ndarray | None
    total: np.ndarray


def without_totals(
    writes: Sequence[Write], dtype: np.dtype, given: Mapping[Node, np.ndarray]
) -> tuple[list[Write], list[Total]]:
    changed = [write.array for write in writes]
    others, totals = list[Write](), list[Total]()
    for write in writes:
        terms = terms_of(write, given)
        if terms is None:
            others.append(write)
            continue
        node, weights = factors_of(terms, changed, given)
        values = np.empty(node.shape, dtype)
        others.append(Write(values, node))
        totals.append(Total(values, weights, write.array))
    return others, totals


def addition(values: np.ndarray, weights: np.ndarray | None, total: np.ndarray) -> Instruction:
    read = [values, total, *([] if weights is None else [weights])]
    return Instruction("sum_up", [values, weights, values.size, total, 1], read, [total])


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
    """Return (x, w) if the terms are a product w x with an array w, else (terms, None)."""
    if terms.op == "multiply":
        for weights, values in (terms.args, terms.args[::-1]):
            is_array = weights.op == ARRAY and weights.kind == "float"
            array = given.get(weights, weights.data)
            is_kept = not any(array is each for each in changed)
            if is_array and is_kept and weights.shape == values.shape:
                return values, array
    return terms, None
