"""Operands of products on the device, and what becomes of them."""

import cupy
import numpy as np

__all__ = ["close", "operands"]


def operands(m, n, k, transpose_a=False, transpose_b=False, *, dtype="float32", order="C"):
    """Return a, b, an array of NaN for their product, and the product in float64."""
    rng = np.random.default_rng(m + n + k)
    a = rng.standard_normal((k, m) if transpose_a else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if transpose_b else (k, n)).astype(dtype)
    expected = (a.T if transpose_a else a).astype("f8") @ (b.T if transpose_b else b)
    out = cupy.full((m, n), np.nan, dtype)
    return cupy.asarray(a, order=order), cupy.asarray(b, order=order), out, expected


def close(actual, expected, tolerance=1e-5):
    np.testing.assert_allclose(actual.get(), expected, rtol=tolerance, atol=tolerance)
