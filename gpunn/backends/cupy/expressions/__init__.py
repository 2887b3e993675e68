"""Kernels whose source gpunn generates from the traced definition of a custom class."""

from gpunn.backends.cupy.expressions.elementwise import traced_function, traced_rule
from gpunn.backends.cupy.expressions.kernels import kernels_of
from gpunn.backends.cupy.expressions.printer import identifier

__all__ = ["identifier", "kernels_of", "traced_function", "traced_rule"]
