"""The CPU backend, which calls NumPy in place, without temporary arrays."""

from gpunn.backends.numpy.backend import NumpyBackend

__all__ = ["NumpyBackend"]
