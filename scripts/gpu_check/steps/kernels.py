"""Time each operation of a training step, and compare with its minimum time on paper.

Each operation runs many times in a row in a separate CUDA graph, between two events. So it is timed
without the host, as in the graph of a step, but its arrays are in the cache more often. CuPy has no
kernel profiler, and `cupyx.profiler.benchmark` times launches by the host, which take longer than
most kernels here.
"""

from __future__ import annotations

import statistics

import cupy
import device
import numpy as np
import step_cost
import training
from process import PASSED, Outcome, Row, Step
from training import Cell

from gpunn.backends import Backend, get_backend

NETWORK = (784, 512, 512, 10)
CELLS = [
    Cell(NETWORK, 128, "adam", "float32"),
    Cell(NETWORK, 1024, "adam", "float32"),
    Cell((784, 2048, 2048, 10), 1024, "adam", "float32"),
    Cell(NETWORK, 1024, "adam", "tf32"),
    Cell((64, 32, 10), 128, "adam", "float32"),
]
IN_A_ROW, LAUNCHES = 50, 7

if device.REHEARSAL:
    CELLS = [Cell((64, 16, 10), 16, optimizer, "float32") for optimizer in ("adam", "sgd")]
    IN_A_ROW, LAUNCHES = 2, 2

HEAD = ("operation", "µs", "minimum µs", "MB", "TB/s", "GFLOP", "TFLOP/s")


def run(step: Step) -> Outcome:
    """Time the operations of some steps."""
    known = {row["step"]: row for row in step.done}
    print("minimum times are for an H100")
    for cell in CELLS:
        row = known.get(cell.name)
        if row is None:
            row = {"step": cell.name, "operations": timed_step(cell)}
            step.add(row)
        lines = [described(operation) for operation in row["operations"]]
        print(f"{cell.name}\n{training.table(HEAD, lines)}\n")
    return PASSED, f"{len(CELLS)} steps, each operation with its minimum time"


def timed_step(cell: Cell) -> list[Row]:
    """Return the time of each operation of a step, their sum, and the time of the whole step."""
    backend = get_backend("cupy", matmul_precision=cell.precision)
    data = training.with_features(cell.sizes[0])
    rows = np.arange(cell.batch * IN_A_ROW) % len(data.X)
    trainer = training.trainer(cell.sizes, backend, cell.optimizer)

    def fit() -> None:
        trainer.fit(data.X[rows], data.y[rows], epochs=1, batch_size=cell.batch, progress=False)

    calls = step_cost.calls_of_an_update(backend, fit)
    operations = [
        {
            "operation": call.operation.name,
            "microseconds": microseconds(backend, [call]),
            "least microseconds": 1e6 * call.cost.minimum_seconds(cell.precision),
            **call.cost._asdict(),
        }
        for call in calls
    ]
    numbers = [name for name in operations[0] if name != "operation"]
    total = {name: sum(each[name] for each in operations) for name in numbers}
    whole = {**total, "microseconds": microseconds(backend, calls)}
    return [*operations, {"operation": "sum", **total}, {"operation": "the whole step", **whole}]


def microseconds(backend: Backend, calls: list[step_cost.Call]) -> float:
    """Return the median time of operations that run many times in a row."""
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
    """Return a line of the table."""
    moved, done, seconds = row["bytes"], row["operations"], 1e-6 * row["microseconds"]
    return [
        row["operation"],
        *(f"{row['microseconds']:.2f}", f"{row['least microseconds']:.2f}"),
        *(f"{moved / 1e6:.3f}", f"{moved / seconds / 1e12:.2f}" if seconds else "-"),
        f"{done / 1e9:.3f}" if done else "",
        f"{done / seconds / 1e12:.1f}" if done and seconds else "",
    ]
