"""Translates the traced definitions of operations whose classes have no kernel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.conflicts import extent
from gpunn.backends.numpy.compiled.expressions import instructions_of
from gpunn.backends.numpy.compiled.lowerings.base import Lowerings, Steps, same_kind
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.operations import Operations
from gpunn.backends.recording import Arguments, arrays_in
from gpunn.backends.tracing import Write, if_traceable, shared_trace, trace_operation
from gpunn.configurable import Configurable
from gpunn.expressions import ARRAY, Untraceable, in_order


class Expressions(Lowerings):
    def traced(self, definition: Any, op: Arguments, early: bool = False) -> Steps:
        """Return instructions for an operation without a kernel; None if this is impossible.

        If a custom class can't be traced, log the reason once.
        """
        if isinstance(definition, str):
            definition = getattr(Operations, definition).definition
        arguments = list(vars(op).values())
        classes = [type(each) for each in arguments if isinstance(each, Configurable)]
        dtypes = [each.dtype for each in arrays_in(arguments) if each.dtype.kind == "f"]
        if not classes or not dtypes or dtypes[0].itemsize not in (4, 8):
            return None

        def instructions() -> Steps:
            writes, arrays = shared_trace(definition, op, dtypes[0])
            return instructions_of(writes, dtypes[0], self.threads, early, arrays)

        return if_traceable(instructions, classes[0])

    def compute(self, op: Arguments) -> Steps:
        dtype, results = op.outs[0].dtype, op.expression.results
        arrays = dict(zip(op.expression.inputs, op.inputs, strict=True))
        whole = all(
            out.shape == node.shape and node.kind == "float"
            for out, node in zip(op.outs, results, strict=True)
        )
        if not whole or not are_separate([*op.inputs, *op.outs], dtype):
            return self._functions("compute", op, dtype)
        writes = list(map(Write, op.outs, results))
        try:
            return instructions_of(writes, dtype, self.threads, given=arrays)
        except Untraceable:  # such as a shape that can't be broadcast
            return None

    def assign(self, op: Arguments) -> Steps:
        values, out = op.values, op.out
        if out.dtype not in (np.float32, np.float64):
            return None
        is_copy = same_kind(values, out) and values.shape == out.shape and out.size
        if is_copy and out.ndim > 1 and not extent(values).meets(extent(out)):
            rows, columns = len(out), out[0].size
            args = [values, 0, columns, out, 0, columns, rows, columns]
            return [Instruction("copy_columns", args, [values], [out], [values, out])]
        return self._functions("assign", op, op.out.dtype)

    def _functions(self, name: str, op: Arguments, dtype: np.dtype) -> Steps:
        try:
            writes, arrays = shared_trace(getattr(Operations, name).definition, op, dtype)
            return instructions_of(writes, dtype, self.threads, given=arrays)
        except Untraceable:  # such as an array that isn't contiguous
            return None

    def functions_of(self, name: str, op: Arguments) -> set[tuple[str, str]]:
        """Return the functions and constants in an operation's graph; empty without a graph."""
        definition = getattr(Operations, name).definition
        try:
            writes = trace_operation(definition, op, op.arrays[0].dtype)
        except Untraceable:
            return set()
        nodes = in_order([each.node for each in writes])
        return {(each.op, repr(each.data)) for each in nodes if each.op != ARRAY}


def are_separate(arrays: Sequence[np.ndarray], dtype: np.dtype) -> bool:
    """Return whether the kernel can read all arrays, and no two different arrays share memory."""
    used = sorted({(extent(each), each.shape) for each in arrays})
    return all(
        each.dtype in (dtype, np.int64) and each.flags.c_contiguous and each.size for each in arrays
    ) and all(one.end <= other.begin for (one, _), (other, _) in pairwise(used))
