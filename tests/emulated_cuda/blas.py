"""cuBLAS products by NumPy, behind a shared library that has cuBLAS's name and C interface.

The library is loaded under the soname that CuPy's cuBLAS wrapper requests, so the wrapper runs
unchanged. A program that opens cuBLAS itself (``ctypes``, ``cuda.pathfinder``) finds the same
library. Its products can be captured; CuPy's wrapper refuses that.
"""

import atexit
import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import cupy_private
from .counters import count
from .errors import EmulatorError, InvalidAccessError
from .graphs import Operand, Work
from .libraries import SUCCESS, CurrentDevice, answering, connected, opened, stubs
from .runtime import Runtime
from .toolchain import INCLUDE

INVALID_VALUE, EXECUTION_FAILED, INTERNAL_ERROR, NOT_SUPPORTED = 7, 13, 14, 15
FAILURES = {ValueError: INVALID_VALUE, Exception: EXECUTION_FAILED}
"""Errors of a product, and the statuses that tell of them."""
DTYPES = {0: np.dtype("float32"), 1: np.dtype("float64"), 2: np.dtype("float16")}
NARROW = {74: "float16", 75: "bfloat16", 77: "tf32"}
"""cublasComputeType_t -> what float32 matrices may be rounded to."""
# cublasComputeType_t (pedantic or not) -> the type of alpha, beta and the arithmetic
WORKING: dict[int, np.dtype[Any]] = {
    code: np.dtype(name)
    for name, codes in {
        "float16": (64, 65),
        "float32": (68, 69, *NARROW),
        "float64": (70, 71),
    }.items()
    for code in codes
}
DEVICE_POINTERS = 1


class _Handle(ctypes.Structure):
    _fields_ = [
        ("device", ctypes.c_int),
        ("pointer_mode", ctypes.c_int),
        ("stream", ctypes.c_void_p),
        ("serial", ctypes.c_int),
        ("workspace", ctypes.c_void_p),
        ("workspace_bytes", ctypes.c_size_t),
    ]


class _Gemm(ctypes.Structure):
    _fields_ = [
        ("handle", ctypes.POINTER(_Handle)),
        ("name", ctypes.c_char_p),
        *((name, ctypes.c_int) for name in ("transpose_a", "transpose_b", "m", "n", "k")),
        ("alpha", ctypes.c_void_p),
        ("beta", ctypes.c_void_p),
        ("a", ctypes.c_void_p),
        ("type_a", ctypes.c_int),
        ("lda", ctypes.c_int),
        ("b", ctypes.c_void_p),
        ("type_b", ctypes.c_int),
        ("ldb", ctypes.c_int),
        ("c", ctypes.c_void_p),
        ("type_c", ctypes.c_int),
        ("ldc", ctypes.c_int),
        ("compute", ctypes.c_int),
        ("count", ctypes.c_int),
        *((name, ctypes.c_longlong) for name in ("stride_a", "stride_b", "stride_c")),
    ]


_ComputeGemm = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Gemm))
_Serial = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_Synchronize = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)


class Matrix:
    """A column-major matrix (or a batch of them) in device memory."""

    def __init__(self, what: str, address: int, dtype: Any, shape: tuple[int, int], ld: int):
        self.what, self.address, self.dtype, self.shape, self.ld = what, address, dtype, shape, ld
        if ld < max(1, shape[0]):
            raise ValueError(f"leading dimension {ld} of {what} is below its {shape[0]} rows")

    @property
    def bytes(self) -> int:
        rows, columns = self.shape
        return (self.ld * (columns - 1) + rows) * self.dtype.itemsize if rows and columns else 0

    def view(self, offset: int) -> NDArray[Any]:
        size = self.dtype.itemsize
        memory = (ctypes.c_char * self.bytes).from_address(self.address + offset * size)
        flat: NDArray[Any] = np.frombuffer(memoryview(memory), self.dtype)
        return np.lib.stride_tricks.as_strided(flat, self.shape, (size, self.ld * size))

    def operand(
        self, offset: int, working: np.dtype[Any], narrow: str | None, transposed: int
    ) -> NDArray[Any]:
        view = self.view(offset).astype(working)
        view = rounded(view, narrow) if narrow else view
        return view.T if transposed else view


MANTISSA = {"tf32": 10, "bfloat16": 7}


def rounded(x: NDArray[Any], precision: str) -> NDArray[Any]:
    """Round float32 inputs like tensor cores; float16 also has a narrow range."""
    if precision == "float16":
        with np.errstate(over="ignore"):
            return x.astype(np.float16).astype(np.float32)
    dropped = 23 - MANTISSA[precision]
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    half, mask = np.uint32(1 << (dropped - 1)), np.uint32(2**32 - (1 << dropped))
    return ((bits + half) & mask).view(np.float32)


def _scalar(
    runtime: Runtime, g: _Gemm, address: int | None, missing: float, dtype: Any
) -> Callable[[], Any]:
    """Read alpha or beta now from the host, or from the device when the product runs."""
    if not address:
        return lambda: dtype.type(missing)

    def read() -> Any:
        return np.frombuffer(ctypes.string_at(address, dtype.itemsize), dtype)[0]

    on_device = g.handle[0].pointer_mode == DEVICE_POINTERS
    if on_device != runtime.memory.is_device(address):
        raise InvalidAccessError(
            f"{g.name.decode()}: alpha or beta at {address:#x} is "
            f"{'host' if on_device else 'device'} memory, against the handle's pointer mode"
        )
    if on_device:
        return read
    value = read()
    return lambda: value


def _gemm(runtime: Runtime, g: _Gemm) -> int:
    handle, name = g.handle[0], g.name.decode()
    stream = handle.stream or 0
    if runtime.scheduler.stream(stream).serial != handle.serial:
        raise InvalidAccessError(
            f"{name}: the stream that the handle was set to is gone, and another one has got its "
            "address (set the stream again)"
        )
    if not all(t in DTYPES for t in (g.type_a, g.type_b, g.type_c)):
        return NOT_SUPPORTED
    narrow = NARROW.get(g.compute) if g.type_a == 0 else None
    working = WORKING.get(g.compute)
    if working is None:
        return NOT_SUPPORTED
    shape_a = (g.k, g.m) if g.transpose_a else (g.m, g.k)
    shape_b = (g.n, g.k) if g.transpose_b else (g.k, g.n)
    a = Matrix("A", g.a, DTYPES[g.type_a], shape_a, g.lda)
    b = Matrix("B", g.b, DTYPES[g.type_b], shape_b, g.ldb)
    c = Matrix("C", g.c, DTYPES[g.type_c], (g.m, g.n), g.ldc)
    alpha = _scalar(runtime, g, g.alpha, 1.0, working)
    beta = _scalar(runtime, g, g.beta, 0.0, working)
    precision = narrow or (working.name if working == a.dtype else a.dtype.name)
    strides, batch = (g.stride_a, g.stride_b, g.stride_c), g.count
    transpose_a, transpose_b = g.transpose_a, g.transpose_b

    @np.errstate(over="ignore", invalid="ignore")  # a device says nothing of infinities and NaN
    def run() -> None:
        for i in range(batch):
            offsets = [i * stride for stride in strides]
            out = c.view(offsets[2])
            left = a.operand(offsets[0], working, narrow, transpose_a)
            right = b.operand(offsets[1], working, narrow, transpose_b)
            product, factor = alpha() * (left @ right), beta()
            # With beta = 0, C is not read: it may hold NaN.
            out[...] = product if factor == 0 else product + factor * out.astype(working)

    if g.m == 0 or g.n == 0 or batch == 0:
        return SUCCESS
    operands = tuple(
        Operand(
            m.address, m.bytes + (batch - 1) * stride * m.dtype.itemsize, f"matrix {m.what}", m is c
        )
        for m, stride in zip((a, b, c), strides, strict=True)
        if m.bytes
    )
    if working.name == "float64":
        count("float64", "cublas")
    if handle.workspace:
        operands = *operands, Operand(handle.workspace, handle.workspace_bytes, "workspace", True)
    elif runtime.scheduler.capturing(stream):
        count("captured_mallocs")
    work = Work(precision, handle.device, operands, run, "matmuls")
    submit(runtime, name, stream, work)
    return SUCCESS


def submit(runtime: Runtime, name: str, stream: int, work: Work) -> None:
    """Submit a product; errors name the function that requested it."""
    try:
        runtime.scheduler.submit(stream, work)
    except EmulatorError as error:
        raise type(error)(f"{name}: {error}") from error


def connect(runtime: Runtime) -> None:
    def serial(stream: int | None) -> int:
        return runtime.scheduler.stream(stream or 0).serial

    def synchronize(device: int) -> None:
        runtime.scheduler.refuse_in_any_capture()
        runtime.scheduler.host_waits_for_device(device)

    compute = answering(lambda gemm: _gemm(runtime, gemm[0]), FAILURES, "cuBLAS")
    script = f"-Wl,--version-script={INCLUDE / 'cublas.map'}"
    refusing = stubs("blas.cpp", "cublas", NOT_SUPPORTED)
    library = opened("blas.cpp", cupy_private.CUBLAS_SONAME, script, stubs=refusing)
    connected(
        library.emulated_cublas_connect,
        _ComputeGemm(compute),
        CurrentDevice(runtime.get_device),
        _Serial(answering(serial, {Exception: -1}, "cuBLAS")),
        _Synchronize(answering(synchronize, {Exception: INTERNAL_ERROR}, "cuBLAS")),
    )
    atexit.register(library.emulated_cublas_end)
