"""Which implementation of the matrix product is used, and why."""

from __future__ import annotations

from typing import Protocol

from gpunn.backends.cupy.matmul.cublas import CublasProduct, load_cublas
from gpunn.backends.cupy.matmul.fallback import CupyProduct
from gpunn.backends.cupy.scratch import Scratch
from gpunn.errors import BackendUnavailableError
from gpunn.typing import Array

__all__ = ["Product", "choose_product"]


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


def choose_product(precision: str, scratch: Scratch) -> Product:
    """Return the product through our own cuBLAS handle, or CuPy's where that can't be had.

    Raises
    ------
    BackendUnavailableError
        If there is only CuPy's, and `precision` is not "float32".
    """
    try:
        return CublasProduct(load_cublas(), precision, scratch)
    except (OSError, AttributeError) as error:  # no library, or one that lacks a function
        reason = f"cuBLAS can't be opened beside CuPy's own handle: {error}"
    if precision != "float32":
        raise BackendUnavailableError(
            f"matmul_precision={precision!r}: needs cuBLAS, and {reason}. To fix it: install the "
            'cuda-pathfinder package and cuBLAS (pip install "gpunn[cuda13-toolkit]" brings both), '
            "or leave matmul_precision at 'float32'"
        )
    return CupyProduct(reason)
