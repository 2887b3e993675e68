"""Which implementation of the matrix product is used, and why."""

from __future__ import annotations

from typing import Protocol

from gpunn.backends.cupy.matmul.cublas import CublasError, CublasProduct, load_cublas
from gpunn.backends.cupy.matmul.cublaslt import CublasLtProduct, load_cublaslt
from gpunn.backends.cupy.matmul.fallback import CupyProduct
from gpunn.backends.cupy.scratch import Scratch
from gpunn.errors import BackendUnavailableError
from gpunn.typing import Array

__all__ = ["FusedProduct", "Product", "choose_fused_product", "choose_product"]


class Product(Protocol):
    """A matrix product.

    Attributes
    ----------
    capturable : bool
        Whether it may be recorded in a CUDA graph.
    reason : str
        What it is, and why it was chosen.
    """

    capturable: bool
    reason: str

    def __call__(
        self, a: Array, b: Array, out: Array, transpose_a: bool, transpose_b: bool
    ) -> None:
        """Set out = a @ b, with either operand transposed first.

        All are of one type, and `out` is contiguous.
        """


class FusedProduct(Protocol):
    """A matrix product with an epilogue, one of the numbers in `cublaslt`."""

    @property
    def reason(self) -> str:
        """What it is, or why there is none."""

    def __call__(
        self,
        a: Array,
        b: Array,
        out: Array,
        epilogue: int,
        vector: Array | None = None,
        *,
        transpose_a: bool = False,
    ) -> bool:
        """Set out = a @ b, with `a` transposed first if so asked, and do the epilogue.

        All are contiguous float32. Returns False, and does nothing, where it can't be done.
        """


class NoFusedProduct:
    """Does nothing."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __call__(
        self,
        a: Array,
        b: Array,
        out: Array,
        epilogue: int,
        vector: Array | None = None,
        *,
        transpose_a: bool = False,
    ) -> bool:
        """Return False."""
        return False


def choose_fused_product(wanted: bool, precision: str, scratch: Scratch) -> FusedProduct:
    """Return cuBLASLt's products, or none where they aren't wanted or it can't be opened."""
    if not wanted:
        return NoFusedProduct("off")
    try:
        return CublasLtProduct(load_cublaslt(), precision, scratch)
    except (OSError, AttributeError, CublasError) as error:
        return NoFusedProduct(f"none: cuBLASLt can't be opened: {error}")


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
            'cuda-pathfinder package and cuBLAS (pip install ".[cuda13-toolkit]" brings both), '
            "or leave matmul_precision at 'float32'"
        )
    return CupyProduct(reason)
