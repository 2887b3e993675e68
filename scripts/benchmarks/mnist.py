"""Find MNIST and prepare it for the competitors. Only the command imports this, not its workers."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np

import gpunn
from benchmarks.work import MNIST_ARRAYS


def mnist_folder(chosen: Path | None) -> Path:
    root = os.environ.get("GPUNN_DATA")
    folders = [chosen] if chosen else [Path(root) / "mnist", Path(root)] if root else []
    for folder in folders:
        if any(folder.glob("train-images-idx3-ubyte*")):
            return folder
    places = " or ".join(map(str, folders)) or "GPUNN_DATA, which is not set"
    raise click.UsageError(f"MNIST's files are not in {places}; name their folder with --data")


@contextmanager
def prepared_mnist(source: Path) -> Iterator[str]:
    """Write MNIST as float32 rows in [0, 1] and int64 labels, for processes without gpunn."""
    with tempfile.TemporaryDirectory() as folder:
        for name, array in zip(MNIST_ARRAYS, gpunn.data.load_mnist(source), strict=True):
            held = array if array.ndim == 1 else array.astype(np.float32) / np.float32(255)
            np.save(Path(folder) / f"{name}.npy", held)
        yield folder
