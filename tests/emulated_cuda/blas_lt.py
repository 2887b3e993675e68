"""cuBLASLt products by NumPy, behind a shared library that has cuBLASLt's name and C interface.

An algorithm is valid only for the sizes, epilogue and alignments for which the heuristic returned
it; other uses are refused. ReLU of NaN is 0, as max(x, 0) may be.

The library has up to eight algorithms for a problem. Number i adds i + 1 parts of each sum, so
algorithms round differently. One result is marked as invalid, as the real heuristic may do. One
algorithm changes the order of its parts in each run, unless reductions in place are excluded.
"""

import ctypes
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import cupy_private
from .blas import DTYPES, FAILURES, INVALID_VALUE, NARROW, Matrix, submit
from .counters import count
from .errors import InvalidAccessError
from .graphs import Operand, Work
from .libraries import SUCCESS, CurrentDevice, answering, connected, opened
from .runtime import Runtime

PLAIN, RELU, BIAS, SUMS_OF_A, SUMS_OF_B = 1, 2, 4, 256, 512
FLOAT32 = DTYPES[0]


class _Matmul(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("device", "transpose_a", "transpose_b", "compute")),
        ("epilogue", ctypes.c_uint32),
        *((name, ctypes.c_uint16) for name in ("algorithm", "in_place")),
        *((name, ctypes.c_uint64) for name in ("m", "n", "k")),
        *((name, ctypes.c_void_p) for name in ("alpha", "beta", "a", "b", "c", "d")),
        *((name, ctypes.c_int64) for name in ("lda", "ldb", "ldc", "ldd")),
        ("vector", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
        ("workspace_bytes", ctypes.c_size_t),
        ("stream", ctypes.c_void_p),
    ]


_ComputeMatmul = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Matmul))
_library: Any = None
_orders = itertools.count()


def _scalar(runtime: Runtime, address: int) -> Any:
    if runtime.memory.is_device(address):
        raise InvalidAccessError("cublasLtMatmul: alpha or beta is device memory")
    return np.frombuffer(ctypes.string_at(address, 4), np.float32)[0]


def _product(
    left: NDArray[Any], right: NDArray[Any], parts: int, in_place: bool
) -> NDArray[np.float32]:
    bounds = [len(right) * i // parts for i in range(parts + 1)]
    pieces = list(itertools.pairwise(bounds))
    if in_place:  # in the order in which the parts happen to end
        shift = next(_orders) % parts
        pieces = pieces[shift:] + pieces[:shift]
    product: NDArray[np.float32] = sum(left[:, i:j] @ right[i:j] for i, j in pieces)
    return product


def _matmul(runtime: Runtime, g: _Matmul) -> int:
    a = Matrix("A", g.a, FLOAT32, (g.k, g.m) if g.transpose_a else (g.m, g.k), g.lda)
    b = Matrix("B", g.b, FLOAT32, (g.n, g.k) if g.transpose_b else (g.k, g.n), g.ldb)
    c = Matrix("C", g.c, FLOAT32, (g.m, g.n), g.ldc)
    d = Matrix("D", g.d, FLOAT32, (g.m, g.n), g.ldd)
    alpha, beta = _scalar(runtime, g.alpha), _scalar(runtime, g.beta)
    narrow, epilogue = NARROW.get(g.compute), g.epilogue
    transpose_a, transpose_b = g.transpose_a, g.transpose_b
    algorithm, in_place = g.algorithm, bool(g.in_place)
    parts = algorithm + 3 if in_place else algorithm + 1  # two parts are added in either order
    matrices = [a, b, d] if beta == 0 else [a, b, c, d]
    operands = [Operand(m.address, m.bytes, f"matrix {m.what}", m is d) for m in matrices]
    operands.append(Operand(g.workspace, g.workspace_bytes, "workspace", True))
    with_vector = epilogue & (BIAS | SUMS_OF_A | SUMS_OF_B)
    vector = None
    if with_vector:
        length = g.n if epilogue == SUMS_OF_B else g.m
        if not g.vector:
            return INVALID_VALUE
        vector = Matrix("bias", g.vector, FLOAT32, (length, 1), length)
        operands.append(Operand(vector.address, vector.bytes, "bias", not epilogue & BIAS))

    @np.errstate(over="ignore", invalid="ignore")  # a device says nothing of infinities and NaN
    def run() -> None:
        count("algorithms", str(algorithm))
        left = a.operand(0, FLOAT32, narrow, transpose_a)
        right = b.operand(0, FLOAT32, narrow, transpose_b)
        product = alpha * _product(left, right, parts, in_place)
        if beta != 0:
            product += beta * c.view(0)
        if vector is not None:
            column = vector.view(0)
            if epilogue & BIAS:
                product += column
            elif epilogue == SUMS_OF_A:
                column[:, 0] = left.sum(axis=1)
            else:
                column[:, 0] = right.sum(axis=0)
        if epilogue & RELU:
            product = np.fmax(product, np.float32(0))
        d.view(0)[...] = product

    work = Work(narrow or "float32", g.device, tuple(operands), run, "matmuls")
    submit(runtime, "cublasLtMatmul", g.stream or 0, work)
    if epilogue != PLAIN:
        count("fused_matmuls")
    return SUCCESS


def connect(runtime: Runtime) -> None:
    global _library
    _library = opened("blas_lt.cpp", cupy_private.CUBLASLT_SONAME)
    _library.emulated_cublaslt_refuse.argtypes = [ctypes.c_uint64]
    compute = answering(lambda matmul: _matmul(runtime, matmul[0]), FAILURES, "cuBLAS")
    connected(
        _library.emulated_cublaslt_connect,
        _ComputeMatmul(compute),
        CurrentDevice(runtime.get_device),
    )


@contextmanager
def refusals(seed: int) -> Iterator[None]:
    """Make the heuristic refuse about every second shape, different for each epilogue.

    A seed, at least 1, always refuses the same shapes.
    """
    _library.emulated_cublaslt_refuse(seed)
    try:
        yield
    finally:
        _library.emulated_cublaslt_refuse(0)
