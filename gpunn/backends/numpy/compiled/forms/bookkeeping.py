"""Filling, adding and gathering arrays, and what a step counts."""

from __future__ import annotations

import numpy as np

from gpunn.backends.numpy.compiled.forms.base import Forms, Steps, same_kind
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.numpy.memory import contiguous
from gpunn.backends.operations import UpdateCounters
from gpunn.typing import Array

__all__ = ["Bookkeeping"]


class Bookkeeping(Forms):
    """Filling, adding and gathering arrays, and what a step counts."""

    def fill(self, out: Array, value: float) -> Steps:
        if not same_kind(out):
            return None
        return [Instruction("fill", [out, out.size, float(value)], writes=[out])]

    def take(self, table: Array, index: Array, out: Array) -> Steps:
        if not same_kind(table, out) or not contiguous(index):
            return None
        first = np.zeros(1, np.int64)
        args = [table, index, first, out, 1, out.nbytes]
        return [Instruction("gather", args, [table, index, first], [out])]

    def accumulate(self, values: Array, out: Array) -> Steps:
        if not same_kind(values, out) or values.shape != out.shape:
            return None
        return [Instruction("add", [values, out, out.size], [values, out], [out])]

    def gather_rows(self, source: Array, order: Array, start: Array, out: Array) -> Steps:
        if not contiguous(source, out) or not contiguous(order, start) or not out.size:
            return None
        row_bytes = out.nbytes // out.shape[0]
        args = [source, order, start, out, out.shape[0], row_bytes]
        return [Instruction("gather", args, [source, order, start], [out], [out])]

    def sum(self, values: Array, out: Array) -> Steps:
        if not same_kind(values, out):
            return None
        return [Instruction("sum_up", [values, None, values.size, out, 0], [values], [out])]

    def count_pass(self, start: Array, rows: int, passes: Array) -> Steps:
        changed = [start, passes]
        return [Instruction("count_pass", [start, rows, passes], changed, changed)]

    def count_update(self, counters: UpdateCounters) -> Steps:
        rates, position, rate, updates, weight, loss_sum, weight_sum, finite_steps = counters
        if not same_kind(rates, rate, weight, loss_sum, weight_sum, finite_steps):
            return None
        changed = [position, rate, updates, weight_sum, finite_steps]
        return [Instruction("count_update", counters, counters, changed, early=True)]
