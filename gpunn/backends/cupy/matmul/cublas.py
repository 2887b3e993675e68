"""cuBLAS through ctypes, with a separate handle and workspace.

Sources: the cuBLAS library's documentation, sections "CUDA Graphs Support", `cublasSetStream`,
`cublasSetWorkspace`, `cublasGemmEx` and `cublasComputeType_t`. The numbers in this module come from
`cublas_api.h` and `library_types.h`.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import cupy
import numpy as np

from gpunn.backends.cupy import memory
from gpunn.backends.cupy.capture import between_captures
from gpunn.backends.cupy.matmul.fallback import CupyProduct
from gpunn.backends.cupy.scratch import Scratch
from gpunn.errors import DeviceMemoryError
from gpunn.typing import Array

COMPUTE_32F, COMPUTE_64F = 68, 70
COMPUTE_32F_FAST_16F, COMPUTE_32F_FAST_16BF, COMPUTE_32F_FAST_TF32 = 74, 75, 77
REAL_32F, REAL_64F = 0, 1
NORMAL, TRANSPOSED = 0, 1
DEFAULT_ALGORITHM = -1
ALLOC_FAILED = 3

COMPUTE_TYPES = {
    "float32": COMPUTE_32F,
    "tf32": COMPUTE_32F_FAST_TF32,
    "bfloat16": COMPUTE_32F_FAST_16BF,
    "float16": COMPUTE_32F_FAST_16F,
}
"""Maps each precision to the compute type of products of float32 matrices. cuBLAS rounds the inputs
of the tensor cores, and sums in float32. Matrices in memory stay float32."""

REAL = {np.dtype(np.float32): REAL_32F, np.dtype(np.float64): REAL_64F}
SCALARS: dict[int, tuple[Any, Any]] = {
    REAL_32F: (ctypes.c_float(1), ctypes.c_float(0)),
    REAL_64F: (ctypes.c_double(1), ctypes.c_double(0)),
}
"""The factors alpha = 1 and beta = 0 of out = alpha a b + beta out."""

HOPPER = 9  # compute capability from which NVIDIA recommends a larger workspace
MEBIBYTE = 1 << 20

FUNCTIONS: dict[str, list[Any]] = {
    "cublasCreate_v2": [ctypes.POINTER(ctypes.c_void_p)],
    "cublasDestroy_v2": [ctypes.c_void_p],
    "cublasSetStream_v2": [ctypes.c_void_p] * 2,
    "cublasSetWorkspace_v2": [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t],
    "cublasGemmEx": [
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int),  # handle, transpositions
        *(ctypes.c_int, ctypes.c_int, ctypes.c_int),  # m, n, k
        ctypes.c_void_p,  # alpha
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int),  # A, its type and leading dimension
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int),  # B
        ctypes.c_void_p,  # beta
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int),  # C
        *(ctypes.c_int, ctypes.c_int),  # compute type, algorithm
    ],
    "cublasGemmStridedBatchedEx": [
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int),  # handle, transpositions
        *(ctypes.c_int, ctypes.c_int, ctypes.c_int),  # m, n, k
        ctypes.c_void_p,  # alpha
        # A, its type, its leading dimension, and the distance to the next matrix
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_longlong),
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_longlong),  # B
        ctypes.c_void_p,  # beta
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_longlong),  # C
        *(ctypes.c_int, ctypes.c_int, ctypes.c_int),  # products, compute type, algorithm
    ],
}


class CublasError(RuntimeError):
    pass


@functools.cache
def load_cublas() -> Any:
    return load("cublas", FUNCTIONS)


def load(name: str, functions: Mapping[str, list[Any]]) -> Any:
    library = open_library(name)
    for function, arguments in functions.items():
        getattr(library, function).argtypes = arguments
    return library


def open_library(name: str) -> ctypes.CDLL:
    _ = cupy.cuda.cublas  # loads CuPy's cuBLAS, and with it cuBLASLt
    major = cupy.cuda.runtime.runtimeGetVersion() // 1000
    file = f"{name}64_{major}.dll" if sys.platform == "win32" else f"lib{name}.so.{major}"
    # A machine may have several libraries, so prefer the one that this process has already loaded.
    if hasattr(os, "RTLD_NOLOAD"):
        with suppress(OSError):
            return ctypes.CDLL(file, mode=os.RTLD_NOLOAD)
    try:
        pathfinder: Any = importlib.import_module("cuda.pathfinder")
    except ImportError:  # CuPy 13 does not need it
        return ctypes.CDLL(file)
    try:
        return ctypes.CDLL(str(pathfinder.load_nvidia_dynamic_lib(name).abs_path))
    except RuntimeError as error:  # the base class of pathfinder's errors
        raise OSError(str(error)) from error


def workspace_bytes(device: int) -> int:
    major = cupy.cuda.runtime.getDeviceProperties(device)["major"]
    return (32 if major >= HOPPER else 4) * MEBIBYTE


class Handle:
    create, destroy = "cublasCreate_v2", "cublasDestroy_v2"

    def __init__(self, library: Any) -> None:
        self._library = library
        self.pointer = ctypes.c_void_p()
        status = getattr(library, self.create)(ctypes.byref(self.pointer))
        check(self.create.removesuffix("_v2"), status)
        destroy = functools.partial(between_captures, getattr(library, self.destroy))
        destroy_with(self, destroy, self.pointer)

    def use(self, stream: int, workspace: Array) -> ctypes.c_void_p:
        # Set stream and workspace for each product, because a new stream may have the address of a
        # destroyed stream. Outside a CUDA graph, these two calls take about 1 us each.
        library, handle = self._library, self.pointer
        check("cublasSetStream", library.cublasSetStream_v2(handle, stream))
        # Setting the stream has reset the workspace to cuBLAS's default.
        status = library.cublasSetWorkspace_v2(handle, workspace.data.ptr, workspace.nbytes)
        check("cublasSetWorkspace", status)
        return handle


def destroy_with(owner: Any, destroy: Callable[[Any], Any], thing: ctypes.c_void_p) -> None:
    # At the end of the process, CUDA may have shut down already, so nothing is destroyed.
    device = cupy.cuda.runtime.getDevice()
    weakref.finalize(owner, destroy_on, device, destroy, thing).atexit = False


def destroy_on(device: int, destroy: Callable[[Any], Any], thing: ctypes.c_void_p) -> None:
    with cupy.cuda.Device(device):
        destroy(thing)


class Handles(threading.local):
    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make
        self._handles: dict[tuple[Any, int], Any] = {}

    def __call__(self, library: Any, device: int) -> Any:
        if (library, device) not in self._handles:
            self._handles[library, device] = self._make(library)
        return self._handles[library, device]


handles = Handles(Handle)


class CublasProduct:
    capturable = True

    def __init__(self, library: Any, precision: str, scratch: Scratch) -> None:
        self.reason = f"cuBLAS, {precision} products of float32 matrices"
        self._gemm = library.cublasGemmEx
        self._batched_gemm = library.cublasGemmStridedBatchedEx
        self._library = library
        self._compute = {REAL_32F: COMPUTE_TYPES[precision], REAL_64F: COMPUTE_64F}
        self._scratch = scratch
        self._otherwise = CupyProduct("a layout that cuBLAS does not support")
        self._device = cupy.cuda.runtime.getDevice()
        self._workspace_bytes = workspace_bytes(self._device)
        handles(library, self._device)

    def __call__(
        self, a: Array, b: Array, out: Array, transpose_a: bool, transpose_b: bool
    ) -> None:
        a, transpose_a = row_major(a, transpose_a)
        b, transpose_b = row_major(b, transpose_b)
        if not (a.size and b.size and a.flags.c_contiguous and b.flags.c_contiguous):
            self._otherwise(a, b, out, transpose_a, transpose_b)
            return
        handle = self._current_handle()
        m, n = out.shape
        k = a.shape[0 if transpose_a else 1]
        real = REAL[out.dtype]
        alpha, beta = SCALARS[real]
        # cuBLAS is column-major, so it reads row-major matrices as their transposes, and computes
        # out' = b' a'.
        status = self._gemm(
            *(handle, int(transpose_b), int(transpose_a), n, m, k, ctypes.byref(alpha)),
            *(b.data.ptr, real, b.shape[1], a.data.ptr, real, a.shape[1], ctypes.byref(beta)),
            *(out.data.ptr, real, n, self._compute[real], DEFAULT_ALGORITHM),
        )
        check("cublasGemmEx", status)

    def by_groups(
        self, a: Array, b: Array, out: Array, transpose_a: bool, transpose_b: bool
    ) -> None:
        if not (a.size and b.size):
            self._otherwise.by_groups(a, b, out, transpose_a, transpose_b)
            return
        handle = self._current_handle()
        rows, groups, inputs = a.shape
        m, k = (inputs, rows) if transpose_a else (rows, inputs)
        n, real = out.shape[2], REAL[out.dtype]
        alpha, beta = SCALARS[real]

        def layout(batch: Array, axis: int) -> tuple[int, int, int, int]:
            steps = [step // batch.itemsize for step in batch.strides]
            return batch.data.ptr, real, max(steps[1 - axis], batch.shape[2]), steps[axis]

        # If a is transposed, a and b are batches, and out is a gradient of weights.
        status = self._batched_gemm(
            *(handle, int(transpose_b), int(transpose_a), n, m, k, ctypes.byref(alpha)),
            *(*layout(b, int(transpose_a)), *layout(a, 1), ctypes.byref(beta)),
            *(*layout(out, int(not transpose_a)), groups, self._compute[real], DEFAULT_ALGORITHM),
        )
        check("cublasGemmStridedBatchedEx", status)

    def _current_handle(self) -> ctypes.c_void_p:
        workspace = self._scratch("cublas", self._workspace_bytes, np.uint8)
        stream = cupy.cuda.get_current_stream().ptr
        handle: ctypes.c_void_p = handles(self._library, self._device).use(stream, workspace)
        return handle


def row_major(matrix: Array, transposed: bool) -> tuple[Array, bool]:
    if matrix.flags.c_contiguous:
        return matrix, transposed
    return matrix.T, not transposed


def check(function: str, status: int) -> None:
    if status and function.startswith("cublasLt"):
        raise CublasError(
            f"{function}: cuBLASLt returned status {status}. To train without cuBLASLt, set the "
            "backend options fused_products=False and matmul_algorithms='heuristic'"
        )
    if status == ALLOC_FAILED:
        raise DeviceMemoryError(
            f"{function}: cuBLAS could not allocate memory on the device, which has "
            f"{memory.free_bytes():,} free bytes. To fix it: end other programs that use the "
            "device, or choose another device"
        )
    if status:
        raise CublasError(f"{function}: cuBLAS returned status {status}")
