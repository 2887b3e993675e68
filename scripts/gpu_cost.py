"""Count what a training step asks of a GPU, on paper: python scripts/gpu_cost.py

A backend that only takes notes runs the real training step: each operation writes down how many
kernels it launches, which bytes they have to read and write, and their arithmetic. Bytes are those
that would pass if each array came from memory once for each kernel; what stays in a GPU's cache
costs less. From these follows the least time that an H100 needs. Nothing here is measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import array_api_compat.numpy
import click

import gpunn
from gpunn.activations import Identity
from gpunn.backends import Backend
from gpunn.data.batches import DeviceRows
from gpunn.training.step import TrainStep

SIZES = (784, 512, 512, 10)
BATCHES = (128, 1024)

BANDWIDTH = 3.3e12
"""Bytes a second of an H100 SXM's memory (NVIDIA, H100 Tensor Core GPU data sheet: 3.35 TB/s)."""

ARITHMETIC = 60e12
"""Float32 operations a second, without tensor cores (the same data sheet: 67 TFLOP/s)."""

EAGER, IN_A_GRAPH = 2.5e-6, 1e-6
"""Seconds from one kernel's beginning to the next one's, at the least: launched by the host from C,
and within a graph. Python adds to the first."""


@dataclass(frozen=True)
class Kernel:
    """One launch."""

    operation: str
    bytes: int
    operations: int = 0

    @property
    def seconds(self) -> float:
        """The least time that memory and arithmetic allow."""
        return max(self.bytes / BANDWIDTH, self.operations / ARITHMETIC)


class Ledger(Backend):
    """A backend that computes nothing and writes down what the CUDA backend would launch."""

    def __init__(self) -> None:
        super().__init__(array_api_compat.numpy, None, "ledger")
        self.kernels: list[Kernel] = []

    def note(self, operation: str, *arrays: Any, operations: int = 0) -> None:
        """Write down a kernel that passes over these arrays, one that is read and written twice."""
        self.kernels.append(Kernel(operation, sum(array.nbytes for array in arrays), operations))

    def gather_rows(self, source: Any, order: Any, start: Any, out: Any) -> None:
        self.note("gather_rows", out, out, order[: out.shape[0]])

    def count_pass(self, start: Any, rows: int, passes: Any) -> None:
        self.note("count_pass", start, start, passes, passes)

    def count_update(self, rates: Any, *counters: Any) -> None:
        self.note("count_update", *counters, *counters)

    def matmul(
        self,
        a: Any,
        b: Any,
        out: Any,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
        vector: Any = None,
    ) -> None:
        terms, size = a.shape[0 if transpose_a else 1], math.prod(out.shape)
        arrays = (a, b, out) if vector is None else (a, b, out, vector)
        self.note("matmul", *arrays, operations=2 * terms * size)

    def dense(self, x: Any, weights: Any, bias: Any, activation: Any, z: Any, out: Any) -> None:
        # The bias and ReLU, the only activation here, are in the product.
        self.matmul(x, weights, z, vector=bias)

    def dense_gradient(
        self,
        x: Any,
        weights: Any,
        activation: Any,
        z: Any,
        output: Any,
        gradient: Any,
        weight_gradient: Any,
        bias_gradient: Any,
        input_gradient: Any,
    ) -> None:
        if not isinstance(activation, Identity):
            given = x, weights, activation, z, output, gradient
            super().dense_gradient(*given, weight_gradient, bias_gradient, input_gradient)
            return
        self.matmul(x, gradient, weight_gradient, transpose_a=True, vector=bias_gradient)
        if input_gradient is not None:
            self.matmul(gradient, weights, input_gradient, transpose_b=True)

    def activation_gradient(
        self, activation: Any, z: Any, output: Any, gradient: Any, bias_gradient: Any
    ) -> None:
        self.note("activation_gradient", output, gradient, gradient, bias_gradient)

    def loss(
        self,
        loss: Any,
        predictions: Any,
        targets: Any,
        weights: Any,
        normalizer: Any,
        gradient: Any,
        loss_sum: Any,
    ) -> None:
        weighted = weights
        self.note("loss", predictions, targets, weights, normalizer, gradient, weighted)
        self.note("loss, sum", weighted, loss_sum, loss_sum)

    def update(
        self,
        optimizer: Any,
        values: Any,
        gradients: Any,
        slots: Mapping[str, Any],
        learning_rate: Any,
        step: Any,
        decayed: int,
    ) -> None:
        state = [values, *slots.values()]
        self.note("update", gradients, *state, *state)


def kernels_of_a_step(sizes: Sequence[int], batch: int) -> list[Kernel]:
    """Return the launches of one step of a ReLU network with Adam and softmax cross-entropy."""
    ledger = Ledger()
    hidden = [gpunn.layers.Dense(units, "relu") for units in sizes[1:-1]]
    layers = [*hidden, gpunn.layers.Dense(sizes[-1])]
    model = gpunn.Sequential(layers, sizes[0], ledger)
    loss = gpunn.losses.SoftmaxCrossEntropy()
    step = TrainStep(model, loss, gpunn.optimizers.Adam(), [], batch)
    zeros = ledger.zeros
    X, y, order = (
        zeros((batch, sizes[0]), "float32"),
        zeros((batch,), "int64"),
        zeros((batch,), "int64"),
    )
    step.load(DeviceRows(X, y, None, order, batch))
    ledger.kernels.clear()
    step.update(batch)
    return ledger.kernels


def row(sizes: Sequence[int], batch: int) -> list[str]:
    """Return one row of the table."""
    kernels = kernels_of_a_step(sizes, batch)
    moved, done = sum(k.bytes for k in kernels), sum(k.operations for k in kernels)
    eager, graph = (
        1e6 * sum(max(kernel.seconds, interval) for kernel in kernels)
        for interval in (EAGER, IN_A_GRAPH)
    )
    products = sum(kernel.operation == "matmul" for kernel in kernels)
    return [
        "-".join(map(str, sizes)),
        str(batch),
        f"{len(kernels)} ({products} products)",
        f"{moved / 1e6:.1f}",
        f"{1e6 * moved / BANDWIDTH:.1f}",
        f"{done / 1e9:.2f}",
        f"{1e6 * done / ARITHMETIC:.1f}",
        f"{eager:.0f}",
        f"{graph:.0f}",
    ]


HEAD = (
    "network",
    "batch",
    "kernels",
    "MB moved",
    "at 3.3 TB/s, predicted µs",
    "GFLOP",
    "at 60 TFLOP/s, predicted µs",
    "launched one by one, predicted µs",
    "as a graph, predicted µs",
)


def table() -> str:
    """Return the table in Markdown."""
    rows = [HEAD, ["---"] * len(HEAD), *(row(SIZES, batch) for batch in BATCHES)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


@click.command()
@click.option("--kernels", is_flag=True, help="Show each kernel of the step as well.")
def main(kernels: bool) -> None:
    """Count what a training step asks of a GPU."""
    click.echo(table())
    if kernels:
        for batch in BATCHES:
            click.echo(f"\nbatch {batch}: operation, MB, GFLOP, least µs")
            for kernel in kernels_of_a_step(SIZES, batch):
                figures = kernel.bytes / 1e6, kernel.operations / 1e9, 1e6 * kernel.seconds
                click.echo(
                    f"{kernel.operation:<20} " + "".join(f"{each:10.3f}" for each in figures)
                )


if __name__ == "__main__":
    main()
