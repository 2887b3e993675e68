"""The CPU backend: NumPy, in place and without temporaries."""

from gpunn.backends.numpy.backend import NumpyBackend

__all__ = ["NumpyBackend"]
