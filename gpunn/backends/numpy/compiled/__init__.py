"""A training step compiled by numba: recorded once, then run by threads without Python.

`CompiledBackend` records the operations of a step. `Encoder` turns each into instructions of a
`Program`, which a `Team` of threads runs. Each instruction is a `Kernel`.
"""

from gpunn.backends.numpy.compiled.backend import CompiledBackend

__all__ = ["CompiledBackend"]
