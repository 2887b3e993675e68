"""Which implementation of the matrix product is used, and why."""

from __future__ import annotations

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

__all__ = [
    "NoFusedProduct",
    "Product",
    "SelectedProduct",
    "choose_fused_product",
    "choose_product",
]


Product: TypeAlias = CublasProduct | CupyProduct
"""A matrix product; `capturable` says whether it may be recorded in a CUDA graph."""


class NoFusedProduct:
    """Does nothing."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.selection = Heuristic()

    def restore(self, algorithms: Mapping[str, str]) -> None:
        """Do nothing."""

    def __call__(self, *operands: Any, **options: Any) -> bool:
        """Return False."""
        return False


FusedProduct: TypeAlias = LtProduct | NoFusedProduct
"""A matrix product with an epilogue, one of the numbers in `cublaslt`."""


class SelectedProduct:
    """Products by cuBLASLt where it does them, of float32 matrices; all others by another one."""

    def __init__(self, product: FusedProduct, otherwise: Product) -> None:
        self._product, self._otherwise = product, otherwise
        self.capturable, self.reason = otherwise.capturable, otherwise.reason
        self.by_groups = otherwise.by_groups

    def __call__(
        self, a: Array, b: Array, out: Array, transpose_a: bool, transpose_b: bool
    ) -> None:
        """Set out = a @ b, with either operand transposed first."""
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
    """Return cuBLASLt's products, or none where they aren't wanted or it can't be opened.

    Raises
    ------
    BackendUnavailableError
        If it can't be opened, and `algorithms` is "measured".
    """
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
            f"matmul_algorithms={algorithms!r}: needs cuBLASLt, and {reason}. To fix it: install "
            f"cuBLAS, which includes it ({install_command('cuda13-toolkit')}), or leave "
            "matmul_algorithms at 'heuristic'"
        )
    return NoFusedProduct(f"none: {reason}")


def choose_product(precision: str, scratch: Scratch) -> Product:
    """Return the product through our own cuBLAS handle, or CuPy's where that can't be had.

    Raises
    ------
    BackendUnavailableError
        If there is only CuPy's, and `precision` is not "float32".
    DeviceMemoryError
        If the device has no memory left for a handle; CuPy's would find none either.
    """
    try:
        return CublasProduct(load_cublas(), precision, scratch)
    # No library, or one that lacks a function or gives no handle.
    except (OSError, AttributeError, CublasError) as error:
        reason = f"cuBLAS can't be opened beside CuPy's own handle: {error}"
    if precision != "float32":
        raise BackendUnavailableError(
            f"matmul_precision={precision!r}: needs cuBLAS, and {reason}. To fix it: install the "
            f"cuda-pathfinder package and cuBLAS ({install_command('cuda13-toolkit')} installs "
            "both), or leave matmul_precision at 'float32'"
        )
    return CupyProduct(reason)
