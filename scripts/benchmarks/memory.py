"""Peak memory of training, compared with the memory that data and parameters need."""

import tempfile
from pathlib import Path

import click
import numpy as np

import gpunn
from benchmarks.machine import peak_bytes
from benchmarks.mnist import mnist_folder

MEBIBYTE = 1 << 20


def network(inputs: int, hidden: tuple[int, ...], *first: gpunn.layers.Layer) -> gpunn.Trainer:
    dense = [gpunn.layers.Dense(units, activation="relu") for units in hidden]
    layers = [*first, *dense, gpunn.layers.Dense(10)]
    model = gpunn.Sequential(layers, (inputs,), backend="numpy")
    return gpunn.Trainer(model, "softmax_cross_entropy", "adam", ["accuracy"])


@click.group("memory")
def command() -> None:
    """Measure the peak memory of training; exit status 1 if it exceeds the bound."""


@command.command()
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.pass_context
def mnist(context: click.Context, folder: Path | None) -> None:
    """Train 784-512-512-10 for one epoch on MNIST, batch 128, Adam.

    The bound is 1.3 times (data set in memory + 4 x parameters + workspace), beyond the interpreter
    and its libraries. FOLDER contains MNIST's files; default: the folder in GPUNN_DATA.
    """
    # Import everything and start the BLAS library, so that only training is measured.
    network(4, (4,)).fit(np.zeros((8, 4), np.float32), np.arange(8), progress=False)
    before = peak_bytes()
    X, y, X_test, y_test = gpunn.data.load_mnist(mnist_folder(folder))
    trainer = network(784, (512, 512), gpunn.layers.Rescaling(1 / 255))
    trainer.fit(X, y, batch_size=128, validation_data=(X_test, y_test), progress=False)
    needed = {
        "data set in memory": sum(array.nbytes for array in (X, y, X_test, y_test)),
        "4 x parameters": 4 * trainer.model.parameters.values.nbytes,
        "workspace": trainer.workspace_bytes(),
    }
    total, taken = sum(needed.values()), peak_bytes() - before
    for name, size in {**needed, "sum": total, "peak": taken}.items():
        click.echo(f"{name:<20} {size / MEBIBYTE:8.1f} MiB")
    click.echo(f"ratio {taken / total:.2f} (bound 1.30)")
    context.exit(taken > 1.3 * total)


@command.command()
@click.option("--gigabytes", default=4.0, show_default=True, help="Size of the file in gigabytes.")
@click.option(
    "--budget", default=512, show_default=True, help="Memory limit of the process in MiB."
)
@click.option("--standardize", is_flag=True, help="Fit a Standardization and split the rows.")
@click.option("--folder", type=click.Path(), help="Folder for the file.")
@click.pass_context
def stream(
    context: click.Context, gigabytes: float, budget: int, standardize: bool, folder: str | None
) -> None:
    """Train for one epoch on a memory-mapped .npy file of several gigabytes."""
    features, block = 256, 65_536
    rows = int(gigabytes * 1e9) // (4 * features)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "X.npy"
        generator = np.random.default_rng(0)
        y = generator.integers(0, 10, rows)
        centers = generator.standard_normal((10, features), dtype=np.float32)
        with open(path, "wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (rows, features)}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, rows, block):
                labels = y[start : start + block]
                noise = generator.standard_normal((len(labels), features), dtype=np.float32)
                file.write((0.3 * centers[labels] + noise).tobytes())
        click.echo(f"{path.stat().st_size / 1e9:.2f} GB: {rows:,} rows of {features} numbers")
        X = gpunn.data.load_npy(path)
        first = [gpunn.layers.Standardization()] if standardize else []
        history = network(features, (64,), *first).fit(
            X, y, batch_size=256, validation_split=0.1 if standardize else 0.0, progress=False
        )
    click.echo(f"loss {history['loss'][-1]:.4f}, accuracy {history['accuracy'][-1]:.4f}")
    click.echo(f"peak memory of the process {peak_bytes() / MEBIBYTE:.0f} MiB (bound {budget} MiB)")
    context.exit(peak_bytes() > budget * MEBIBYTE)
