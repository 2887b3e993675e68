#!/usr/bin/env python3
"""Measure how much several ranks gain on this machine or cluster, and estimate it for more.

    mpiexec -n 2 python scripts/scaling.py
    srun -n 16 python scripts/scaling.py --sizes 784-2048-2048-10 --batches 1024,8192

First, all ranks train separately at the same time, which gives the cost of a row. Then they update
and exchange as many numbers as the network has parameters. Finally they train together. The first
measurements predict the last one, and larger numbers of ranks:

    step = rows per rank * row + fixed + update / ranks + exchange(ranks)

An exchange of P numbers of 4 bytes is two collectives, in which each rank sends and receives
(ranks - 1) / ranks of them:

    exchange = 2 (ranks - 1) latency + 2 (ranks - 1) / ranks * 4 P / bandwidth
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import click
import numpy as np
from benchmarks.figures import table
from benchmarks.torch_ddp import DataParallel

import gpunn
from gpunn.backends.operations import Segment, Trained
from gpunn.distributed import Communicator
from gpunn.distributed.agreement import Agreement
from gpunn.distributed.collectives import Collectives
from gpunn.distributed.shares import block_of

WORLDS = (1, 2, 4, 8, 16, 64, 256, 1024)
UPDATES = 16
"""Updates per epoch."""
SMALL, LARGE = 32, 512
"""Batch sizes that determine the cost of a row."""


@dataclass(frozen=True)
class Costs:
    parameters: int
    row: float
    fixed: float
    update: float
    latency: float
    byte: float

    def exchange(self, ranks: int) -> float:
        moved = 2 * (ranks - 1) / ranks * 4 * self.parameters
        return 2 * (ranks - 1) * self.latency + moved * self.byte

    def step(self, ranks: int, batch: int) -> float:
        own = -(-batch // ranks)
        return own * self.row + self.fixed + self.update / ranks + self.exchange(ranks)


@dataclass(frozen=True)
class Measurement:
    """Measures the costs; all ranks call each method."""

    communicator: Communicator
    units: list[int]
    seconds: float

    @property
    def agreement(self) -> Agreement:
        return Agreement.over(self.communicator)

    @property
    def parameters(self) -> int:
        return sum((inputs + 1) * outputs for inputs, outputs in pairwise(self.units))

    def slowest(self, seconds: float) -> float:
        return max(self.agreement.gather(seconds, "a time"))

    def together(self, batch: int) -> float:
        return self.slowest(self._trained(batch, self.communicator))

    def at_once(self, batch: int) -> float:
        """Return the seconds of an update if each rank trains a separate network."""
        return self.slowest(self._trained(batch, None))

    def alone(self, batch: int) -> float:
        """Return the seconds of an update of rank 0, while the others wait."""
        took = self._trained(batch, None) if self.communicator.rank == 0 else 0.0
        return float(self.agreement.of_first(took, "a time"))

    def _trained(self, batch: int, communicator: Communicator | None) -> float:
        *hidden, outputs = self.units[1:]
        layers = [gpunn.layers.Dense(size, activation="relu") for size in hidden]
        model = gpunn.Sequential(
            [*layers, gpunn.layers.Dense(outputs)], (self.units[0],), backend="numpy"
        )
        random = np.random.default_rng(0)
        X = random.normal(size=(UPDATES * batch, self.units[0])).astype(np.float32)
        y = random.integers(0, outputs, len(X))
        trainer = gpunn.Trainer(
            model, "softmax_cross_entropy", "adam", communicator=communicator, log_every=10**6
        )
        trainer.fit(X, y, epochs=2, batch_size=batch, progress=False)
        epochs = max(3, round(self.seconds / trainer.history.rows[-1]["seconds"]))
        if communicator is not None:
            epochs = self.agreement.of_first(epochs, "epochs")
        trainer.fit(X, y, epochs=epochs, batch_size=batch, progress=False)
        return statistics.median(row["seconds"] for row in trainer.history.rows[2:]) / UPDATES

    def update(self) -> float:
        """Return the seconds of Adam's update of all parameters, by one rank."""
        ops, size, adam = gpunn.get_backend("numpy"), self.parameters, gpunn.optimizers.Adam()
        values, gradients, *slots = (ops.zeros((size,), "float32") for _ in range(4))
        trained = Trained(
            values, gradients, dict(zip(adam.slots, slots, strict=True)), [Segment(0, size)]
        )
        rate, step = ops.zeros((1,), "float32"), ops.from_host(np.array([1]), "int64")
        return self.slowest(
            self._repeated(ops.recorded(lambda: ops.update(adam, trained, rate, step)))
        )

    def _repeated(self, run: Callable[[int], None]) -> float:
        run(10)
        began = time.perf_counter()
        run(10)
        times = max(10, round(10 * self.seconds / (time.perf_counter() - began)))
        times = self.agreement.of_first(times, "repetitions")
        began = time.perf_counter()
        run(times)
        return (time.perf_counter() - began) / times

    def exchange(self, numbers: int) -> float:
        """Return the seconds of both collectives and the sum between them."""
        ranks, rank = self.communicator.size, self.communicator.rank
        ops = gpunn.get_backend("numpy")
        collectives = Collectives(ops, self.agreement)
        length = block_of(numbers, rank, ranks).length
        blocks, received = (ops.zeros((ranks, length), "float32") for _ in range(2))

        def once() -> None:
            collectives.all_to_all(blocks, received)
            collectives.sum_in_tree(received)
            collectives.all_gather(blocks[rank], blocks)

        return self.slowest(self._repeated(ops.recorded(once)))


def costs_of(measured: Measurement, median: Callable[[Callable[[], float]], float]) -> Costs:
    small, large = (median(lambda b=b: measured.at_once(b)) for b in (SMALL, LARGE))
    row, update = (large - small) / (LARGE - SMALL), median(measured.update)
    fixed = max(0.0, small - SMALL * row - update)
    ranks, size = measured.communicator.size, measured.parameters
    if ranks == 1:
        return Costs(size, row, fixed, update, 0.0, 0.0)
    latency = median(lambda: measured.exchange(1)) / (2 * (ranks - 1))
    whole = median(lambda: measured.exchange(size))
    moved = 2 * (ranks - 1) / ranks * 4 * size
    return Costs(
        size, row, fixed, update, latency, max(0.0, whole - 2 * (ranks - 1) * latency) / moved
    )


@click.command(help=__doc__.partition("\n")[0])
@click.option("--sizes", default="784-512-512-10", show_default=True, help="Units of the layers.")
@click.option(
    "--batches", default="128,1024", show_default=True, help="Rows per batch, over all ranks."
)
@click.option("--repeats", default=5, show_default=True, help="Repetitions of each measurement.")
@click.option(
    "--torch", "with_ddp", is_flag=True, help="Also measure PyTorch's DDP, in turn, on one machine."
)
@click.option(
    "--seconds", default=0.5, show_default=True, help="Approximate length of a repetition."
)
def main(sizes: str, batches: str, repeats: int, with_ddp: bool, seconds: float) -> None:
    communicator = gpunn.distributed.communicator()
    measured = Measurement(communicator, [int(size) for size in sizes.split("-")], seconds)
    batch_sizes = [int(batch) for batch in batches.split(",")]

    def median(measure: Callable[[], float]) -> float:
        return statistics.median(measure() for _ in range(repeats))

    costs = costs_of(measured, median)
    ranks = communicator.size
    threads = gpunn.get_backend("numpy").threads
    torch = DataParallel(measured.agreement, measured.units, threads) if with_ddp else None
    lines, ddp_lines = [], []
    for batch in batch_sizes:
        # In turn, so that other load affects both equally.
        pairs, ddp_seconds = [], []
        for _ in range(repeats):
            pairs.append((measured.alone(batch), measured.together(batch)))
            if torch is not None:
                own = torch.seconds(batch, seconds, together=True)
                ddp_seconds.append(measured.slowest(own))
        alone, together = (statistics.median(times) for times in zip(*pairs, strict=True))
        gain = statistics.median(one / several for one, several in pairs)
        predicted = costs.step(ranks, batch)
        off = f"{100 * (predicted / together - 1):+.0f} %"
        milliseconds = [f"{1e3 * seconds:.3f}" for seconds in (alone, together, predicted)]
        lines.append([f"{batch}", *milliseconds[:2], f"{gain:.2f}", milliseconds[2], off])
        if ddp_seconds:
            ratio = statistics.median(
                other / own for other, (_, own) in zip(ddp_seconds, pairs, strict=True)
            )
            median_of_ddp = f"{1e3 * statistics.median(ddp_seconds):.3f}"
            ddp_lines.append([f"{batch}", median_of_ddp, f"{ratio:.2f}"])
    if torch is not None:
        torch.close()
    if communicator.rank:
        return
    click.echo(
        f"{ranks} ranks, {sizes}, {threads} threads each: "
        f"row {1e6 * costs.row:.2f} us, fixed {1e3 * costs.fixed:.3f} ms, update "
        f"{1e3 * costs.update:.3f} ms, exchange of {4e-6 * costs.parameters:.2f} MB "
        f"{1e3 * costs.exchange(ranks):.3f} ms, of a number {1e6 * costs.latency * 2:.1f} us\n"
    )
    head = ["rows", "one rank, ms", "together, ms", "speed-up", "predicted, ms", "off"]
    click.echo(table(head, lines))
    if ddp_lines:
        head = ["rows", "PyTorch's DDP, ms", "DDP / gpunn"]
        click.echo(f"\n{table(head, ddp_lines)}")
    click.echo("\nComputed from these costs, not measured: efficiency in percent\n")
    head, worlds = ["ranks"], [[f"{world}"] for world in WORLDS]
    for batch in batch_sizes:
        head += [f"{batch} rows per rank", f"{batch} rows in total"]
        for world, cells in zip(WORLDS, worlds, strict=True):
            one = costs.step(1, batch)
            weak, strong = costs.step(world, batch * world), costs.step(world, batch)
            cells += [f"{100 * one / weak:.0f}", f"{100 * one / strong / world:.0f}"]
    click.echo(table(head, worlds))


if __name__ == "__main__":
    main()
