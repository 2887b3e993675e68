"""Export of a network as source code, in one file that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from gpunn.interchange.predictor.c_source import c_source
from gpunn.interchange.predictor.python_source import python_source
from gpunn.network import Sequential
from gpunn.storage.files import write_output

__all__ = ["save_c", "save_python"]


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

    See Also
    --------
    save_c : The same in C.

    Examples
    --------
    >>> import gpunn
    >>> import runpy
    >>> model = gpunn.Sequential([gpunn.layers.Dense(4, "relu")], 3, backend="numpy")
    >>> gpunn.interchange.save_python(model, "predictor.py")
    >>> predict = runpy.run_path("predictor.py")["predict"]
    >>> predict([[1.0, 2.0, 3.0]]).shape
    (1, 4)
    """
    write_output(Path(path), python_source(model, pure).encode())


def save_c(model: Sequential, path: str | Path, *, prefix: str = "predictor") -> None:
    """Write a network as a header in C99 that predicts without gpunn, atomically.

    It includes math.h alone and allocates nothing: parameters are constants, and what is computed
    lies on the stack. `PREFIX_predict(input, output)` takes a row of numbers, of the network's
    dtype, and gives what `Sequential.predict` returns for it, up to rounding. For classes there are
    `PREFIX_probabilities`, `PREFIX_class` and, if they have names, `PREFIX_class_name`. For a
    network with a schema, `PREFIX_encode(row, input)` turns a struct into such a row of numbers; it
    returns 0 if `Schema.encode` would refuse the row, and else 1.

    Parameters
    ----------
    model : Sequential
        On any device.
    path : path-like
        File to write.
    prefix : str
        What names in the header begin with.

    Raises
    ------
    ExportError
        If a layer or an activation is not one of gpunn's own, a row of outputs is no vector, a
        parameter is not finite, or the name of a class or category holds the character NUL.
    ArgumentError
        If the prefix is none.
    OSError
        If the file can't be written. An existing file is then unchanged.

    See Also
    --------
    save_python : The same in Python.

    Examples
    --------
    >>> import gpunn
    >>> from pathlib import Path
    >>> model = gpunn.Sequential([gpunn.layers.Dense(4, "relu")], 3, backend="numpy")
    >>> gpunn.interchange.save_c(model, "predictor.h")
    >>> "predictor_predict" in Path("predictor.h").read_text()
    True
    """
    write_output(Path(path), c_source(model, prefix).encode())
