"""Export of a network as source code, in one file that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from gpunn.interchange.predictor.python_source import python_source
from gpunn.network import Sequential
from gpunn.storage.files import write_atomically

__all__ = ["save_python"]


def save_python(model: Sequential, path: str | Path, *, pure: bool = False) -> None:
    """Write a network as a Python file that predicts without gpunn, atomically.

    The file has the schema or the preprocessing layers, the network, the names of classes, and a
    command line: rows of a CSV file become predictions, as by `gpunn predict`. Its function
    `predict` returns what `Sequential.predict` does, up to rounding.

    Parameters
    ----------
    model : Sequential
        On any device.
    path : path-like
        File to write.
    pure : bool
        Whether the file needs only Python's standard library, and not NumPy. It then computes in
        float64, from parameters of the network's dtype, and takes far longer.

    Raises
    ------
    ExportError
        If a layer or an activation is not one of gpunn's own, or a row of outputs is no vector.
    OSError
        If the file can't be written. An existing file is then unchanged.
    """
    write_atomically(Path(path), python_source(model, pure).encode())
