"""Operands of products on the device, and replacements of libraries."""

from collections import Counter

import cupy
import numpy as np

from gpunn.backends.cupy.matmul import cublaslt

__all__ = ["Amended", "close", "operands"]


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


class Amended:
    def __init__(self, library=None, **functions):
        self._library, self._functions = library or cublaslt.load_cublaslt(), functions
        self.calls = Counter()

    def __getattr__(self, name):
        function = self._functions.get(name) or getattr(self._library, name)

        def call(*arguments):
            self.calls[name] += 1
            return function(*arguments)

        return call

    def unbalanced(self):
        """Return the number of objects that were created but not destroyed, by kind."""
        made = {name: n for name, n in self.calls.items() if "Create" in name}
        assert made
        gone = {name: self.calls[name.replace("Create", "Destroy")] for name in made}
        return {name: n - gone[name] for name, n in made.items() if n != gone[name]}
