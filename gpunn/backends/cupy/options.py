"""The options of the CUDA backend. Nothing here imports CuPy."""

from __future__ import annotations

from dataclasses import dataclass

from gpunn.configurable import check_flag
from gpunn.errors import ArgumentError, suggest

__all__ = ["PRECISIONS", "CudaOptions"]

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
"""What the products of float32 matrices may be computed in."""


@dataclass(frozen=True)
class CudaOptions:
    """How the CUDA backend computes.

    Parameters
    ----------
    graph : bool
        Whether a training step is recorded as a CUDA graph and replayed; results are the same.
    matmul_precision : {"float32", "tf32", "bfloat16", "float16"}
        What products of float32 matrices may be computed in. "float16" has a narrow range, from
        6e-8 to 65504: training scales its loss.
    fused_products : bool
        Whether biases, ReLU and gradients of biases may be part of products of float32 matrices.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an option is impossible.
    """

    graph: bool = True
    matmul_precision: str = "float32"
    fused_products: bool = True

    def __post_init__(self) -> None:
        for name in ("graph", "fused_products"):
            object.__setattr__(self, name, check_flag(name, getattr(self, name)))
        if self.matmul_precision not in PRECISIONS:
            raise ArgumentError(
                f"matmul_precision: {self.matmul_precision!r} is not supported; "
                f"{suggest(str(self.matmul_precision), PRECISIONS)}"
            )
