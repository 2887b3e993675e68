"""The BLAS that NumPy has loaded: where its products are, and how many threads it may use."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["Blas", "find_blas"]

NAMES = (
    ("scipy_cblas_{}gemm64_", True),
    ("cblas_{}gemm64_", True),
    ("scipy_cblas_{}gemm", False),
    ("cblas_{}gemm", False),
)
"""What the product is called, and whether its sizes are 64-bit integers."""


class Blas:
    """A BLAS.

    Attributes
    ----------
    products : mapping of str to int
        Addresses of cblas_sgemm ("float32") and cblas_dgemm ("float64").
    wide : bool
        Whether sizes are 64-bit integers.
    """

    def __init__(self, library: Any, name: str, wide: bool) -> None:
        self._library = library
        self.wide = wide
        self.products = {
            dtype: int(
                ctypes.cast(getattr(library.dynlib, name.format(letter)), ctypes.c_void_p).value
                or 0
            )
            for dtype, letter in (("float32", "s"), ("float64", "d"))
        }

    @property
    def threads(self) -> int:
        """How many threads a product may use."""
        return int(self._library.get_num_threads())

    @contextmanager
    def limited(self, threads: int) -> Iterator[None]:
        """Let a product use at most so many threads."""
        before = self.threads
        if before <= threads:
            yield
            return
        self._library.set_num_threads(threads)
        try:
            yield
        finally:
            self._library.set_num_threads(before)


def address_of(function: Any) -> int:
    """Return where a library's function is."""
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


@functools.cache
def find_blas() -> Blas | None:
    """Return NumPy's BLAS if its products can be called by address, None otherwise.

    SciPy may have loaded one of its own, whose sizes are of 32 bits where NumPy's are of 64.
    """
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    for name, wide in NAMES:
        for library in libraries:
            if hasattr(library.dynlib, name.format("s")):
                return Blas(library, name, wide)
    return None
