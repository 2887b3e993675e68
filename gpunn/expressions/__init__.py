"""Array code, such as a custom activation or loss, as a graph of functions."""

from __future__ import annotations

from gpunn.expressions.derivatives import Cotangents, gradients
from gpunn.expressions.expression import (
    Expression,
    expression_of,
    require_separate_rows,
    substituted,
)
from gpunn.expressions.graph import (
    ARRAY,
    DISCONTINUOUS,
    ELEMENTARY,
    NUMBER,
    REDUCTIONS,
    SLICES,
    Node,
    Untraceable,
    exact_nodes,
    in_order,
)
from gpunn.expressions.stages import Stage, base_of, is_by_rows, is_source, stages_of, used

__all__ = ["ARRAY", "DISCONTINUOUS", "ELEMENTARY", "NUMBER", "REDUCTIONS", "SLICES", "Cotangents"]
__all__ += ["Expression", "Node", "Stage", "Untraceable", "base_of", "exact_nodes"]
__all__ += ["expression_of", "gradients", "in_order", "is_by_rows", "is_source"]
__all__ += ["require_separate_rows", "stages_of", "substituted", "used"]
