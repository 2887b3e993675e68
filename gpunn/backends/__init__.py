"""Where arrays live and how they are computed with: the only code that knows NumPy from CuPy."""

from gpunn.backends.base import Backend
from gpunn.backends.recording import operation
from gpunn.backends.selection import available_backends, choose_backend, get_backend

__all__ = ["Backend", "available_backends", "choose_backend", "get_backend", "operation"]
