"""gpunn without one of its methods of matrix products, to see what that method is worth.

Where it would be taken, the next best one is: what the rules of `ProductPlans` say without it.
"""

from __future__ import annotations

import os
from typing import Any
from unittest.mock import patch

from benchmarks.adapters.with_gpunn import Gpunn
from benchmarks.competitors import METHOD
from gpunn.backends.numpy.compiled import products
from gpunn.backends.numpy.compiled.product_plans import ProductPlans

CHOOSE = ProductPlans._method


def choose(plans: ProductPlans, m: int, n: int, k: int, *rest: Any) -> int:
    """Return a method for a product of these sizes that is not the one left out."""
    method = CHOOSE(plans, m, n, k, *rest)
    transpose_a, transpose_b, _ = rest
    without = getattr(products, os.environ[METHOD])
    if method != without:
        return method
    blas = products.TILES if plans.blas is None or without == products.BLAS else products.BLAS
    if without == products.TRANSPOSED_RESULT:
        return products.PACKED if m * n > 1 << 15 else products.TILES
    if without == products.TRANSPOSED_PRODUCT:
        return products.BLAS if plans.blas is not None else products.TRANSPOSED_PANELS
    if without == products.TRANSPOSED_PANELS:
        return products.PACKED if plans.blas is None else products.BLAS
    if without == products.BLAS:
        return products.TRANSPOSED_PANELS if transpose_b else products.PACKED
    return products.TILES if transpose_a or without == products.SPLIT_K else blas


class Without(Gpunn):
    """`Gpunn` in a process that goes without the method in an environment variable."""

    def __init__(self) -> None:
        patch.object(ProductPlans, "_method", choose).start()
