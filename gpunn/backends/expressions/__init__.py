"""Trace the array code of custom classes, so that engines can compile it.

A custom activation, loss, metric or optimizer is array-API code. `trace_operation` runs this code
with stand-ins for arrays and for `xp`. The result is a graph of elementwise functions and sums,
which `stages_of` divides into loops over arrays of one shape.
"""

from __future__ import annotations

from gpunn.backends.expressions.graph import ARRAY, NUMBER, REDUCTIONS, Node, Untraceable, in_order
from gpunn.backends.expressions.stages import Stage, base_of, is_source, stages_of, used
from gpunn.backends.expressions.tracing import Write, trace_operation

__all__ = ["ARRAY", "NUMBER", "REDUCTIONS", "Node", "Stage", "Untraceable", "Write", "base_of"]
__all__ += ["in_order", "is_source", "stages_of", "trace_operation", "used"]
