"""Run recorded operations (a trace) as a program of compiled kernels, without Python.

`CompiledLowerings` translates each operation of a trace to instructions: kernels with arguments.
The instructions form a `Program`, which a `Team` of threads runs.
"""

from gpunn.backends.numpy.compiled.backend import CompiledBackend

__all__ = ["CompiledBackend"]
