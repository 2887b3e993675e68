"""Devices, their arrays and operations. NumPy and CuPy differ only inside this package."""

from gpunn.backends.base import Backend
from gpunn.backends.recording import operation
from gpunn.backends.selection import available_backends, choose_backend, get_backend

__all__ = ["Backend", "available_backends", "choose_backend", "get_backend", "operation"]
