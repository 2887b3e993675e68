"""Instructions that compute sums."""

from __future__ import annotations

from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.typing import Array


def sum_rows(x: Array, out: Array) -> Instruction:
    """Return an instruction that sets out = sum over the rows of x."""
    return Instruction("sum_rows", [x, out, x.shape[0], out.size], [x], [out])
