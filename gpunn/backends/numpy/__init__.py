"""The CPU backend: NumPy calls that write to existing arrays, without temporary arrays."""

from gpunn.backends.numpy.backend import NumpyBackend

__all__ = ["NumpyBackend"]
