"""Matrix products through cuBLAS and cuBLASLt, with `cupy.matmul` as the fallback.

`cupy.matmul` can't be recorded in a CUDA graph, since CuPy refuses to use its cuBLAS handle on a
capturing stream (cupy issue 6290). So gpunn has a separate cuBLAS handle.
"""

from gpunn.backends.cupy.matmul.choice import (
    NoFusedProduct,
    Product,
    SelectedProduct,
    choose_fused_product,
    choose_product,
)

__all__ = [
    "NoFusedProduct",
    "Product",
    "SelectedProduct",
    "choose_fused_product",
    "choose_product",
]
