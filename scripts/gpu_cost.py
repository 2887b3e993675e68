"""Count what a training step asks of a GPU, on paper: python scripts/gpu_cost.py

`step_cost` has the model. Nothing here is measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import click
from step_cost import ARITHMETIC, BANDWIDTH, EAGER, kernels_of_a_step, product_seconds

NETWORKS = ((64, 32, 10), (784, 128, 10), (784, 512, 512, 10), (784, 2048, 2048, 10))
BATCHES = (128, 1024, 8192)

HEAD = (
    "network",
    "batch",
    "kernels",
    "MB moved",
    "at 3.3 TB/s, µs",
    "GFLOP",
    "at 60 TFLOP/s, µs",
    "products in tiles, at least µs",
    "launched one by one, at least µs",
    "as a graph, at least µs",
)


def row(sizes: Sequence[int], batch: int) -> list[str]:
    """Return one row of the table, for Adam."""
    kernels = kernels_of_a_step(sizes, batch)
    products = [kernel.shape for kernel in kernels if kernel.shape]
    moved, done = sum(k.bytes for k in kernels), sum(k.operations for k in kernels)
    times = (
        sum(product_seconds(shape) for shape in products),
        sum(max(EAGER, kernel.least_seconds()) for kernel in kernels),
        sum(kernel.least_seconds() for kernel in kernels),
    )
    return [
        "-".join(map(str, sizes)),
        str(batch),
        f"{len(kernels)} ({len(products)} products)",
        f"{moved / 1e6:.1f}",
        f"{1e6 * moved / BANDWIDTH:.1f}",
        f"{done / 1e9:.2f}",
        f"{1e6 * done / ARITHMETIC['float32']:.1f}",
        *(f"{1e6 * seconds:.0f}" for seconds in times),
    ]


def table() -> str:
    """Return the table in Markdown."""
    rows = [row(sizes, batch) for sizes in NETWORKS for batch in BATCHES]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEAD, ["---"] * len(HEAD), *rows))


@click.command()
@click.option("--kernels", is_flag=True, help="Show each kernel of the steps as well.")
def main(kernels: bool) -> None:
    """Count what a training step asks of a GPU."""
    click.echo(table())
    if not kernels:
        return
    for sizes in NETWORKS:
        for batch in BATCHES:
            name = "-".join(map(str, sizes))
            click.echo(f"\n{name}, batch {batch}: operation, MB, GFLOP, at least µs")
            for each in kernels_of_a_step(sizes, batch):
                figures = each.bytes / 1e6, each.operations / 1e9, 1e6 * each.least_seconds()
                shown = "".join(f"{figure:10.3f}" for figure in figures)
                click.echo(f"{each.operation:<20} {shown}")


if __name__ == "__main__":
    main()
