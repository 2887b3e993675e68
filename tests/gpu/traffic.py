"""Bytes of device memory that kernels move on the emulated device: see `traffic.cpp`.

`watch` needs a separate process, because it does not see kernels that were built earlier.
"""

import ctypes
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

SOURCE = Path(__file__).with_name("traffic.cpp")
INSTRUMENTED = ("-fsanitize=thread", "-nodefaultlibs", "-Wl,-lstdc++,-lm,-lgcc_s,-lc")

MOVED: Counter[str] = Counter()
"""For each kernel, by name: the bytes that its launches read and wrote so far. A byte counts once
for each launch that reads it, and once for each that writes it."""


class Launch(NamedTuple):
    """A launch of a kernel, or of a product if it has arithmetic operations."""

    name: str
    bytes: int
    operations: int = 0


LAUNCHES: list[Launch] = []
"""All launches so far, in order."""


def watch() -> None:
    from emulated_cuda import blas, blas_lt, kernels, toolchain

    path, _ = toolchain.build(SOURCE.read_text(), ("-std=c++20", "-O2"))
    library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)  # kernels find its functions
    library.traffic_watch.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    library.traffic_end.restype = ctypes.c_longlong
    memory = sys.modules["emulated_cuda.install"]._installed.memory
    kernels.FLAGS = (*kernels.FLAGS, *INSTRUMENTED)
    run = kernels.Kernel.run

    def run_and_count(kernel: Any, arguments: list[bytes], *sizes: Any) -> None:
        regions = [
            parameter.region(raw)
            for parameter, raw in zip(kernel.parameters, arguments, strict=True)
        ]
        library.traffic_begin()
        for allocation in {memory.find(address) for address, _ in filter(None, regions)}:
            library.traffic_watch(allocation.address, allocation.size)
        run(kernel, arguments, *sizes)
        LAUNCHES.append(Launch(kernel.name, library.traffic_end()))
        MOVED[kernel.name] += LAUNCHES[-1].bytes

    kernels.Kernel.run = run_and_count
    blas._gemm = noting(blas._gemm)
    blas_lt._matmul = noting(blas_lt._matmul)


def noting(product: Callable[[Any, Any], int]) -> Callable[[Any, Any], int]:
    """Return a product's function that adds each successful launch to `LAUNCHES`."""

    def run(runtime: Any, g: Any) -> int:
        status = product(runtime, g)
        if status == 0:
            count, itemsize = getattr(g, "count", 1), 8 if getattr(g, "type_a", 0) == 1 else 4
            elements = g.m * g.k + g.k * g.n + g.m * g.n
            LAUNCHES.append(
                Launch("product", count * itemsize * elements, 2 * count * g.m * g.n * g.k)
            )
        return status

    return run
