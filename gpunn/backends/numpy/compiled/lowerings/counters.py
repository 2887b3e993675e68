"""Instructions that fill arrays, add arrays, gather rows, and count updates and passes."""

import numpy as np

from gpunn.backends.numpy.compiled.conflicts import address
from gpunn.backends.numpy.compiled.lowerings.base import Lowerings, Steps, same_kind
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.numpy.memory import contiguous
from gpunn.backends.recording import Arguments


class Counters(Lowerings):
    def fill(self, op: Arguments) -> Steps:
        out = op.out
        if not same_kind(out):
            return None
        return [Instruction("fill", [out, out.size, float(op.value)], writes=[out])]

    def take(self, op: Arguments) -> Steps:
        if not same_kind(op.table, op.out) or not contiguous(op.index):
            return None
        read = [op.table, op.index, np.zeros(1, np.int64)]
        return [Instruction("gather", [*read, op.out, 1, op.out.nbytes], read, [op.out])]

    def accumulate(self, op: Arguments) -> Steps:
        values, out = op.values, op.out
        if not same_kind(values, out) or values.shape != out.shape:
            return None
        return [Instruction("add", [values, out, out.size], [values, out], [out])]

    def gather_rows(self, op: Arguments) -> Steps:
        out, read = op.out, [op.source, op.order, op.start]
        if not contiguous(op.source, out) or not contiguous(*read[1:]) or not out.size:
            return None
        rows = out.shape[0]
        return [Instruction("gather", [*read, out, rows, out.nbytes // rows], read, [out], [out])]

    def append(self, op: Arguments) -> Steps:
        sources, tables, position = [*op.sources], [*op.tables], op.position
        pairs = list(zip(sources, tables, strict=True))
        if not all(contiguous(*pair) for pair in pairs):
            return None
        rows = sources[0].shape[0]
        places = [(address(a), address(b), a.nbytes // rows) for a, b in pairs]
        copies = np.array(places, np.int64)
        args = [position, rows, copies, len(sources)]
        return [Instruction("append", args, [*sources, position], [*tables, position])]

    def sum(self, op: Arguments) -> Steps:
        values, out = op.values, op.out
        if not same_kind(values, out):
            return None
        return [Instruction("sum_up", [values, None, values.size, out, 0], [values], [out])]

    def count_pass(self, op: Arguments) -> Steps:
        changed = [op.start, op.passes]
        return [Instruction("count_pass", [op.start, op.rows, op.passes], changed, changed)]

    def count_update(self, op: Arguments) -> Steps:
        rates, position, rate, updates, weight, loss_sum, weight_sum, finite_steps = op.counters
        if not same_kind(rates, rate, weight, loss_sum, weight_sum, finite_steps):
            return None
        changed = [position, rate, updates, weight_sum, finite_steps]
        return [Instruction("count_update", op.counters, op.counters, changed, early=True)]
