"""Matrix products through cuBLAS and cuBLASLt, with `cupy.matmul` as the fallback.

`cupy.matmul` works everywhere, but can't be recorded in a CUDA graph: CuPy refuses to use its
cuBLAS handle on a capturing stream (cupy issue 6290). Products computed through gpunn's separate
cuBLAS handle and workspace can be recorded (cuBLAS library documentation, "CUDA Graphs Support").

If cuBLASLt is available, it computes products with a bias, ReLU or a bias's gradient. With measured
algorithms, cuBLASLt computes all products of float32 matrices.
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
