"""Errors of matrix products, plain and fused, in each precision, against float64.

The bound holds on any device and for any algorithm: it allows for rounded inputs and for sums in
any order.
"""

import itertools

import numpy as np
import pytest

from gpunn.backends import get_backend
from gpunn.backends.cupy.matmul import choose_fused_product, cublaslt
from gpunn.backends.cupy.options import PRECISIONS
from gpunn.backends.cupy.scratch import Scratch

SHAPES = [(128, 8, 512), (128, 784, 512), (1024, 512, 512), (128, 512, 10)]
"""Rows, terms and columns. With few terms, rounded inputs can't hide in the bound for the sum."""

ROUNDING = {"float32": 0.0, "tf32": 2.0**-10, "bfloat16": 2.0**-7, "float16": 2.0**-10}
"""Largest relative change of an input: TF32 and float16 keep 10 bits after the point, bfloat16 7.
cuBLAS does not document whether it rounds or cuts off; this allows for both."""

UNIT = 2.0**-24  # unit roundoff of float32

HARMLESS = (cublaslt.NO_ALGORITHM, cublaslt.REFUSALS[cublaslt.NOT_SUPPORTED])
"""Reasons for which cuBLASLt may refuse a product; separate kernels then do the rest."""


def bound(precision, terms):
    """The error bound of a sum of `terms` products, relative to |a| |b|.

    Inputs change by at most u, and k terms are summed in float32 with unit roundoff v. The bound is
    2 u + u^2 + k v / (1 - k v). Source: Higham 2002, Accuracy and Stability of Numerical
    Algorithms, section 3.5.
    """
    u, kv = ROUNDING[precision], terms * UNIT
    return 2 * u + u * u + kv / (1 - kv)


@pytest.fixture(scope="module")
def operands():
    """Two matrices of a shape, their product in float64, and |a| |b|."""
    kept = {}

    def made(shape):
        if shape not in kept:
            m, k, n = shape
            generator = np.random.default_rng(0)
            a, b = (generator.standard_normal(size, np.float32) for size in ((m, k), (k, n)))
            kept[shape] = a, b, a.astype("f8") @ b, np.abs(a).astype("f8") @ np.abs(b)
        return kept[shape]

    return made


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_products(operands, precision, shape):
    backend = get_backend("cupy", matmul_precision=precision)
    a, b, exact, scale = operands(shape)
    out = backend.zeros(exact.shape, "float32")
    backend.matmul(backend.from_host(a), backend.from_host(b), out)
    error = (np.abs(backend.to_host(out) - exact) / scale).max()
    assert error <= bound(precision, shape[1])


EACH = itertools.product(PRECISIONS, cublaslt.NAMES)


@pytest.mark.parametrize(
    ("precision", "epilogue", "shape"),
    [(*each, shape) for each, shape in zip(EACH, itertools.cycle(SHAPES), strict=False)],
)
def test_fused_products(operands, precision, epilogue, shape):
    """A bias adds one term; its gradient is a sum of the second matrix's rounded rows."""
    backend, multiply = get_backend("cupy"), choose_fused_product(True, precision, Scratch())
    a, b, exact, scale = operands(shape)
    terms, bias = shape[1], np.random.default_rng(1).standard_normal(shape[2], np.float32)
    out, vector = backend.zeros(exact.shape, "float32"), backend.from_host(bias)
    if not multiply(backend.from_host(a), backend.from_host(b), out, epilogue, vector):
        why = multiply.reason.rpartition("(")[2].rstrip(")")
        assert why in HARMLESS, multiply.reason
        pytest.skip(multiply.reason)
    if epilogue in (cublaslt.BIAS, cublaslt.RELU_BIAS):
        exact, scale, terms = exact + bias, scale + np.abs(bias), terms + 1
    if epilogue in (cublaslt.RELU, cublaslt.RELU_BIAS):
        exact = np.maximum(exact, 0)
    error = (np.abs(backend.to_host(out) - exact) / scale).max()
    if epilogue == cublaslt.BIAS_GRADIENT:
        sums, sizes = b.astype("f8").sum(axis=0), np.abs(b).astype("f8").sum(axis=0)
        error = max(error, (np.abs(backend.to_host(vector) - sums) / sizes).max())
    assert error <= bound(precision, terms)
