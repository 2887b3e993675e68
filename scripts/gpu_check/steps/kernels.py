"""How long each operation of a training step takes the device, beside its least time on paper.

Every operation that a plain step asks for is done many times in a row in a CUDA graph of its own,
between two events. So it is timed as it is in the graph of a step, without the host, though its
arrays are in the cache more often than there. CuPy has no profiler of kernels, and
`cupyx.profiler.benchmark` times launches by the host, which take longer than most kernels here.
"""

from __future__ import annotations

import statistics
from typing import Any

import cupy
import device
import numpy as np
import report
import rows
import step_cost
from outcome import PASSED, Outcome
from steps import work

from gpunn.backends import Backend, get_backend
from gpunn.errors import BackendUnavailableError

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

HEAD = ("operation", "µs", "at least µs", "MB", "TB/s", "GFLOP", "TFLOP/s")


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
    rows = np.arange(batch * IN_A_ROW) % len(X)
    backend = get_backend("cupy", matmul_precision=precision, matmul_algorithms=algorithms)
    trainer = work.trainer(work.relu_network(sizes, backend), optimizer=optimizer)
    calls = step_cost.calls_of_an_update(
        backend,
        lambda: trainer.fit(X[rows], y[rows], epochs=1, batch_size=batch, progress=False),
    )
    operations = [
        {
            "operation": call.operation,
            "microseconds": timed(backend, [call]),
            "least microseconds": 1e6 * call.cost.least_seconds(precision),
            **call.cost._asdict(),
        }
        for call in calls
    ]
    return {
        "operations": operations,
        "sum": sum(each["microseconds"] for each in operations),
        "least sum": sum(each["least microseconds"] for each in operations),
        "whole step": timed(backend, calls),
        "device": backend.describe()["device"],
    }


def timed(backend: Backend, calls: list[step_cost.Call]) -> float:
    """Return the median microseconds that operations take, one after the other, of many times."""

    def in_a_row() -> None:
        for _ in range(IN_A_ROW):
            for call in calls:
                call.again()

    repeat = backend.recorded(in_a_row, complete=True)
    found = []
    for _ in range(LAUNCHES + 2):  # one that compiles, and one that records
        for call in calls:
            call.rewind(backend)
        marks = [cupy.cuda.Event() for _ in range(2)]
        marks[0].record()
        repeat(1)
        marks[1].record()
        marks[1].synchronize()
        found.append(1e3 * cupy.cuda.get_elapsed_time(*marks) / IN_A_ROW)
    return statistics.median(found[2:])


def table(row: dict[str, Any]) -> str:
    """Return the table of a step."""
    lines: list[list[str]] = []
    for each in row["operations"]:
        moved, done, seconds = each["bytes"], each["operations"], 1e-6 * each["microseconds"]
        lines.append(
            [
                each["operation"],
                *(f"{each['microseconds']:.2f}", f"{each['least microseconds']:.2f}"),
                *(f"{moved / 1e6:.3f}", f"{moved / seconds / 1e12:.2f}" if seconds else "-"),
                f"{done / 1e9:.3f}" if done else "",
                f"{done / seconds / 1e12:.1f}" if done and seconds else "",
            ]
        )
    lines.append(["sum", f"{row['sum']:.1f}", f"{row['least sum']:.1f}", *4 * [""]])
    lines.append(["the whole step", f"{row['whole step']:.1f}", *5 * [""]])
    return f"{row['step']}\n{report.table(HEAD, lines)}"
