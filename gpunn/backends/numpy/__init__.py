"""The CPU backend: NumPy, with operations in place and without temporary arrays."""

from gpunn.backends.numpy.backend import NumpyBackend

__all__ = ["NumpyBackend"]
