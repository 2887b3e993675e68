"""Run recorded launches as C++ under a checker, and compare the results with the reference.

The CUDA sources that run together are compiled to a shared library: the emulator's shim and
`include/threads.h`, then each source in a namespace. `include/driver.cpp` loads it and runs a
case's launches in order, on heap blocks of exactly the allocated size, with the recorded results
of products. All code is built for one
checker and runs in a separate process, which ends at the first fault.

"thread": `include/races.h`, which ThreadSanitizer's instrumentation calls, finds unordered
accesses, independent of the order in which threads run.
"address": AddressSanitizer and UndefinedBehaviorSanitizer find undefined arithmetic and wrong
indices, including those of shared memory.

The threads of a block run until they wait for each other. If a kernel's threads never wait, they
run one after the other.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import c_programs
import numpy as np
from emulated_cuda import toolchain
from emulated_cuda.kernels import DYNAMIC_SHARED, FLAGS, NEEDS_FIBERS
from parity import operations

OWN = Path(__file__).parent / "include"
SANITIZERS = {
    # The driver contains the functions that the instrumentation calls.
    "thread": ("-fsanitize=thread",),
    "address": c_programs.SANITIZERS,
}
DRIVERS = {"thread": ("-DRACES",), "address": c_programs.SANITIZERS}
ENVIRONMENT = {
    # Otherwise memory for returned stack frames would be allocated for each thread of each block.
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
WORKERS = os.cpu_count() or 1
TIMEOUT = 1800
"""Maximum seconds of a process, since faulty kernels may wait for each other forever."""

Change = Callable[[str], str]

Pair = tuple[int, str]
"""The number of a source, and the name of a kernel in the source."""


class Built(NamedTuple):
    """A kernel's library, its number in the library, and whether its threads take turns."""

    library: Path
    number: int
    in_turn: bool


class FaultError(AssertionError):
    """A checker or the kernel stopped the run; the message is its report."""


ATOMIC = re.compile(r"\batomic[A-Z]\w+")


def cooperative(source: str) -> bool:
    return any(pattern.search(source) for pattern in (NEEDS_FIBERS, ATOMIC))


def header_text(name: str) -> str:
    """Return the text of a header of this folder, so that builds depend on its content."""
    return (OWN / name).read_text().replace("#pragma once\n", "")


def translate(sources: dict[int, str], kernels: Iterable[Pair]) -> str:
    """Return the C++ text for kernels of these sources, after the common header."""
    lines = []
    for number, source in sources.items():
        if DYNAMIC_SHARED.search(source):
            raise NotImplementedError("replay: a kernel with dynamic shared memory")
        text = source.replace('extern "C" ', "")  # names are in the source's namespace
        lines += [f"namespace source_{number} {{", '#line 1 "kernel.cu"', text, "}"]
    lines += ['#line 1 "entry.cpp"', "SHARED"]
    lines += [
        f"REPLAY({place}, source_{number}::{kernel})"
        for place, (number, kernel) in enumerate(kernels)
    ]
    return "\n".join(lines)


@cache
def driver(sanitizer: str) -> Path:
    source = OWN / "driver.cpp"
    flags = ("-std=c++20", "-O1", "-g1", "-rdynamic", *DRIVERS[sanitizer])
    text = source.read_text() + header_text("races.h") + header_text("team.h")
    key = hashlib.sha256((text + " ".join(flags)).encode()).hexdigest()[:32]
    program = toolchain.cache_folder() / f"driver-{key}"
    if not program.exists():
        with tempfile.TemporaryDirectory(dir=program.parent) as folder:
            built = Path(folder, "driver")
            compiler = os.environ.get("CXX", "g++")
            command = [compiler, *flags, str(source), "-o", str(built), "-ldl"]
            subprocess.run(command, check=True, capture_output=True, text=True)
            built.replace(program)
    return program


SITE = "$SITE"
"""Replaces the folder of packages in a recording, so that any clone can use it."""


class Recording:
    def __init__(self, folder: Path, content: dict[str, Any]):
        self.memory = folder / "memory.bin"
        self.headers: str = content["headers"]
        self.sources: list[dict[str, Any]] = content["sources"]
        self.operations: list[dict[str, Any]] = content["operations"]
        self.tables: dict[str, list[str]] = content["tables"]

    def library(
        self, kernels: list[Pair], texts: dict[int, str], sanitizer: str
    ) -> dict[Pair, Built]:
        sources = {number: texts[number] for number, _ in kernels}
        first = next(iter(sources))
        flags = (
            *(*FLAGS, "-g1", *SANITIZERS[sanitizer]),
            *(f"-I{toolchain.INCLUDE}", *self.passed(first), f"-I{self.headers}"),
        )
        header = header_text("threads.h") + toolchain.leading_includes(sources[first])
        path = toolchain.build(translate(sources, kernels), flags, header)[0]
        return {
            kernel: Built(
                path, place, sanitizer == "address" and not cooperative(sources[kernel[0]])
            )
            for place, kernel in enumerate(kernels)
        }

    def passed(self, number: int) -> tuple[str, ...]:
        """Return a source's options that the host compiler also accepts."""
        options = self.sources[number]["options"]
        return tuple(option for option in options if option.startswith(("-D", "-I", "-U")))

    def libraries(
        self, records: Iterable[dict[str, Any]], sanitizer: str, change: Change | None = None
    ) -> dict[Pair, Built]:
        used = {(launch["source"], launch["kernel"]) for r in records for launch in r["launches"]}
        texts = {number: self.sources[number]["text"] for number, _ in used}
        if change is not None:
            texts = {number: change(text) for number, text in texts.items()}
        groups: dict[Any, list[Pair]] = defaultdict(list)
        for number, kernel in sorted(used):
            head = toolchain.leading_includes(texts[number]), self.passed(number)
            groups[head].append((number, kernel))
        with ThreadPoolExecutor(WORKERS) as pool:
            built = pool.map(
                lambda kernels: self.library(kernels, texts, sanitizer), groups.values()
            )
            return {kernel: one for each in built for kernel, one in each.items()}

    def replay(
        self, records: list[dict[str, Any]], sanitizer: str, change: Change | None = None
    ) -> list[dict[str, np.ndarray]]:
        """Run recorded operations again, and return the final arrays of each.

        Raises
        ------
        FaultError
            If the checker reports a fault, a kernel fails, or threads wait forever.
        """
        built = self.libraries(records, sanitizer, change)
        program = driver(sanitizer)
        parts = [part for part in (records[k::WORKERS] for k in range(WORKERS)) if part]
        with ThreadPoolExecutor(WORKERS) as pool:
            ran = list(pool.map(lambda part: self._run(part, built, program), parts))
        after: list[Any] = [None] * len(records)
        for k, results in enumerate(ran):
            after[k::WORKERS] = results
        return after

    def _run(
        self, records: list[dict[str, Any]], built: dict[Pair, Built], program: Path
    ) -> list[dict[str, np.ndarray]]:
        lines = [line for record in records for line in job(record, built)]
        with tempfile.TemporaryDirectory() as folder:
            jobs, results = Path(folder, "jobs"), Path(folder, "results")
            jobs.write_text("\n".join(lines) + "\n")
            command = [str(program), str(jobs), str(self.memory), str(results)]
            if shutil.which("setarch"):  # g++ 12's AddressSanitizer does not support every layout
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


def job(record: dict[str, Any], built: dict[Pair, Built]) -> list[str]:
    lines = [f"case {record['case']}, {record['dtype']}, {record['layout']}"]
    lines += [f"buffer {buffer['size']} {buffer['content']}" for buffer in record["buffers"]]
    for number, launch in enumerate(record["launches"]):
        lines += products(record, number)
        lines += [
            f"argument {a['bytes']} {a.get('buffer', -1)} {a.get('offset', 0)}"
            for a in launch["arguments"]
        ]
        sizes = " ".join(map(str, (*launch["grid"], *launch["block"])))
        kernel = built[launch["source"], launch["kernel"]]
        lines.append(f"launch {kernel.library} {kernel.number} {kernel.in_turn:d} {sizes}")
    lines += products(record, len(record["launches"]))
    return lines + [f"keep {buffer['id']}" for buffer in record["buffers"]]


def products(record: dict[str, Any], launches: int) -> list[str]:
    """Return lines with the results of the products after this number of launches."""
    return [
        f"fill {each['buffer']} {each['offset']} {each['size']} {each['content']}"
        for each in record["products"]
        if each["launches"] == launches
    ]


def report(errors: str) -> str:
    lines = errors.splitlines()
    start = max((n for n, line in enumerate(lines) if line.startswith("case ")), default=0)
    return "\n".join(lines[start : start + 60])


def read_results(content: bytes, records: list[dict[str, Any]]) -> list[dict[str, np.ndarray]]:
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


ROUNDED_ONCE = re.compile(r"(activate-(relu|identity|leaky_relu)|rescale|update-sgd-0)-")
"""Cases, in addition to the exact ones, in which every element is rounded as in the definition.
Their results are compared bitwise with the definition in the same type."""


def check(record: dict[str, Any], case: operations.Case, after: dict[str, np.ndarray]) -> bool:
    """Assert that results match the reference; return whether they are compared bitwise."""
    dtype = record["dtype"]
    exact = case.exact or ROUNDED_ONCE.match(case.name) is not None
    host = operations.inputs(case, dtype)
    before = dict(operations.flatten(host))
    expected = operations.execute(
        operations.ORACLE, dtype if exact else "float64", case, host, "contiguous"
    )
    allowed = operations.tolerance(case, dtype, expected)
    where = f"{case.name}, {dtype}, {record['layout']}"
    # An array whose memory no kernel accessed is unchanged.
    complete = {name: after.get(name, array) for name, array in before.items()}
    operations.compare(complete, expected, before, dtype, allowed, exact, where)
    return exact
