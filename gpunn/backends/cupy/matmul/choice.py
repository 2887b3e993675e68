"""Choose the implementation of matrix products, and record the reason."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from gpunn.backends.cupy.matmul.cublas import CublasError, CublasProduct, load_cublas, row_major
from gpunn.backends.cupy.matmul.cublaslt import load_cublaslt
from gpunn.backends.cupy.matmul.fallback import CupyProduct
from gpunn.backends.cupy.matmul.lt_product import LtProduct
from gpunn.backends.cupy.matmul.selection import Heuristic, Measured
from gpunn.backends.cupy.scratch import Scratch
from gpunn.errors import BackendUnavailableError
from gpunn.optional import install_command
from gpunn.typing import Array

Product: TypeAlias = CublasProduct | CupyProduct
"""Computes a matrix product; `capturable` states whether CUDA graphs may contain the product."""


class NoFusedProduct:
    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.selection = Heuristic()

    def restore(self, algorithms: Mapping[str, str]) -> None: ...

    def __call__(self, *operands: Any, **options: Any) -> bool:
        return False


FusedProduct: TypeAlias = LtProduct | NoFusedProduct
"""Matrix products with an epilogue: a bias, ReLU or bias gradient (see `cublaslt`)."""


class SelectedProduct:
    def __init__(self, product: FusedProduct, otherwise: Product) -> None:
        self._product, self._otherwise = product, otherwise
        self.capturable, self.reason = otherwise.capturable, otherwise.reason
        self.by_groups = otherwise.by_groups

    def __call__(
        self, a: Array, b: Array, out: Array, transpose_a: bool, transpose_b: bool
    ) -> None:
        a, transpose_a = row_major(a, transpose_a)
        b, transpose_b = row_major(b, transpose_b)
        if not (
            out.dtype == np.float32
            and a.flags.c_contiguous
            and b.flags.c_contiguous
            and self._product(a, b, out, transpose_a=transpose_a, transpose_b=transpose_b)
        ):
            self._otherwise(a, b, out, transpose_a, transpose_b)


def choose_fused_product(
    wanted: bool, precision: str, scratch: Scratch, algorithms: str = "heuristic"
) -> FusedProduct:
    if not wanted:
        return NoFusedProduct("off")
    try:
        library = load_cublaslt()
        selection = Measured(library) if algorithms == "measured" else Heuristic()
        return LtProduct(library, precision, scratch, selection)
    except (OSError, AttributeError, CublasError) as error:
        reason = f"cuBLASLt can't be opened: {error}"
    if algorithms == "measured":
        raise BackendUnavailableError(
            f"matmul_algorithms={algorithms!r} needs cuBLASLt, but {reason}. To fix it: install "
            f"cuBLAS, which includes cuBLASLt ({install_command('cuda13-toolkit')}), or set "
            "matmul_algorithms='heuristic'"
        )
    return NoFusedProduct(f"none: {reason}")


def choose_product(precision: str, scratch: Scratch) -> Product:
    # Too little memory for a handle raises a DeviceMemoryError, because CuPy's products would also
    # need a handle.
    try:
        return CublasProduct(load_cublas(), precision, scratch)
    # The library is missing, lacks a function, or creates no handle.
    except (OSError, AttributeError, CublasError) as error:
        reason = f"cuBLAS can't be opened for a second handle: {error}"
    if precision != "float32":
        raise BackendUnavailableError(
            f"matmul_precision={precision!r} needs cuBLAS, but {reason}. To fix it: install "
            f"cuda-pathfinder and cuBLAS with {install_command('cuda13-toolkit')}, or set "
            "matmul_precision='float32'"
        )
    return CupyProduct(reason)
