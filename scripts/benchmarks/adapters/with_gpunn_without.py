"""gpunn without one of its methods of matrix products, to see what that method is worth.

Where it would be taken, the next best one is: what the rules of `ProductPlans` say without it.
"""

from __future__ import annotations

import os
from typing import Any
from unittest.mock import patch

from benchmarks.adapters.with_gpunn import Gpunn
from benchmarks.competitors import METHOD
from gpunn.backends.numpy.compiled import interface
from gpunn.backends.numpy.compiled.product_plans import ProductPlans

CHOOSE = ProductPlans._method


def choose(plans: ProductPlans, m: int, n: int, k: int, *rest: Any) -> int:
    """Return a method for a product of these sizes that is not the one left out."""
    method = CHOOSE(plans, m, n, k, *rest)
    _, transpose_a, transpose_b = rest
    without = getattr(interface, os.environ[METHOD])
    if method != without:
        return method
    blas = interface.TILES if plans.blas is None or without == interface.BLAS else interface.BLAS
    if without == interface.TRANSPOSED_RESULT:
        return interface.PACKED if m * n > 1 << 15 else interface.TILES
    if without == interface.TRANSPOSED_PRODUCT:
        return interface.BLAS if plans.blas is not None else interface.TRANSPOSED_PANELS
    if without == interface.TRANSPOSED_PANELS:
        return interface.PACKED if plans.blas is None else interface.BLAS
    if without == interface.BLAS:
        return interface.TRANSPOSED_PANELS if transpose_b else interface.PACKED
    return interface.TILES if transpose_a or without == interface.SPLIT_K else blas


class Without(Gpunn):
    """`Gpunn` in a process that goes without the method in an environment variable."""

    def __init__(self) -> None:
        patch.object(ProductPlans, "_method", choose).start()
