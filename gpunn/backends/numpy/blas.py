"""The BLAS that NumPy has loaded: where its functions are, and how many threads it may use."""

from __future__ import annotations

import ctypes
import functools
import itertools
import platform
from collections.abc import Callable, Iterator
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
"""Names of the function gemm, and whether its sizes are 64-bit integers."""

X86 = platform.machine().lower() in ("x86_64", "amd64")

OPENBLAS_VECTORS = {
    **dict.fromkeys(("skylakex", "cooperlake", "sapphirerapids"), 64),
    **dict.fromkeys(("haswell", "zen", "excavator", "sandybridge"), 32),
}
"""Bytes in a vector of the code that OpenBLAS has for these processors. It picks older code for a
processor that it does not know, and for some that it knows."""

TYPES = (("float32", "s", ctypes.c_float), ("float64", "d", ctypes.c_double))


class Blas:
    """A BLAS.

    Attributes
    ----------
    products : mapping of str to int
        Addresses of cblas_sgemm ("float32") and cblas_dgemm ("float64").
    wide : bool
        Whether sizes are 64-bit integers.
    vector_bytes : int or None
        Bytes in the vectors that it computes with on an x86 processor, None if that isn't known.
    axpby : mapping of str to callable
        By type, cblas_?axpby, called as (n, a, address of x, 1, b, address of y, 1), which sets
        y = a x + b y. Empty if this BLAS has none: it is an extension of the standard.
    axpy : mapping of str to callable
        By type, cblas_?axpy, called as (n, a, address of x, 1, address of y, 1), which sets
        y = a x + y. Several threads share long vectors.
    """

    def __init__(self, library: Any, name: str, wide: bool) -> None:
        self._library = library
        self.wide = wide
        self.products = {
            dtype: address_of(getattr(library.dynlib, name.format(letter)))
            for dtype, letter, _ in TYPES
        }
        core = library.architecture if X86 and library.internal_api == "openblas" else None
        self.vector_bytes = OPENBLAS_VECTORS.get((core or "").lower())
        self.axpby = self._functions(name.replace("gemm", "axpby"), "number", "number")
        self.axpy = self._functions(name.replace("gemm", "axpy"), "number", None)

    def _functions(self, name: str, *scales: str | None) -> dict[str, Callable[..., None]]:
        """Return a function of two vectors by type; each has an increment, and perhaps a factor."""
        size = ctypes.c_int64 if self.wide else ctypes.c_int
        found: dict[str, Callable[..., None]] = {}
        for dtype, letter, number in TYPES:
            if not hasattr(self._library.dynlib, name.format(letter)):
                continue
            vectors = [([number] if scale else []) + [ctypes.c_void_p, size] for scale in scales]
            prototype = ctypes.CFUNCTYPE(None, size, *itertools.chain(*vectors))
            found[dtype] = prototype(address_of(getattr(self._library.dynlib, name.format(letter))))
        return found

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
