"""Instructions for operations without a kernel, from the traced definitions of their classes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.conflicts import extent
from gpunn.backends.numpy.compiled.expressions import Lowered
from gpunn.backends.numpy.compiled.lowerings.base import Lowerings, Steps, same_kind
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.operations import Operations
from gpunn.backends.recording import Arguments, arrays_in
from gpunn.backends.tracing import Arrays, Write, form_of, if_traceable, trace_operation
from gpunn.configurable import Configurable
from gpunn.expressions import ARRAY, Untraceable, in_order
from gpunn.expressions.tracing import once


class Expressions(Lowerings):
    def traced(self, definition: Any, op: Arguments, early: bool = False) -> Steps:
        arguments = list(vars(op).values())
        classes = [type(each) for each in arguments if isinstance(each, Configurable)]
        dtypes = [each.dtype for each in arrays_in(arguments) if each.dtype.kind == "f"]
        if not classes or not dtypes or dtypes[0].itemsize not in (4, 8):
            return None

        return if_traceable(lambda: self._traced(definition, op, dtypes[0], early), classes[0])

    def _traced(
        self,
        definition: Any,
        op: Arguments,
        dtype: np.dtype,
        early: bool = False,
        apart: bool = False,
    ) -> list[Instruction]:
        if isinstance(definition, str):
            definition = getattr(Operations, definition).definition
        known = Arrays(dtype, extent)
        form = definition, form_of(vars(op), known)

        def make() -> Lowered:
            writes = trace_operation(definition, op, dtype)
            return Lowered(known.arrays, writes, dtype, self.threads, early, apart=apart)

        return self._once((form, dtype, early), op, make).instructions(known.arrays)

    def _once(self, key: Hashable, kept: object, make: Callable[[], Lowered]) -> Lowered:
        # The key contains ids of objects in `kept`.
        return once((key, self.threads), lambda: (make(), kept))[0]

    def compute(self, op: Arguments) -> Steps:
        dtype, expression = op.outs[0].dtype, op.expression
        known = Arrays(dtype, extent)
        try:
            numbers = [known.number(each) for each in (*op.inputs, *op.outs)]
            arrays = [known.arrays[number] for number in numbers]  # equal views become one object

            def make() -> Lowered:
                given = dict(zip(expression.inputs, arrays, strict=False))
                writes = [*map(Write, arrays[len(given) :], expression.results)]
                return Lowered(known.arrays, writes, dtype, self.threads, given=given)

            for out, node in zip(op.outs, expression.results, strict=True):
                if out.shape != node.shape or node.kind != "float":
                    return self._traced("compute", op, dtype)
            key = id(expression), *numbers, dtype
            return self._once(key, expression, make).instructions(known.arrays)
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
        try:
            return self._traced("assign", op, out.dtype)
        except Untraceable:  # such as an array that isn't contiguous
            return None

    def functions_of(self, name: str, op: Arguments) -> set[tuple[str, str]]:
        definition = getattr(Operations, name).definition
        try:
            writes = trace_operation(definition, op, op.arrays[0].dtype)
        except Untraceable:
            return set()
        nodes = in_order([each.node for each in writes])
        return {(each.op, repr(each.data)) for each in nodes if each.op != ARRAY}
