"""Measure how much memory training takes.

    python scripts/memory.py mnist PATH      peak memory of one epoch, against what has to be held
    python scripts/memory.py stream          train on a memory-mapped file larger than the budget

Each prints its figures and exits with an error if the bound it states is exceeded.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path

import click
import numpy as np

import gpunn

MEBIBYTE = 1 << 20


def peak() -> int:
    """Return the most memory this process has held so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def small_network(
    inputs: int, hidden: tuple[int, ...], *first: gpunn.layers.Layer
) -> gpunn.Trainer:
    """Return a trainer of dense ReLU layers and ten outputs, with Adam."""
    dense = [gpunn.layers.Dense(units, activation="relu") for units in hidden]
    layers = [*first, *dense, gpunn.layers.Dense(10)]
    model = gpunn.Sequential(layers, (inputs,), backend="numpy")
    return gpunn.Trainer(model, "softmax_cross_entropy", "adam", ["accuracy"])


def warm_up() -> None:
    """Import everything and start the BLAS library, so that what follows is the training's own."""
    trainer = small_network(4, (4,))
    trainer.fit(np.zeros((8, 4), np.float32), np.arange(8), progress=False)


@click.group()
def main() -> None:
    """Measure how much memory training takes."""


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
def mnist(folder: str) -> None:
    """Train 784-512-512-10 for one epoch on MNIST, batch 128, Adam.

    The bound is 1.3 times (data set as held + 4 x parameters + workspace), over what the
    interpreter and its libraries take.
    """
    warm_up()
    before = peak()
    X, y, X_test, y_test = gpunn.data.load_mnist(folder)
    trainer = small_network(784, (512, 512), gpunn.layers.Rescaling(1 / 255))
    trainer.fit(X, y, batch_size=128, validation_data=(X_test, y_test), progress=False)
    data = sum(array.nbytes for array in (X, y, X_test, y_test))
    parameters = 4 * trainer.model.parameters.values.nbytes
    workspace = trainer.workspace_bytes()
    needed, taken = data + parameters + workspace, peak() - before
    for name, size in (
        ("data set as held", data),
        ("4 x parameters", parameters),
        ("workspace", workspace),
        ("sum", needed),
        ("taken at the peak", taken),
    ):
        click.echo(f"{name:<20} {size / MEBIBYTE:8.1f} MiB")
    click.echo(f"ratio {taken / needed:.2f} (bound 1.30)")
    sys.exit(taken > 1.3 * needed)


@main.command()
@click.option("--gigabytes", default=4.0, show_default=True, help="Size of the data file.")
@click.option("--budget", default=512, show_default=True, help="Bound on memory, in MiB.")
@click.option("--folder", type=click.Path(exists=True), help="Where to put the file.")
@click.option("--standardize", is_flag=True, help="Begin with a Standardization layer.")
def stream(gigabytes: float, budget: int, folder: str | None, standardize: bool) -> None:
    """Train for one epoch on a memory-mapped .npy file of several gigabytes."""
    features, block = 256, 65_536
    rows = int(gigabytes * 1e9) // (4 * features)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "X.npy"
        generator = np.random.default_rng(0)
        y = generator.integers(0, 10, rows)
        centres = generator.standard_normal((10, features), dtype=np.float32)
        with open(path, "wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (rows, features)}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, rows, block):
                labels = y[start : start + block]
                noise = generator.standard_normal((len(labels), features), dtype=np.float32)
                file.write((0.3 * centres[labels] + noise).tobytes())
        click.echo(f"{path.stat().st_size / 1e9:.2f} GB: {rows:,} rows of {features} numbers")
        X = gpunn.data.load_npy(path)
        first = [gpunn.layers.Standardization()] if standardize else []
        trainer = small_network(features, (64,), *first)
        history = trainer.fit(
            X, y, batch_size=256, validation_split=0.1 if standardize else 0.0, progress=False
        )
    click.echo(f"loss {history['loss'][-1]:.4f}, accuracy {history['accuracy'][-1]:.4f}")
    click.echo(f"peak memory of the process {peak() / MEBIBYTE:.0f} MiB (bound {budget} MiB)")
    sys.exit(peak() > budget * MEBIBYTE)


if __name__ == "__main__":
    main()
