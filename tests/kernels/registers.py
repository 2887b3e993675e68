"""The registers of the project's kernels, as NVRTC's cubins have them: a table in Markdown.

    PYTHONPATH=.:tests python -m kernels.registers [FILE]

Not a measurement: no GPU is needed, and none was used.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

from emulated_cuda import toolchain
from kernels.conftest import record
from kernels.cubins import ARCHITECTURES, Job, compile_jobs


def table() -> str:
    """Return a row for each kernel and type: the most registers that any of its variants takes."""
    sources = [source for source in record().sources if source["trained"]]
    jobs = {
        (number, architecture): Job(
            source["text"], tuple(source["options"]), tuple(source["names"]), architecture
        )
        for number, source in enumerate(sources)
        for architecture in ARCHITECTURES
    }
    built = compile_jobs(jobs.values(), toolchain.cache_folder() / "cubins")
    rows: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    frames = 0
    for (_, architecture), job in jobs.items():
        kind = re.search(r"typedef (float|double) T;", job.text)
        for kernel, taken in built[job].items():
            if kernel.startswith("gpunn_"):
                row = rows[kernel, kind[1] if kind else ""]
                row[architecture] = max(row[architecture], taken.registers)
                frames += taken.frame > 0
    names = [f"sm_{architecture}" for architecture in ARCHITECTURES]
    lines = [f"| kernel | T | {' | '.join(names)} |", f"|---|---|{'--:|' * len(names)}"]
    for (kernel, kind), row in sorted(rows.items()):
        numbers = " | ".join(str(row[architecture]) for architecture in ARCHITECTURES)
        lines.append(f"| `{kernel}` | {kind} | {numbers} |")
    lines.append("")
    lines.append(
        f"{len(sources)} sources that training asks for, {len(jobs)} cubins; "
        f"{frames} of the project's kernels use local memory."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(table())
    else:
        sys.stdout.write(table())
