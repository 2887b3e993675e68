"""Fill, add and gather arrays, and count updates and passes."""

from __future__ import annotations

import numpy as np

from gpunn.backends.numpy.compiled.lowerings.base import Lowerings, Steps, same_kind
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.numpy.memory import contiguous
from gpunn.backends.recording import Arguments

__all__ = ["Bookkeeping"]


class Bookkeeping(Lowerings):
    """Fill, add and gather arrays, and count updates and passes."""

    def fill(self, ask: Arguments) -> Steps:
        out = ask.out
        if not same_kind(out):
            return None
        return [Instruction("fill", [out, out.size, float(ask.value)], writes=[out])]

    def take(self, ask: Arguments) -> Steps:
        if not same_kind(ask.table, ask.out) or not contiguous(ask.index):
            return None
        read = [ask.table, ask.index, np.zeros(1, np.int64)]
        return [Instruction("gather", [*read, ask.out, 1, ask.out.nbytes], read, [ask.out])]

    def accumulate(self, ask: Arguments) -> Steps:
        values, out = ask.values, ask.out
        if not same_kind(values, out) or values.shape != out.shape:
            return None
        return [Instruction("add", [values, out, out.size], [values, out], [out])]

    def gather_rows(self, ask: Arguments) -> Steps:
        out, read = ask.out, [ask.source, ask.order, ask.start]
        if not contiguous(ask.source, out) or not contiguous(*read[1:]) or not out.size:
            return None
        rows = out.shape[0]
        return [Instruction("gather", [*read, out, rows, out.nbytes // rows], read, [out], [out])]

    def sum(self, ask: Arguments) -> Steps:
        values, out = ask.values, ask.out
        if not same_kind(values, out):
            return None
        return [Instruction("sum_up", [values, None, values.size, out, 0], [values], [out])]

    def count_pass(self, ask: Arguments) -> Steps:
        changed = [ask.start, ask.passes]
        return [Instruction("count_pass", [ask.start, ask.rows, ask.passes], changed, changed)]

    def count_update(self, ask: Arguments) -> Steps:
        rates, position, rate, updates, weight, loss_sum, weight_sum, finite_steps = ask.counters
        if not same_kind(rates, rate, weight, loss_sum, weight_sum, finite_steps):
            return None
        changed = [position, rate, updates, weight_sum, finite_steps]
        return [Instruction("count_update", ask.counters, ask.counters, changed, early=True)]
