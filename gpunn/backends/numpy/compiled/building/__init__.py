"""Building a library of kernels from their sources, which needs numba.

Processes of their own make an object file of each kernel, as many at once as there are cores; a
linker makes one library of them.
"""

from gpunn.backends.numpy.compiled.building.builder import BuildError, build

__all__ = ["BuildError", "build"]
