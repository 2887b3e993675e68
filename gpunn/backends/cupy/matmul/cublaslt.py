"""cuBLASLt through ctypes: products that add a bias, apply ReLU or sum up a gradient on their way.

Such additions, "epilogues", are done while a product's result is still in registers. They spare a
kernel, and its pass over the result.

cuBLASLt always comes with cuBLAS, which needs it. Sources: the cuBLAS library's documentation,
section "Using the cuBLASLt API". Numbers below are those of `cublasLt.h`, less the `CUBLASLT_`.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import threading
from typing import Any

import cupy
import numpy as np

from gpunn.backends.cupy.matmul.cublas import (
    COMPUTE_TYPES,
    REAL_32F,
    SCALARS,
    CublasError,
    destroy_with,
    open_library,
    workspace_bytes,
)
from gpunn.backends.cupy.scratch import Scratch
from gpunn.typing import Array

__all__ = ["BIAS", "BIAS_GRADIENT", "RELU", "RELU_BIAS", "CublasLtProduct", "load_cublaslt"]

logger = logging.getLogger("gpunn")

EPILOGUE_RELU, EPILOGUE_BIAS, EPILOGUE_BGRADA = 2, 4, 256
MATMUL_DESC_TRANSB, MATMUL_DESC_EPILOGUE, MATMUL_DESC_BIAS_POINTER = 4, 7, 8
MATMUL_PREF_MAX_WORKSPACE_BYTES = 1
MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 5, 6
MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 7, 8
MIN_ALIGNMENTS = (
    MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
    MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
    MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
    MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
)
INVALID_VALUE, NOT_SUPPORTED = 7, 15
REFUSALS = {INVALID_VALUE: "status 7, invalid value", NOT_SUPPORTED: "status 15, not supported"}
"""Statuses of a product that can't be done so; the device has been asked for nothing then. Of a
wrong argument too, which is ours, cuBLASLt says that it is invalid."""
NO_ALGORITHM = "no algorithm"

BIAS = EPILOGUE_BIAS
"""out = a b + vector"""
RELU = EPILOGUE_RELU
"""out = max(a b, 0)"""
RELU_BIAS = EPILOGUE_RELU | EPILOGUE_BIAS
"""out = max(a b + vector, 0)"""
BIAS_GRADIENT = EPILOGUE_BGRADA
"""out = a b; vector = sum of b's rows. cuBLASLt's matrix A is our b; see `CublasLtProduct`."""

NAMES = {BIAS: "bias", RELU: "ReLU", RELU_BIAS: "bias and ReLU", BIAS_GRADIENT: "bias gradient"}

LARGEST_ALIGNMENT = 256
"""In bytes: the most that the heuristic tells apart."""


class Algorithm(ctypes.Structure):
    """cublasLtMatmulAlgo_t, whose content is cuBLASLt's own business."""

    _fields_ = (("data", ctypes.c_uint64 * 8),)


class HeuristicResult(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algorithm", Algorithm),
        ("workspace_bytes", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


POINTER, ATTRIBUTE = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
FUNCTIONS: dict[str, list[Any]] = {
    "cublasLtCreate": [POINTER],
    "cublasLtDestroy": [POINTER],
    "cublasLtMatmulDescCreate": [POINTER, ctypes.c_int, ctypes.c_int],
    "cublasLtMatmulDescDestroy": [POINTER],
    "cublasLtMatmulDescSetAttribute": [*ATTRIBUTE, ctypes.c_size_t],
    "cublasLtMatrixLayoutCreate": [
        *(POINTER, ctypes.c_int),  # layout, type
        *(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64),  # rows, columns, leading dimension
    ],
    "cublasLtMatrixLayoutDestroy": [POINTER],
    "cublasLtMatmulPreferenceCreate": [POINTER],
    "cublasLtMatmulPreferenceSetAttribute": [*ATTRIBUTE, ctypes.c_size_t],
    "cublasLtMatmulPreferenceDestroy": [POINTER],
    "cublasLtMatmulAlgoGetHeuristic": [
        *(POINTER, POINTER),  # handle, operation
        *(POINTER, POINTER, POINTER, POINTER),  # layouts of A, B, C, D
        *(POINTER, ctypes.c_int, POINTER, POINTER),  # preference, wanted, results, found
    ],
    "cublasLtMatmul": [
        *(POINTER, POINTER, POINTER),  # handle, operation, alpha
        *(POINTER, POINTER, POINTER, POINTER),  # A and its layout, B
        POINTER,  # beta
        *(POINTER, POINTER, POINTER, POINTER),  # C, D
        *(POINTER, POINTER, ctypes.c_size_t, POINTER),  # algorithm, workspace, its size, stream
    ],
}


@functools.cache
def load_cublaslt() -> Any:
    """Return the cuBLASLt library that belongs to CuPy's cuBLAS.

    Raises
    ------
    OSError
        If it is not found.
    AttributeError
        If it lacks a function.
    """
    library = open_library("cublasLt")
    for name, arguments in FUNCTIONS.items():
        getattr(library, name).argtypes = arguments
    return library


class Plan:
    """How cuBLASLt does products of one kind: their description, and the algorithm it chose."""

    def __init__(
        self, library: Any, compute: int, epilogue: int, transpose_b: bool, vector_address: int
    ) -> None:
        self._library = library
        self.operation = ctypes.c_void_p()
        self.layouts: list[ctypes.c_void_p] = []
        self.algorithm = Algorithm()
        made = library.cublasLtMatmulDescCreate(ctypes.byref(self.operation), compute, REAL_32F)
        check("cublasLtMatmulDescCreate", made)
        destroy_with(self, library.cublasLtMatmulDescDestroy, self.operation)
        self.describe(MATMUL_DESC_EPILOGUE, ctypes.c_uint32(epilogue))
        self.describe(MATMUL_DESC_TRANSB, ctypes.c_int32(transpose_b))
        # The heuristic looks at its alignment.
        self.describe(MATMUL_DESC_BIAS_POINTER, ctypes.c_void_p(vector_address))

    def describe(self, attribute: int, value: Any) -> None:
        """Set an attribute of the operation."""
        status = self._library.cublasLtMatmulDescSetAttribute(
            self.operation, attribute, ctypes.byref(value), ctypes.sizeof(value)
        )
        check("cublasLtMatmulDescSetAttribute", status)

    def add_matrix(self, matrix: Array) -> None:
        """Describe the next matrix as cuBLASLt sees it: column-major, and so transposed."""
        rows, columns = matrix.shape
        layout = ctypes.c_void_p()
        status = self._library.cublasLtMatrixLayoutCreate(
            ctypes.byref(layout), REAL_32F, columns, rows, columns
        )
        check("cublasLtMatrixLayoutCreate", status)
        destroy_with(self, self._library.cublasLtMatrixLayoutDestroy, layout)
        self.layouts.append(layout)

    def find_algorithm(
        self, handle: ctypes.c_void_p, alignments: tuple[int, ...], workspace: int
    ) -> str:
        """Ask cuBLASLt's heuristic for an algorithm; return why there is none, or ""."""
        library, preference = self._library, ctypes.c_void_p()
        made = library.cublasLtMatmulPreferenceCreate(ctypes.byref(preference))
        check("cublasLtMatmulPreferenceCreate", made)
        try:
            return self._found(handle, preference, alignments, workspace)
        finally:
            library.cublasLtMatmulPreferenceDestroy(preference)

    def _found(
        self,
        handle: ctypes.c_void_p,
        preference: ctypes.c_void_p,
        alignments: tuple[int, ...],
        workspace: int,
    ) -> str:
        library = self._library
        attributes: dict[int, Any] = {MATMUL_PREF_MAX_WORKSPACE_BYTES: ctypes.c_uint64(workspace)}
        for attribute, alignment in zip(MIN_ALIGNMENTS, alignments, strict=True):
            attributes[attribute] = ctypes.c_uint32(alignment)
        for attribute, value in attributes.items():
            status = library.cublasLtMatmulPreferenceSetAttribute(
                preference, attribute, ctypes.byref(value), ctypes.sizeof(value)
            )
            check("cublasLtMatmulPreferenceSetAttribute", status)
        result, found = HeuristicResult(), ctypes.c_int()
        status = library.cublasLtMatmulAlgoGetHeuristic(
            *(handle, self.operation, *self.layouts, preference),
            *(1, ctypes.byref(result), ctypes.byref(found)),
        )
        self.algorithm = result.algorithm
        if status not in REFUSALS:
            check("cublasLtMatmulAlgoGetHeuristic", status)
        found_one = found.value > 0 and not result.state
        return REFUSALS.get(status, "" if found_one else NO_ALGORITHM)


class Context:
    """cuBLASLt's handle of one device, and its plans, for one thread.

    There is a plan for each layer and number of rows: few enough to be kept.
    """

    def __init__(self, library: Any) -> None:
        self.handle = ctypes.c_void_p()
        check("cublasLtCreate", library.cublasLtCreate(ctypes.byref(self.handle)))
        destroy_with(self, library.cublasLtDestroy, self.handle)
        self.plans: dict[tuple[Any, ...], Plan | str] = {}  # or why there is none


class Contexts(threading.local):
    """The contexts of a thread, by library and device. They live as long as the thread.

    They are a thread's own, because a product first writes its vector's address into the plan.
    """

    def __init__(self) -> None:
        self._contexts: dict[tuple[Any, int], Context] = {}

    def __call__(self, library: Any, device: int) -> Context:
        """Return the context of a device, which has to be the current one."""
        if (library, device) not in self._contexts:
            self._contexts[library, device] = Context(library)
        return self._contexts[library, device]


contexts = Contexts()


class CublasLtProduct:
    """cublasLtMatmul, with an epilogue, of contiguous float32 matrices."""

    def __init__(self, library: Any, precision: str, scratch: Scratch) -> None:
        self._library = library
        self._compute = COMPUTE_TYPES[precision]
        self._scratch = scratch
        self._refused: set[str] = set()
        self._device = cupy.cuda.runtime.getDevice()
        self._workspace_bytes = workspace_bytes(self._device)
        contexts(library, self._device)

    @property
    def reason(self) -> str:
        """What does fused products, and which of them it refused so far."""
        refused = "; ".join(sorted(self._refused))
        return f"cuBLASLt{f', which refused: {refused}' if refused else ''}"

    def __call__(
        self,
        a: Array,
        b: Array,
        out: Array,
        epilogue: int,
        vector: Array | None = None,
        *,
        transpose_a: bool = False,
    ) -> bool:
        """Set out = a @ b, with `a` transposed first if so asked, and do the epilogue.

        Returns
        -------
        bool
            Whether it was done: not if cuBLASLt has no algorithm for this, or a matrix is empty.
        """
        if not (a.size and b.size):
            return False
        # cuBLASLt is column-major, and sees the transpose of each row-major matrix. So it is asked
        # for out' = b' a': its A is our b.
        matrices = b, a, out, out
        vector_address = 0 if vector is None else vector.data.ptr
        alignments = tuple(alignment(matrix.data.ptr) for matrix in matrices)
        kind = a.shape, b.shape, transpose_a, epilogue, self._compute
        key = (*kind, alignments, alignment(vector_address))
        context = contexts(self._library, self._device)
        if key not in context.plans:
            plan = Plan(self._library, self._compute, epilogue, transpose_a, vector_address)
            for matrix in matrices:
                plan.add_matrix(matrix)
            refusal = plan.find_algorithm(context.handle, alignments, self._workspace_bytes)
            context.plans[key] = refusal or plan
        chosen = context.plans[key]
        if isinstance(chosen, str):
            shape = a.shape[::-1] if transpose_a else a.shape
            self._refused.add(f"{shape} times {b.shape} with {NAMES[epilogue]} ({chosen})")
            say_once(NAMES[epilogue], chosen)
            return False
        chosen.describe(MATMUL_DESC_BIAS_POINTER, ctypes.c_void_p(vector_address))
        workspace = self._scratch("cublas", self._workspace_bytes, np.uint8)
        one, zero = SCALARS[REAL_32F]
        pointers = [
            argument
            for matrix, layout in zip(matrices, chosen.layouts, strict=True)
            for argument in (matrix.data.ptr, layout)
        ]
        status = self._library.cublasLtMatmul(
            *(context.handle, chosen.operation, ctypes.byref(one), *pointers[:4]),
            *(ctypes.byref(zero), *pointers[4:], ctypes.byref(chosen.algorithm)),
            *(workspace.data.ptr, workspace.nbytes, cupy.cuda.get_current_stream().ptr),
        )
        if status in REFUSALS:
            context.plans[key] = REFUSALS[status]
            return self(a, b, out, epilogue, vector, transpose_a=transpose_a)
        check("cublasLtMatmul", status)
        return True


@functools.cache
def say_once(epilogue: str, why: str) -> None:
    """Say that operations run one after the other: that is slower, or an error of ours."""
    if why == REFUSALS[INVALID_VALUE]:
        logger.warning(
            "gpunn: cuBLASLt calls an argument of a product with %s invalid (%s). Training goes on "
            "without it, with the same results but for rounding. Please report this; the backend "
            "option fused_products=False does without cuBLASLt",
            *(epilogue, why),
        )
    else:
        logger.info("gpunn: a product with %s is not cuBLASLt's: %s", epilogue, why)


def alignment(address: int) -> int:
    """Return the largest power of 2, at most 256, that divides an address."""
    return min(address & -address, LARGEST_ALIGNMENT)


def check(function: str, status: int) -> None:
    """Raise a CublasError unless the status is that of success."""
    if status:
        raise CublasError(
            f"{function}: cuBLASLt returned status {status}. The backend option "
            "fused_products=False does without cuBLASLt"
        )
