"""Build a library of kernels from their sources, which requires numba.

Worker processes, one per core, compile each kernel to an object file. A linker combines the object
files into one library.
"""

from gpunn.backends.numpy.compiled.building.builder import build
from gpunn.backends.numpy.compiled.building.link import BuildError

__all__ = ["BuildError", "build"]
