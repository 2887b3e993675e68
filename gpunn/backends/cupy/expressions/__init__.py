"""Kernels whose source gpunn generates from the traced definitions of classes."""

from gpunn.backends.cupy.expressions.elementwise import traced_function, traced_rule
from gpunn.backends.cupy.expressions.kept import printed
from gpunn.backends.cupy.expressions.printer import identifier

__all__ = ["identifier", "printed", "traced_function", "traced_rule"]
