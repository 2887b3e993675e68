"""Count the kernels' registers in NVRTC's cubins, for tests/kernels/README.md; see `gpu.steps`."""

import re
from collections import defaultdict
from importlib import metadata
from typing import Any

import documented
from kernels.cubins import ARCHITECTURES, build_sources
from kernels.declared import is_of_project

DOCUMENT = documented.KERNELS
COMPILER = "Written with NVRTC "

KIND = re.compile(r"typedef (float|double) T;")


def nvrtc() -> str:
    return metadata.version("nvidia-cuda-nvrtc")


def table(sources: list[dict[str, Any]]) -> str:
    """Return the compiler's version and a row for each kernel that training uses.

    If a kernel has several sources, the row has the maximum of their registers.
    """
    trained = [source for source in sources if source["trained"]]
    rows: dict[str, dict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
    local: dict[str, int] = defaultdict(int)
    for architecture in ARCHITECTURES:
        built = build_sources(trained, architecture)
        for source, result in zip(trained, built, strict=True):
            kind = KIND.search(source["text"])
            cell = kind[1] if kind else "float", architecture
            assert not isinstance(result, str), result
            for kernel, taken in result.kernels.items():
                if is_of_project(kernel):
                    rows[kernel][cell] = max(rows[kernel][cell], taken.registers)
                    local[kernel] = max(local[kernel], taken.frame)
    names = [f"sm_{architecture}" for architecture in ARCHITECTURES]
    lines = [
        f"{COMPILER}{nvrtc()}.\n",
        f"| kernel | {' | '.join(names)} | float64, at most | local memory, bytes |",
        f"|---|{'---:|' * (len(names) + 2)}",
    ]
    for kernel, row in sorted(rows.items()):
        cells = [str(row.get(("float", architecture), "")) for architecture in ARCHITECTURES]
        double = [number for (kind, _), number in row.items() if kind == "double"]
        cells += [str(max(double)) if double else "", str(local[kernel])]
        lines.append(f"| `{kernel.removeprefix('gpunn_')}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def current() -> str:
    from kernels.conftest import record

    recordings = [record(dtype, every_layout=True) for dtype in ("float32", "float64")]
    return table([source for recording in recordings for source in recording.sources])
