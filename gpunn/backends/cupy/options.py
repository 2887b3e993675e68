"""The options of the CUDA backend. Nothing here imports CuPy."""

from __future__ import annotations

from dataclasses import dataclass

from gpunn.configurable import check_flag
from gpunn.errors import ArgumentError, suggest

__all__ = ["PRECISIONS", "CudaOptions"]

PRECISIONS = ("float32", "tf32", "bfloat16")
"""What the products of float32 matrices may be computed in."""


@dataclass(frozen=True)
class CudaOptions:
    """How the CUDA backend computes.

    Parameters
    ----------
    graph : bool
        Whether a training step is recorded as a CUDA graph and replayed; results are the same.
    matmul_precision : {"float32", "tf32", "bfloat16"}
        What products of float32 matrices may be computed in.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an option is impossible.
    """

    graph: bool = True
    matmul_precision: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "graph", check_flag("graph", self.graph))
        if self.matmul_precision not in PRECISIONS:
            hint = (
                "its narrow range would need loss scaling, which gpunn does not have; 'bfloat16' "
                f"needs none (valid: {', '.join(map(repr, PRECISIONS))})"
                if self.matmul_precision == "float16"
                else suggest(str(self.matmul_precision), PRECISIONS)
            )
            raise ArgumentError(
                f"matmul_precision: {self.matmul_precision!r} is not supported; {hint}"
            )
