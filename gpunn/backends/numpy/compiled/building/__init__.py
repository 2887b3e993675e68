"""Build a library of kernels from their sources, which requires numba."""

from gpunn.backends.numpy.compiled.building.builder import build
from gpunn.backends.numpy.compiled.building.link import BuildError

__all__ = ["BuildError", "build"]
