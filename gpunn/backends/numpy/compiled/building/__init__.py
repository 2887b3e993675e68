"""Build a library of kernels from their sources, which requires numba.

Worker processes, one per core, compile each kernel to an object file. A linker combines the object
files into one library.
"""

from gpunn.backends.numpy.compiled.building.builder import BuildError, build

__all__ = ["BuildError", "build"]
