"""Export a network as a source file that predicts without gpunn."""

from __future__ import annotations

from pathlib import Path

from gpunn.interchange.predictor.c_source import c_source
from gpunn.interchange.predictor.int8 import Int8Network
from gpunn.interchange.predictor.python_source import python_source
from gpunn.network import Sequential
from gpunn.storage.files import write_output


def save_python(model: Sequential, path: str | Path, *, pure: bool = False) -> None:
    """Atomically write a Python file with which a network predicts without gpunn.

    The file includes the schema or the preprocessing layers, the network, the class names, and a
    command line. The command line predicts from rows of a CSV file, like `gpunn predict`. The
    function `predict` returns the results of `Sequential.predict`, up to rounding.

    Parameters
    ----------
    model : Sequential
        The network, on any device.
    path : path-like
        File to write.
    pure : bool
        Whether the file needs only Python's standard library, without NumPy. Such a file computes
        in float64, with parameters in the network's dtype, and is much slower.

    Raises
    ------
    ExportError
        If a layer is a custom class other than a `Block`, if a custom activation can't be traced,
        or if a row of outputs is not a vector.
    OSError
        If the file can't be written; an existing file then stays unchanged.

    See Also
    --------
    save_c : Writes C instead of Python.

    Examples
    --------
    >>> import runpy
    >>> model = gpunn.Sequential([gpunn.layers.Dense(4, "relu")], 3, backend="numpy")
    >>> gpunn.interchange.save_python(model, "predictor.py")
    >>> predict = runpy.run_path("predictor.py")["predict"]
    >>> predict([[1.0, 2.0, 3.0]]).shape
    (1, 4)
    """
    write_output(path, python_source(model, pure).encode())


def save_c(model: Sequential | Int8Network, path: str | Path, *, prefix: str = "predictor") -> None:
    """Atomically write a C99 header with which a network predicts without gpunn.

    The header includes only math.h, and allocates no memory: parameters are constants, and computed
    values are on the stack. `PREFIX_predict(input, output)` accepts a row of numbers in the
    network's dtype, and computes the result of `Sequential.predict`, up to rounding. For classes,
    the header also has `PREFIX_probabilities`, `PREFIX_class` and, if classes have names,
    `PREFIX_class_name`. For a network with a schema, `PREFIX_encode(row, input)` encodes a struct
    as a row of numbers. `PREFIX_encode` returns 0 if `Schema.encode` would refuse the row,
    otherwise 1.

    Parameters
    ----------
    model : Sequential or Int8Network
        A network on any device. An `Int8Network` computes with 8-bit integers, but its inputs and
        outputs are floating-point numbers.
    path : path-like
        File to write.
    prefix : str
        The prefix of every name in the header.

    Raises
    ------
    ExportError
        If a layer is a custom class other than a `Block`, if a custom activation can't be traced,
        or if a row of outputs is not a vector. The error is also raised if a parameter is not
        finite, or if the name of a class or category contains the character NUL.
    ArgumentError
        If the prefix is not an identifier.
    OSError
        If the file can't be written; an existing file then stays unchanged.

    See Also
    --------
    save_python : Writes Python instead of C.

    Examples
    --------
    >>> from pathlib import Path
    >>> model = gpunn.Sequential([gpunn.layers.Dense(4, "relu")], 3, backend="numpy")
    >>> gpunn.interchange.save_c(model, "predictor.h")
    >>> "predictor_predict" in Path("predictor.h").read_text()
    True
    """
    write_output(path, c_source(model, prefix).encode())
