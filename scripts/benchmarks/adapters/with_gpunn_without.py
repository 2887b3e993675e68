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

INSTEAD = {
    interface.PACKED: interface.TILES,
    interface.TRANSPOSED_PANELS: interface.PACKED,
    interface.TRANSPOSED_PRODUCT: interface.TRANSPOSED_PANELS,
}
"""What does the products of each method when that is left out."""


def choose(plans: ProductPlans, *sizes: Any) -> int:
    """Return a method for a product of these sizes that is not the one left out."""
    method = CHOOSE(plans, *sizes)
    left_out = method == getattr(interface, os.environ[METHOD])
    return INSTEAD[method] if left_out else method


class Without(Gpunn):
    """`Gpunn` in a process that goes without the method in an environment variable."""

    def __init__(self) -> None:
        patch.object(ProductPlans, "_method", choose).start()
