"""Run recorded operations (a trace) as a program of compiled kernels, without Python.

`CompiledBackend` lowers a trace: `CompiledLowerings` turns each operation into instructions. The
instructions form a `Program`, and a `Team` of threads runs the program. An instruction is a
`Kernel` with its arguments.
"""

from gpunn.backends.numpy.compiled.backend import CompiledBackend

__all__ = ["CompiledBackend"]
