"""The CUDA backend, which uses CuPy with a custom kernel for each operation.

Only `CupyBackend` imports CuPy, so `gpunn.backends.cupy.diagnosis` works without CuPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpunn.backends.cupy.backend import CupyBackend

__all__ = ["CupyBackend"]


def __getattr__(name: str) -> Any:
    if name == "CupyBackend":
        from gpunn.backends.cupy.backend import CupyBackend

        return CupyBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
