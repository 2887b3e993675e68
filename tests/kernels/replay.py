"""Runs recorded launches as C++ under a checker, and compares what they leave with the oracle.

Each CUDA source becomes a shared library: the emulator's shim, `include/threads.h`, the source
itself, `include/grid.h`. `include/driver.cpp` loads them and runs a case's launches in order, on
heap blocks of exactly the size that the program asked for. All of it is built for one checker
and runs in a process of its own, which the checker ends at the first fault.

"thread": a host thread for each thread of a block; `include/races.h`, which ThreadSanitizer's
instrumentation calls, finds accesses that nothing orders, whatever the schedule.
"address": AddressSanitizer and UndefinedBehaviorSanitizer find wrong indices, also of shared
memory, and undefined arithmetic. Kernels whose threads do not work together run them in turn.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from emulated_cuda import toolchain
from emulated_cuda.kernels import DYNAMIC_SHARED, FLAGS, NEEDS_FIBERS
from parity import operations

OWN = Path(__file__).parent / "include"
ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SANITIZERS = {
    # The driver has the functions that the instrumentation calls.
    "thread": ("-fsanitize=thread",),
    "address": ADDRESS,
}
DRIVERS = {"thread": ("-DRACES", "-rdynamic"), "address": ADDRESS}
ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
WORKERS = os.cpu_count() or 1
TIMEOUT = 1800
"""Seconds for one process: a guard against kernels that wait for each other for ever."""

Change = Callable[[str], str]


class FaultError(AssertionError):
    """A checker, or the kernel itself, stopped the run; the message is its report."""


ATOMIC = re.compile(r"\batomic[A-Z]\w+")


def cooperative(source: str) -> bool:
    """Return whether a kernel's threads share memory or wait for each other."""
    return any(pattern.search(source) for pattern in (NEEDS_FIBERS, ATOMIC))


def own(name: str) -> str:
    """Return the text of a header of this folder, so that builds depend on what is in it."""
    return (OWN / name).read_text().replace("#pragma once\n", "")


def translate(source: str, kernel: str, sanitizer: str) -> tuple[str, str]:
    """Return the C++ text, and the header before it."""
    serial = sanitizer == "address" and not cooperative(source)
    if DYNAMIC_SHARED.search(source):
        raise NotImplementedError("replay: a kernel with dynamic shared memory")
    head = '#define SERIAL\n#include "shim.h"\n' if serial else own("threads.h")
    rest = [
        *('#line 1 "kernel.cu"', source),
        *('#line 1 "entry.cpp"', '#include "entry.h"', own("grid.h"), f"REPLAY({kernel})"),
    ]
    return "\n".join(rest), head + toolchain.leading_includes(source)


@cache
def driver(sanitizer: str) -> Path:
    """Return the program that runs launches, built."""
    source = OWN / "driver.cpp"
    flags = ("-std=c++20", "-O1", "-g1", *DRIVERS[sanitizer])
    text = source.read_text() + own("races.h")
    key = hashlib.sha256((text + " ".join(flags)).encode()).hexdigest()[:32]
    program = toolchain.cache_folder() / f"driver-{key}"
    if not program.exists():
        with tempfile.TemporaryDirectory(dir=program.parent) as folder:
            built = Path(folder, "driver")
            compiler = os.environ.get("CXX", "g++")
            command = [compiler, *flags, str(source), "-o", str(built), "-ldl", "-pthread"]
            subprocess.run(command, check=True, capture_output=True, text=True)
            built.replace(program)
    return program


class Recording:
    """What `recorder` wrote."""

    def __init__(self, folder: Path, content: dict[str, Any]):
        self.memory = folder / "memory.bin"
        self.headers: str = content["headers"]
        self.sources: list[dict[str, Any]] = content["sources"]
        self.operations: list[dict[str, Any]] = content["operations"]
        self.tables: dict[str, list[str]] = content["tables"]

    def library(self, number: int, kernel: str, sanitizer: str, change: Change | None) -> Path:
        """Build the library of one source, its text changed first if wanted."""
        source = self.sources[number]
        text = source["text"] if change is None else change(source["text"])
        passed = [o for o in source["options"] if o.startswith(("-D", "-I", "-U"))]
        flags = (
            *(*FLAGS, "-g1", *SANITIZERS[sanitizer], "-pthread"),
            *(f"-I{toolchain.INCLUDE}", *passed, f"-I{self.headers}"),
        )
        translated, header = translate(text, kernel, sanitizer)
        return toolchain.build(translated, flags, header)[0]

    def libraries(
        self, records: Iterable[dict[str, Any]], sanitizer: str, change: Change | None = None
    ) -> dict[tuple[int, str], Path]:
        wanted = {(launch["source"], launch["kernel"]) for r in records for launch in r["launches"]}
        with ThreadPoolExecutor(WORKERS) as pool:
            built = pool.map(lambda pair: self.library(*pair, sanitizer, change), sorted(wanted))
            return dict(zip(sorted(wanted), built, strict=True))

    def replay(
        self, records: list[dict[str, Any]], sanitizer: str, change: Change | None = None
    ) -> list[dict[str, np.ndarray]]:
        """Run recorded operations again; return each one's arrays as they are afterwards.

        Raises
        ------
        FaultError
            If the checker finds something, a kernel fails, or threads wait for ever.
        """
        built = self.libraries(records, sanitizer, change)
        parts = [part for part in (records[k::WORKERS] for k in range(WORKERS)) if part]
        with ThreadPoolExecutor(WORKERS) as pool:
            ran = list(pool.map(lambda part: self._run(part, built, sanitizer), parts))
        after: list[Any] = [None] * len(records)
        for k, results in enumerate(ran):
            after[k::WORKERS] = results
        return after

    def _run(
        self, records: list[dict[str, Any]], built: dict[tuple[int, str], Path], sanitizer: str
    ) -> list[dict[str, np.ndarray]]:
        lines = [line for record in records for line in job(record, built)]
        with tempfile.TemporaryDirectory() as folder:
            jobs, results = Path(folder, "jobs"), Path(folder, "results")
            jobs.write_text("\n".join(lines) + "\n")
            command = [str(driver(sanitizer)), str(jobs), str(self.memory), str(results)]
            if shutil.which("setarch"):  # g++ 12's AddressSanitizer can't take every layout
                command = ["setarch", os.uname().machine, "--addr-no-randomize", *command]
            try:
                ended = subprocess.run(
                    command,
                    env={**os.environ, **ENVIRONMENT},
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=TIMEOUT,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise FaultError(
                    f"not done after {TIMEOUT} s: threads that wait for ever?"
                ) from None
            if ended.returncode:
                raise FaultError(report(ended.stderr))
            return read_results(results.read_bytes(), records)


def job(record: dict[str, Any], built: dict[tuple[int, str], Path]) -> list[str]:
    lines = [f"case {record['case']}, {record['dtype']}, {record['layout']}"]
    lines += [f"buffer {buffer['size']} {buffer['content']}" for buffer in record["buffers"]]
    for launch in record["launches"]:
        lines += [
            f"argument {a['bytes']} {a.get('buffer', -1)} {a.get('offset', 0)}"
            for a in launch["arguments"]
        ]
        sizes = " ".join(map(str, (*launch["grid"], *launch["block"])))
        lines.append(f"launch {built[launch['source'], launch['kernel']]} {sizes}")
    return lines + [f"keep {buffer['id']}" for buffer in record["buffers"]]


def report(errors: str) -> str:
    """Return the last case begun and what was said after it."""
    lines = errors.splitlines()
    start = max((n for n, line in enumerate(lines) if line.startswith("case ")), default=0)
    return "\n".join(lines[start : start + 60])


def read_results(content: bytes, records: list[dict[str, Any]]) -> list[dict[str, np.ndarray]]:
    """Cut the buffers' contents up into the arrays that lie in them."""
    position, after = 0, []
    for record in records:
        buffers = []
        for buffer in record["buffers"]:
            buffers.append(content[position : position + buffer["size"]])
            position += buffer["size"]
        after.append(
            {
                name: np.ndarray(
                    place["shape"],
                    place["dtype"],
                    buffers[place["buffer"]],
                    place["offset"],
                    place["strides"],
                )
                for name, place in record["arrays"].items()
                if "buffer" in place
            }
        )
    return after


# ------------------------------------------------------------------------------------------- oracle

ROUNDED_ONCE = re.compile(r"(activate-(relu|identity|leaky_relu)|rescale|update-sgd-0)-")
"""Cases, beside the exact ones, in which every element is made by the same roundings as the base's:
compared bitwise with the base in the same type."""


def check(record: dict[str, Any], case: operations.Case, after: dict[str, np.ndarray]) -> bool:
    """Assert that a replayed operation gave the oracle's results; return whether bitwise."""
    dtype = record["dtype"]
    exact = case.exact or ROUNDED_ONCE.match(case.name) is not None
    host = operations.inputs(case, dtype)
    before = dict(operations.flatten(host))
    expected = operations.execute(
        operations.ORACLE, dtype if exact else "float64", case, host, "contiguous"
    )
    numbers = [a for a in expected.values() if a.dtype.kind == "f" and a.size]
    scale = max([1.0, *(float(np.abs(a).max()) for a in numbers)])
    tolerance = np.finfo(dtype).eps * scale * (4 + 2 * math.sqrt(case.terms))
    where = f"{case.name}, {dtype}, {record['layout']}"
    # An array whose memory no kernel reached is as it was.
    complete = {name: after.get(name, array) for name, array in before.items()}
    operations.compare(complete, expected, before, dtype, tolerance, exact, where)
    return exact
