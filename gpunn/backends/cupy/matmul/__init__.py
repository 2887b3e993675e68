"""Matrix products: cuBLAS through a handle of our own, or CuPy's as the fallback.

CuPy's `matmul` works everywhere but can't be recorded in a CUDA graph: CuPy refuses to give its
cuBLAS handle a capturing stream (cupy issue 6290). A handle of our own can be, provided that its
workspace is ours too (cuBLAS library documentation, "CUDA Graphs Support").

Products with a bias, ReLU or a bias's gradient in them are cuBLASLt's, where it can be had; all of
float32 matrices are, where its algorithms are to be measured.
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
