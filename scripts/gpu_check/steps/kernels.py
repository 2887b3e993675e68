"""How long each operation of a training step takes the device, beside its least time on paper.

Every operation that a plain step asks for is done many times in a row in a CUDA graph of its own,
between two events. So it is timed as it is in the graph of a step, without the host, though its
arrays are in the cache more often than there. What can't be recorded is launched by the host, and
the table says so. CuPy has no profiler of kernels; `cupyx.profiler.benchmark` times launches by the
host, which take longer than most kernels here.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import Any

import cupy
import device
import report
import rows
from gpu.launches import launches_of_graphs
from outcome import PASSED, Outcome
from steps import work

from gpunn.backends import get_backend
from gpunn.errors import BackendUnavailableError

sys.path.append(str(device.REPOSITORY / "scripts"))
import step_cost

STEPS = (
    ((784, 512, 512, 10), 128, "adam", "float32", "heuristic"),
    ((784, 512, 512, 10), 1024, "adam", "float32", "heuristic"),
    ((784, 512, 512, 10), 1024, "adam", "float32", "measured"),
    ((784, 2048, 2048, 10), 1024, "adam", "float32", "heuristic"),
    ((784, 512, 512, 10), 1024, "adam", "tf32", "heuristic"),
    ((64, 32, 10), 128, "adam", "float32", "heuristic"),
)
"""Networks, batches, optimizers, what products may be computed in, and how their algorithms are
chosen."""

IN_A_ROW, LAUNCHES = 50, 7

if device.REHEARSAL:
    STEPS = (
        ((64, 16, 10), 16, "adam", "float32", "heuristic"),
        ((64, 16, 10), 16, "sgd", "float32", "measured"),
    )
    IN_A_ROW, LAUNCHES = 2, 2

HEAD = (
    *("operation", "shape", "timed", "µs", "at least µs", "MB", "TB/s", "GFLOP", "TFLOP/s"),
    "kernels",
)


def run() -> Outcome:
    """Time the operations of some steps, those with measured products where cuBLASLt is."""
    known = {row["step"]: row for row in rows.done()}
    tables, absent = [], 0
    for sizes, batch, *how in STEPS:
        name = f"{'-'.join(map(str, sizes))}, batch {batch}, {', '.join(how)}"
        row = known.get(name)
        if row is None:
            try:
                row = {"step": name, **timed_step(sizes, batch, *how)}
            except BackendUnavailableError as reason:
                if "measured" not in how:
                    raise
                tables.append(f"{name}\nnot timed: {reason}")
                absent += 1
                continue
            rows.add(row)
        tables.append(table(row))
    note = "least times are those of an H100"
    if device.REHEARSAL:
        note = "on the emulated device, where no time means anything; " + note
    said = f"{len(tables) - absent} steps, each operation beside its least time"
    return Outcome(PASSED, said, {}, "\n\n".join([note, *tables]))


def timed_step(
    sizes: tuple[int, ...], batch: int, optimizer: str, precision: str, algorithms: str
) -> dict[str, Any]:
    """Return what each operation of a step takes, and the whole step, in microseconds."""
    X, y = work.classification(sizes[0])[:2]
    backend = get_backend("cupy", matmul_precision=precision, matmul_algorithms=algorithms)
    step = step_cost.Rehearsed(backend, sizes, batch, optimizer, IN_A_ROW, X, y)
    calls = step.calls()
    operations = [timed_call(step, call, precision) for call in calls]

    def whole() -> None:
        step.step.update(batch, IN_A_ROW)

    microseconds = timed(step, whole)
    return {
        "operations": operations,
        "sum": sum(each["microseconds"] for each in operations),
        "least sum": sum(each["least microseconds"] for each in operations),
        "whole step": microseconds,
        "device": backend.describe()["device"],
    }


def timed_call(step: Any, call: Any, precision: str) -> dict[str, Any]:
    """Return what one operation takes."""
    kernels = step_cost.kernels_of(call)

    def in_a_row() -> None:
        for _ in range(IN_A_ROW):
            call.again()

    repeat = step.backend.recorded(in_a_row, complete=True)
    with launches_of_graphs() as launches:
        microseconds = timed(step, lambda: repeat(1))
    shape = next((kernel.shape for kernel in kernels if kernel.shape), None)
    return {
        "operation": call.operation,
        "shape": "x".join(map(str, shape)) if shape else "",
        "timed": "in a graph" if launches[1] else "launched by the host",
        "microseconds": microseconds,
        "least microseconds": 1e6 * sum(kernel.least_seconds(precision) for kernel in kernels),
        "bytes": sum(kernel.bytes for kernel in kernels),
        "operations": sum(kernel.operations for kernel in kernels),
        "kernels": len(kernels),
    }


def timed(step: Any, in_a_row: Callable[[], None]) -> float:
    """Return the median microseconds of what is done `IN_A_ROW` times in a call."""
    found = []
    for _ in range(LAUNCHES + 2):  # one that compiles, and one that records
        step.rewind()
        marks = [cupy.cuda.Event() for _ in range(2)]
        marks[0].record()
        in_a_row()
        marks[1].record()
        marks[1].synchronize()
        found.append(1e3 * cupy.cuda.get_elapsed_time(*marks) / IN_A_ROW)
    return statistics.median(found[2:])


def table(row: dict[str, Any]) -> str:
    """Return the table of a step."""
    lines: list[list[Any]] = []
    for each in row["operations"]:
        moved, done, seconds = each["bytes"], each["operations"], 1e-6 * each["microseconds"]
        lines.append(
            [
                *(each["operation"], each["shape"], each["timed"]),
                *(f"{each['microseconds']:.2f}", f"{each['least microseconds']:.2f}"),
                *(f"{moved / 1e6:.3f}", f"{moved / seconds / 1e12:.2f}" if seconds else "-"),
                f"{done / 1e9:.3f}" if done else "",
                f"{done / seconds / 1e12:.1f}" if done and seconds else "",
                each["kernels"],
            ]
        )
    number = sum(each["kernels"] for each in row["operations"])
    lines.append(["sum", "", "", f"{row['sum']:.1f}", f"{row['least sum']:.1f}", *4 * [""], number])
    lines.append(["the step's graph", "", "", f"{row['whole step']:.1f}", *6 * [""]])
    return f"{row['step']}\n{report.table(HEAD, lines)}"
