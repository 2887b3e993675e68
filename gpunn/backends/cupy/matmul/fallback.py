"""Matrix products by `cupy.matmul`, with any version of CuPy, but not in CUDA graphs."""

import cupy

from gpunn.typing import Array


class CupyProduct:
    capturable = False

    def __init__(self, reason: str) -> None:
        self.reason = f"cupy.matmul ({reason})"

    def __call__(
        self, a: Array, b: Array, out: Array, transpose_a: bool, transpose_b: bool
    ) -> None:
        cupy.matmul(a.T if transpose_a else a, b.T if transpose_b else b, out=out)

    def by_groups(
        self, a: Array, b: Array, out: Array, transpose_a: bool, transpose_b: bool
    ) -> None:
        if transpose_a:
            out[...] = cupy.matmul(a.transpose(1, 2, 0), b.transpose(1, 0, 2))
            return
        right = b.transpose(0, 2, 1) if transpose_b else b
        out[...] = cupy.matmul(a.transpose(1, 0, 2), right).transpose(1, 0, 2)
