"""The options of the CUDA backend. This module does not import CuPy."""

from dataclasses import dataclass

from gpunn.configurable import check_flag
from gpunn.errors import ArgumentError, suggest

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")

ALGORITHMS = ("heuristic", "measured")


@dataclass(frozen=True)
class CudaOptions:
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
