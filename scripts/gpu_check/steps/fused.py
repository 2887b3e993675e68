"""Products with an epilogue in each precision: which ones cuBLASLt does, and how exactly.

A refusal is harmless: kernels of their own do the rest then. That an argument is invalid, or that
cuBLASLt can't be opened, is a failure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import report
from outcome import FAILED, PASSED, Outcome
from steps import precision

from gpunn.backends import Backend, get_backend
from gpunn.backends.cupy.matmul import FusedProduct, choose_fused_product, cublaslt
from gpunn.backends.cupy.options import PRECISIONS
from gpunn.backends.cupy.scratch import Scratch

Shape = tuple[int, int, int]

HARMLESS = (cublaslt.NO_ALGORITHM, cublaslt.REFUSALS[cublaslt.NOT_SUPPORTED])


def run() -> Outcome:
    """Do every epilogue in every precision and shape."""
    backend = get_backend("cupy")
    rows: list[list[Any]] = []
    wrong: list[str] = []
    refused: dict[str, str] = {}
    errors: dict[str, Any] = {}
    for narrow in PRECISIONS:
        for epilogue, name in cublaslt.NAMES.items():
            for shape in precision.SHAPES:
                at = f"{narrow}, {name}, {'x'.join(map(str, shape))}"
                # Its own, so that it tells of this product only.
                multiply = choose_fused_product(True, narrow, Scratch())
                measured = errors_of(backend, multiply, narrow, epilogue, shape)
                refused[at] = refusal(multiply.reason)
                if measured is None:
                    rows.append([*at.split(", "), f"refused: {refused[at]}", ""])
                    if refused[at] not in HARMLESS:
                        wrong.append(f"{at}: refused ({refused[at]})")
                    continue
                error, limit = measured
                errors[at] = {"error": error, "bound": limit}
                rows.append([*at.split(", "), f"{error:.1e}", f"{limit:.1e}"])
                if not error <= limit:
                    wrong.append(f"{at}: {error:.1e}, at most {limit:.1e}")
    text = report.table(("precision", "epilogue", "shape", "error", "bound"), rows)
    figures = {"errors": errors, "refused": refused}
    if wrong:
        return Outcome(FAILED, "; ".join(wrong[:3]), figures, text)
    return Outcome(
        PASSED, f"{len(errors)} of {len(rows)} done by cuBLASLt, within bounds", figures, text
    )


def refusal(reason: str) -> str:
    """Return why the only product that was asked for was refused, or ""."""
    _, found, why = reason.rpartition("(")
    return why.rstrip(")") if found else reason.removeprefix("cuBLASLt")


def errors_of(
    backend: Backend, multiply: FusedProduct, narrow: str, epilogue: int, shape: Shape
) -> tuple[float, float] | None:
    """Return the largest error, relative to the sum of all terms' sizes, and its bound.

    None if it was refused. A bias is one term more. The gradient of a bias is a sum of the second
    matrix's rows, whose numbers may be rounded as the product's are.
    """
    _, terms, columns = shape
    a, b = precision.operands(shape)
    bias = np.random.default_rng(1).standard_normal(columns, np.float32)
    out, vector = backend.zeros((len(a), columns), "float32"), backend.from_host(bias)
    given = (backend.from_host(a), backend.from_host(b), out, epilogue, vector)
    if not multiply(*given):
        return None
    exact = a.astype(np.float64) @ b
    scale = np.abs(a).astype(np.float64) @ np.abs(b)
    if epilogue in (cublaslt.BIAS, cublaslt.RELU_BIAS):
        exact, scale, terms = exact + bias, scale + np.abs(bias), terms + 1
    if epilogue in (cublaslt.RELU, cublaslt.RELU_BIAS):
        exact = np.maximum(exact, 0)
    error = float((np.abs(backend.to_host(out) - exact) / scale).max())
    if epilogue == cublaslt.BIAS_GRADIENT:
        sums, sizes = b.astype(np.float64).sum(axis=0), np.abs(b).astype(np.float64).sum(axis=0)
        error = max(error, float((np.abs(backend.to_host(vector) - sums) / sizes).max()))
    return error, precision.bound(narrow, terms)
