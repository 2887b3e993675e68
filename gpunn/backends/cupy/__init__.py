"""The CUDA backend: CuPy, with a kernel of its own for each operation.

CuPy is imported only when `CupyBackend` is asked for, so that `gpunn.backends.cupy.diagnosis` works
on a machine without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpunn.backends.cupy.backend import CupyBackend

__all__ = ["CupyBackend"]


def __getattr__(name: str) -> Any:
    """Import the backend when it is first used."""
    if name == "CupyBackend":
        from gpunn.backends.cupy.backend import CupyBackend

        return CupyBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
