"""Array code as a graph of functions.

A custom activation, loss, metric or optimizer is array-API code. If this code runs with `StandIn`s
for arrays and a `Namespace` for `xp`, the result is a graph of elementwise functions and sums.
`stages_of` divides a graph into loops over arrays of one shape.
"""

from __future__ import annotations

from gpunn.expressions.graph import ARRAY, NUMBER, REDUCTIONS, Node, Untraceable, in_order
from gpunn.expressions.stages import Stage, base_of, is_source, stages_of, used

__all__ = ["ARRAY", "NUMBER", "REDUCTIONS", "Node", "Stage", "Untraceable", "base_of", "in_order"]
__all__ += ["is_source", "stages_of", "used"]
