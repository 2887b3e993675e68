"""The options of the CUDA backend. Nothing here imports CuPy."""

from __future__ import annotations

from dataclasses import dataclass

from gpunn.configurable import check_flag
from gpunn.errors import ArgumentError, suggest

__all__ = ["ALGORITHMS", "PRECISIONS", "CudaOptions"]

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
"""What the products of float32 matrices may be computed in."""

ALGORITHMS = ("heuristic", "measured")
"""How the algorithm of a product of float32 matrices is chosen."""


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
    matmul_algorithms : {"heuristic", "measured"}
        Whether products of float32 matrices are done by the algorithm that cuBLAS expects to be the
        fastest, or by the fastest of several, which are timed. Results differ in rounding.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an option is impossible.
    """

    graph: bool = True
    matmul_precision: str = "float32"
    fused_products: bool = True
    matmul_algorithms: str = "heuristic"

    def __post_init__(self) -> None:
        for name in ("graph", "fused_products"):
            object.__setattr__(self, name, check_flag(name, getattr(self, name)))
        for name, known in (("matmul_precision", PRECISIONS), ("matmul_algorithms", ALGORITHMS)):
            value = getattr(self, name)
            if value not in known:
                raise ArgumentError(
                    f"{name}: {value!r} is not supported; {suggest(str(value), known)}"
                )
