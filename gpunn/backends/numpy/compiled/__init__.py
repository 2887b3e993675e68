"""A tape as a program of compiled kernels, which threads run without Python.

`CompiledBackend` lowers a tape: `Encoder` turns each operation into instructions of a `Program`,
which a `Team` of threads runs. An instruction is a `Kernel` with its arguments.
"""

from gpunn.backends.numpy.compiled.backend import CompiledBackend

__all__ = ["CompiledBackend"]
