"""Time each operation of a training step, and compare with its minimum time on paper.

Each operation runs many times in a row in a separate CUDA graph, between two events. So it is timed
without the host, as in the graph of a step, but its arrays are in the cache more often. CuPy has no
kernel profiler, and `cupyx.profiler.benchmark` times launches by the host, which take longer than
most kernels here. Only operations of dense networks have a known minimum time.
"""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import cupy
import device
import numpy as np
import step_cost
import training
from cell import Cell
from networks import INSPECTED, Make
from process import PASSED, Outcome, Row, Step

import gpunn
from gpunn.backends import Backend, get_backend

NETWORK = "784-512-512-10"
CELLS = [
    Cell(NETWORK, 128, "adam", "float32"),
    Cell(NETWORK, 1024, "adam", "float32"),
    Cell("784-2048-2048-10", 1024, "adam", "float32"),
    Cell(NETWORK, 1024, "adam", "tf32"),
    Cell("64-32-10", 128, "adam", "float32"),
]
BATCH = 256
"""Batch size of the other networks."""
IN_A_ROW, LAUNCHES = 50, 7

if device.REHEARSAL:
    CELLS = [Cell("64-16-10", 16, optimizer, "float32") for optimizer in ("adam", "sgd")]
    BATCH, IN_A_ROW, LAUNCHES = 16, 2, 2

HEAD = ("operation", "µs", "minimum µs", "MB", "TB/s", "GFLOP", "TFLOP/s")


def run(step: Step) -> Outcome:
    """Time the operations of some steps; a quick check leaves out the last dense networks."""
    known = {row["step"]: row for row in step.done}
    print("minimum times are for an H100")
    timed: dict[str, Callable[[], list[Row]]] = {
        CELLS[0].name: partial(dense_step, CELLS[0]),
        **{name: partial(table_step, make) for name, make in INSPECTED.items()},
        **{cell.name: partial(dense_step, cell) for cell in CELLS[1:] if not step.quick},
    }
    for name, time_step in timed.items():
        row = known.get(name)
        if row is None:
            row = {"step": name, "operations": time_step()}
            step.add(row)
        lines = [described(operation) for operation in row["operations"]]
        print(f"{name}\n{training.table(HEAD, lines)}\n")
    return PASSED, f"{len(timed)} steps, with the time of each operation"


def dense_step(cell: Cell) -> list[Row]:
    backend = get_backend("cupy", matmul_precision=cell.precision)
    network = training.network(cell)
    rows = np.arange(cell.batch * IN_A_ROW) % len(network.X)
    trainer = network.trainer(backend)
    return timed_step(trainer, network.X[rows], network.y[rows], cell.batch, cell.precision)


def table_step(make: Make) -> list[Row]:
    network = make(BATCH * IN_A_ROW)
    trainer = network.trainer(get_backend("cupy"))
    return timed_step(trainer, network.X, network.y, BATCH, "float32")


def timed_step(trainer: gpunn.Trainer, X: Any, y: Any, batch: int, precision: str) -> list[Row]:
    """Return the time of each operation of a step, their sum, and the time of the whole step."""
    backend = trainer.model.backend

    def fit() -> None:
        trainer.fit(X, y, epochs=1, batch_size=batch, progress=False)

    calls = step_cost.calls_of_an_update(backend, fit)
    operations: list[Row] = []
    for call in calls:
        row: Row = {
            "operation": call.operation.name,
            "microseconds": microseconds(backend, [call]),
        }
        if call.cost is not None:
            seconds = call.cost.minimum_seconds(precision)
            row |= {"least microseconds": 1e6 * seconds, **call.cost._asdict()}
        operations.append(row)
    numbers = [name for name in operations[0] if all(name in each for each in operations)]
    numbers.remove("operation")
    total = {name: sum(each[name] for each in operations) for name in numbers}
    whole = {**total, "microseconds": microseconds(backend, calls)}
    return [*operations, {"operation": "sum", **total}, {"operation": "the whole step", **whole}]


def microseconds(backend: Backend, calls: list[step_cost.Call]) -> float:
    repeat = backend.lower([call.operation for call in calls] * IN_A_ROW)
    times = []
    for _ in range(LAUNCHES + 2):  # the first compiles, and the second records
        for call in calls:
            call.rewind(backend)
        marks = [cupy.cuda.Event() for _ in range(2)]
        marks[0].record()
        repeat(1)
        marks[1].record()
        marks[1].synchronize()
        times.append(1e3 * cupy.cuda.get_elapsed_time(*marks) / IN_A_ROW)
    return statistics.median(times[2:])


def described(row: Row) -> list[str]:
    time = f"{row['microseconds']:.2f}"
    if "bytes" not in row:
        return [row["operation"], time, *[""] * (len(HEAD) - 2)]
    moved, done, seconds = row["bytes"], row["operations"], 1e-6 * row["microseconds"]
    return [
        row["operation"],
        *(time, f"{row['least microseconds']:.2f}"),
        *(f"{moved / 1e6:.3f}", f"{moved / seconds / 1e12:.2f}" if seconds else "-"),
        f"{done / 1e9:.3f}" if done else "",
        f"{done / seconds / 1e12:.1f}" if done and seconds else "",
    ]
