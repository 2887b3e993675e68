"""Errors of matrix products in each precision that the backend offers, against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import report
from outcome import FAILED, PASSED, Outcome

from gpunn.backends import get_backend
from gpunn.backends.cupy.options import PRECISIONS

SHAPES = ((128, 8, 512), (128, 784, 512), (1024, 512, 512), (128, 512, 10))
"""Rows, terms and columns. With few terms, rounded inputs can't hide in the bound for the sum."""

ROUNDING = {"float32": 0.0, "tf32": 2.0**-10, "bfloat16": 2.0**-7, "float16": 2.0**-10}
"""Largest relative change of an input: TF32 and float16 keep 10 bits after the point, bfloat16 7.
cuBLAS does not document whether it rounds or cuts off; this allows for both."""

UNIT = 2.0**-24  # unit roundoff of float32


def run() -> Outcome:
    """Compare every product with its bound."""
    rows: list[list[Any]] = []
    wrong = []
    figures: dict[str, Any] = {}
    for precision in PRECISIONS:
        backend = get_backend("cupy", matmul_precision=precision)
        for shape in SHAPES:
            error, limit = measured(backend, precision, shape)
            at = "x".join(map(str, shape))
            figures[f"{precision}, {at}"] = {"error": error, "bound": limit}
            rows.append([precision, at, f"{error:.1e}", f"{limit:.1e}"])
            if not error <= limit:
                wrong.append(f"{precision} {at}: {error:.1e}, at most {limit:.1e}")
    text = report.table(("precision", "shape", "error", "bound"), rows)
    if wrong:
        return Outcome(FAILED, "; ".join(wrong), figures, text)
    return Outcome(PASSED, f"{', '.join(PRECISIONS)} within their bounds", figures, text)


def measured(backend: Any, precision: str, shape: tuple[int, int, int]) -> tuple[float, float]:
    """Return the largest error of a product, relative to |a| |b|, and its bound."""
    m, k, n = shape
    a, b = operands(shape)
    out = backend.zeros((m, n), "float32")
    backend.matmul(backend.from_host(a), backend.from_host(b), out)
    exact, scale = a.astype(np.float64) @ b, np.abs(a).astype(np.float64) @ np.abs(b)
    error = float((np.abs(backend.to_host(out) - exact) / scale).max())
    return error, bound(precision, k)


def operands(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return two matrices to multiply."""
    m, k, n = shape
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal(size, np.float32) for size in ((m, k), (k, n)))
    return a, b


def bound(precision: str, terms: int) -> float:
    """Return the bound on the error of a sum of so many products, relative to |a| |b|.

    With inputs changed by at most u and a sum of k terms in float32, of unit roundoff v, it is
    2 u + u^2 + k v / (1 - k v) (Higham 2002, Accuracy and Stability of Numerical Algorithms,
    section 3.5).
    """
    u, kv = ROUNDING[precision], terms * UNIT
    return 2 * u + u * u + kv / (1 - kv)
