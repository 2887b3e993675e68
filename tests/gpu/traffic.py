"""Bytes of device memory that kernels move on the emulated device: see `traffic.cpp`.

`watch` needs a separate process, because it does not see kernels that were built earlier.
"""

from __future__ import annotations

import ctypes
import sys
from collections import Counter
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("traffic.cpp")
INSTRUMENTED = ("-fsanitize=thread", "-nodefaultlibs", "-Wl,-lstdc++,-lm,-lgcc_s,-lc")

MOVED: Counter[str] = Counter()
"""For each kernel, by name: the bytes that its launches read and wrote so far. A byte counts once
for each launch that reads it, and once for each that writes it."""


def watch() -> None:
    """Count the traffic of all kernels that are built from now on."""
    from emulated_cuda import kernels, toolchain

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
        MOVED[kernel.name] += library.traffic_end()

    kernels.Kernel.run = run_and_count
