"""cuBLASLt through ctypes: products that also add a bias, apply ReLU or sum a gradient.

An "epilogue" is an additional operation on a product's result while the result is in registers.
Source: the cuBLAS library's documentation, section "Using the cuBLASLt API". The constants come
from `cublasLt.h`; their names omit the prefix `CUBLASLT_`.
"""

import ctypes
import functools
from typing import Any

import cupy

from gpunn.backends.cupy.matmul.cublas import (
    REAL_32F,
    SCALARS,
    Handle,
    Handles,
    check,
    destroy_with,
    load,
)
from gpunn.typing import Array

EPILOGUE_DEFAULT, EPILOGUE_RELU, EPILOGUE_BIAS, EPILOGUE_BGRADA = 1, 2, 4, 256
MATMUL_DESC_TRANSA, MATMUL_DESC_TRANSB = 3, 4
MATMUL_DESC_EPILOGUE, MATMUL_DESC_BIAS_POINTER = 7, 8
MATMUL_PREF_MAX_WORKSPACE_BYTES, MATMUL_PREF_REDUCTION_SCHEME_MASK = 1, 3
MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 5, 6
MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 7, 8
MIN_ALIGNMENTS = (
    MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
    MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
    MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
    MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
)
REDUCTION_SCHEME_COMPUTE_TYPE, REDUCTION_SCHEME_OUTPUT_TYPE = 2, 4
REPEATABLE_REDUCTIONS = REDUCTION_SCHEME_COMPUTE_TYPE | REDUCTION_SCHEME_OUTPUT_TYPE
"""Two ways to add the partial sums of a product that is split along k (split-K). Both add them in a
separate step, from the workspace. No product uses cuBLASLt's third way, which adds each partial
sum immediately, because NVIDIA promises no order of these additions."""
INVALID_VALUE, ARCH_MISMATCH, NOT_SUPPORTED = 7, 8, 15
INVALID = "status 7, invalid value"
REFUSALS = {
    INVALID_VALUE: INVALID,
    ARCH_MISMATCH: "status 8, not supported on this device",
    NOT_SUPPORTED: "status 15, not supported",
}
"""Statuses with which cuBLASLt refuses a product before submitting work. INVALID_VALUE may also
mean that gpunn passed a wrong argument."""
NO_ALGORITHM = "no algorithm"

PLAIN = EPILOGUE_DEFAULT
"""out = a b"""
BIAS = EPILOGUE_BIAS
"""out = a b + vector"""
RELU = EPILOGUE_RELU
"""out = max(a b, 0)"""
RELU_BIAS = EPILOGUE_RELU | EPILOGUE_BIAS
"""out = max(a b + vector, 0)"""
BIAS_GRADIENT = EPILOGUE_BGRADA
"""out = a b, and vector = sum of b's rows. gpunn's b is the matrix that cuBLASLt calls A; see
`LtProduct`."""

NAMES = {
    PLAIN: "nothing more",
    BIAS: "bias",
    RELU: "ReLU",
    RELU_BIAS: "bias and ReLU",
    BIAS_GRADIENT: "bias gradient",
}

LARGEST_ALIGNMENT = 256
"""The heuristic of cuBLASLt treats all larger alignments of matrices (in bytes) like this one."""


class Algorithm(ctypes.Structure):
    """The C structure cublasLtMatmulAlgo_t, whose content is private to cuBLASLt."""

    _fields_ = (("data", ctypes.c_uint64 * 8),)


class HeuristicResult(ctypes.Structure):
    """The C structure cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algorithm", Algorithm),
        ("workspace_bytes", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


POINTER, ATTRIBUTE = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
FUNCTIONS: dict[str, list[Any]] = {
    "cublasLtGetVersion": [],
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
        *(POINTER, ctypes.c_int, POINTER, POINTER),  # preference, wanted, results, count
    ],
    "cublasLtMatmulAlgoCheck": [
        *(POINTER, POINTER),  # handle, operation
        *(POINTER, POINTER, POINTER, POINTER),  # layouts of A, B, C, D
        *(POINTER, POINTER),  # algorithm, result
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
    library = load("cublasLt", FUNCTIONS)
    library.cublasLtGetVersion.restype = ctypes.c_size_t
    return library


class RefusalError(Exception):
    pass


def check_for_refusal(function: str, status: int) -> None:
    if status in REFUSALS:
        raise RefusalError(REFUSALS[status])
    check(function, status)


class Plan:
    """Describes one kind of matrix product to cuBLASLt, and stores the algorithm to compute it.

    `matrices` are the row-major matrices that cuBLASLt calls A, B, C and D; `transposed` states
    whether A and B are transposed. `vector` is the address of the epilogue's vector, or 0.
    """

    def __init__(
        self,
        library: Any,
        handle: ctypes.c_void_p,
        compute: int,
        epilogue: int,
        transposed: tuple[bool, bool],
        matrices: tuple[Array, ...],
        vector: int,
        workspace: int,
    ) -> None:
        self._library, self._handle, self._workspace = library, handle, workspace
        self._alignments = tuple(alignment(matrix.data.ptr) for matrix in matrices)
        self._operation = ctypes.c_void_p()
        self._layouts: list[ctypes.c_void_p] = []
        self.algorithm = Algorithm()
        made = library.cublasLtMatmulDescCreate(ctypes.byref(self._operation), compute, REAL_32F)
        check("cublasLtMatmulDescCreate", made)
        destroy_with(self, library.cublasLtMatmulDescDestroy, self._operation)
        self._describe(MATMUL_DESC_EPILOGUE, ctypes.c_uint32(epilogue))
        self._describe(MATMUL_DESC_TRANSA, ctypes.c_int32(transposed[0]))
        self._describe(MATMUL_DESC_TRANSB, ctypes.c_int32(transposed[1]))
        # The heuristic considers the vector's alignment.
        self._describe(MATMUL_DESC_BIAS_POINTER, ctypes.c_void_p(vector))
        for matrix in matrices:
            self._add(matrix)

    def _describe(self, attribute: int, value: Any) -> None:
        status = self._library.cublasLtMatmulDescSetAttribute(
            self._operation, attribute, ctypes.byref(value), ctypes.sizeof(value)
        )
        check("cublasLtMatmulDescSetAttribute", status)

    def _add(self, matrix: Array) -> None:
        # cuBLASLt's matrices are column-major, so a row-major matrix is described as its transpose.
        rows, columns = matrix.shape
        layout = ctypes.c_void_p()
        status = self._library.cublasLtMatrixLayoutCreate(
            ctypes.byref(layout), REAL_32F, columns, rows, columns
        )
        check("cublasLtMatrixLayoutCreate", status)
        destroy_with(self, self._library.cublasLtMatrixLayoutDestroy, layout)
        self._layouts.append(layout)

    def candidates(self, wanted: int) -> list[Algorithm]:
        library, preference = self._library, ctypes.c_void_p()
        made = library.cublasLtMatmulPreferenceCreate(ctypes.byref(preference))
        check("cublasLtMatmulPreferenceCreate", made)
        try:
            return self._candidates(preference, wanted)
        finally:
            library.cublasLtMatmulPreferenceDestroy(preference)

    def _candidates(self, preference: ctypes.c_void_p, wanted: int) -> list[Algorithm]:
        library = self._library
        attributes: dict[int, Any] = {
            MATMUL_PREF_MAX_WORKSPACE_BYTES: ctypes.c_uint64(self._workspace),
            MATMUL_PREF_REDUCTION_SCHEME_MASK: ctypes.c_uint32(REPEATABLE_REDUCTIONS),
        }
        for attribute, aligned in zip(MIN_ALIGNMENTS, self._alignments, strict=True):
            attributes[attribute] = ctypes.c_uint32(aligned)
        for attribute, value in attributes.items():
            status = library.cublasLtMatmulPreferenceSetAttribute(
                preference, attribute, ctypes.byref(value), ctypes.sizeof(value)
            )
            check("cublasLtMatmulPreferenceSetAttribute", status)
        results, count = (HeuristicResult * wanted)(), ctypes.c_int()
        status = library.cublasLtMatmulAlgoGetHeuristic(
            *(self._handle, self._operation, *self._layouts, preference),
            *(wanted, results, ctypes.byref(count)),
        )
        check_for_refusal("cublasLtMatmulAlgoGetHeuristic", status)
        valid = [result.algorithm for result in results[: count.value] if not result.state]
        if not valid:
            raise RefusalError(NO_ALGORITHM)
        return valid

    def accepts(self, algorithm: Algorithm) -> bool:
        result = HeuristicResult()
        status = self._library.cublasLtMatmulAlgoCheck(
            *(self._handle, self._operation, *self._layouts),
            *(ctypes.byref(algorithm), ctypes.byref(result)),
        )
        if status not in REFUSALS:
            check("cublasLtMatmulAlgoCheck", status)
        return not status and not result.state and result.workspace_bytes <= self._workspace

    def multiply(
        self, algorithm: Algorithm, matrices: tuple[Array, ...], vector: int, workspace: Array
    ) -> None:
        self._describe(MATMUL_DESC_BIAS_POINTER, ctypes.c_void_p(vector))
        alpha, beta = SCALARS[REAL_32F]
        pointers = [
            argument
            for matrix, layout in zip(matrices, self._layouts, strict=True)
            for argument in (matrix.data.ptr, layout)
        ]
        status = self._library.cublasLtMatmul(
            *(self._handle, self._operation, ctypes.byref(alpha), *pointers[:4]),  # A and B
            *(ctypes.byref(beta), *pointers[4:], ctypes.byref(algorithm)),  # C and D
            *(workspace.data.ptr, workspace.nbytes, cupy.cuda.get_current_stream().ptr),
        )
        check_for_refusal("cublasLtMatmul", status)


class LtHandle(Handle):
    create, destroy = "cublasLtCreate", "cublasLtDestroy"


handles = Handles(LtHandle)


def alignment(address: int) -> int:
    return min(address & -address, LARGEST_ALIGNMENT)
