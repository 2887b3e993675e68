"""Export to ONNX, for runtimes that predict without gpunn.

The graph is that of inference: without dropout, and with the running averages of batch
normalisation. It takes raw data, since layers that scale inputs (`Standardization`, `Rescaling`)
and what a schema makes of a table's columns are part of it. The operators are specified at https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.errors import ArgumentError, ExportError, suggest
from gpunn.interchange.onnx_functions import add_network
from gpunn.interchange.onnx_graph import Graph
from gpunn.interchange.onnx_outputs import PROBABILITIES, add_outputs
from gpunn.interchange.onnx_rows import ML, column_inputs, encoded_rows, kinds_of_columns
from gpunn.interchange.steps import steps_of
from gpunn.network import Sequential
from gpunn.optional import install_command, require
from gpunn.storage.files import write_output
from gpunn.version import __version__

__all__ = ["save_onnx", "to_onnx"]

OPSETS = {"": 18, ML: 3}
"""Versions of the operators, from 2022, so that older runtimes have them."""

LARGEST = 2**31 - 2**20
"""Most bytes of parameters in a file: a protobuf message has less than 2 GiB."""

INTEGERS = ("uint8", "int8", "uint16", "int16")


def to_onnx(
    model: Sequential,
    *,
    encoded: bool = False,
    input_dtype: str | None = None,
    probabilities: str | None = None,
    labels: bool = False,
) -> Any:
    """Return a network as an ONNX model.

    Its input is called "input" and has shape (batch, ...), the network's input shape after any
    number of rows. Its output is called "output": what `Sequential.predict` returns, up to
    rounding.

    A network with a schema has an input for each column of the table that the schema uses, called
    as the column, of shape (batch, 1): text for a category, spelt as in the training rows; float64
    for a number, for a boolean (1 or 0), and for a date and time (seconds since 1970 on the clock
    on the wall). NaN, or text that is no category, is a missing value. Where `Schema.encode` would
    raise an error, since a number is infinite or too large, the row's outputs are NaN, and its
    label is empty or -1.

    Parameters
    ----------
    model : Sequential
        On any device.
    encoded : bool
        Whether a network with a schema takes, as one without, one input of numbers, as
        `Schema.encode` returns them, and not the table's columns.
    input_dtype : str or None
        Dtype of the input of numbers, by default the network's. "uint8", "int8", "uint16" and
        "int16" are for networks that begin with a `Rescaling`, and take pixels without conversion.
    probabilities : {"softmax", "sigmoid"} or None
        Adds an output called "probabilities": softmax(output) is for networks trained with softmax
        cross-entropy, sigmoid(output) for binary cross-entropy.
    labels : bool
        Adds an output called "label", of shape (batch,): the predicted class's name, as text, or if
        classes have no names its number, as int64. It is for a network whose `output_activation` is
        "softmax", or "sigmoid" with one output.

    Returns
    -------
    onnx.ModelProto
        Checked by onnx.checker, shapes included.

    Raises
    ------
    ExportError
        If a layer, an activation or a scaling is not one of gpunn's own, a column is called as
        something else in the graph, such as "output", or the file would exceed 2 GiB.
    ArgumentError
        If `input_dtype`, `probabilities` or `labels` is impossible.
    MissingPackageError
        If the package onnx is not installed.

    See Also
    --------
    save_onnx : Writes the file.

    Examples
    --------
    >>> import gpunn
    >>> model = gpunn.Sequential([gpunn.layers.Dense(4, "relu")], 3, backend="numpy")
    >>> [node.op_type for node in gpunn.interchange.to_onnx(model).graph.node]
    ['Gemm', 'Relu', 'Identity']
    """
    onnx = require("onnx", "exporting to ONNX", install_command("onnx"))
    if probabilities is not None and probabilities not in PROBABILITIES:
        raise ArgumentError(
            f"probabilities: there is no {probabilities!r}; {suggest(probabilities, PROBABILITIES)}"
        )
    check_size(model)
    steps = steps_of(model)
    graph = Graph(onnx, model.dtype, steps.arrays)
    metadata = {"gpunn": __version__}
    accepted = None
    if model.schema is None or encoded:
        dtype = checked_input_dtype(model, input_dtype)
        inputs, y = {"input": (dtype, model.input_shape)}, "input"
        if dtype != model.dtype:
            y = graph.add("Cast", y, name="cast", to=graph.element_type(model.dtype))
    else:
        if input_dtype is not None:
            raise ArgumentError(
                "input_dtype: a network with a schema takes the table's columns, as text and "
                "float64; leave it out, or choose encoded=True (--encoded)"
            )
        inputs, rows = column_inputs(model.schema), encoded_rows(graph, model.schema)
        y, accepted = rows.matrix, rows.accepted
        metadata["columns"] = json.dumps(kinds_of_columns(model.schema))
    y = add_network(graph, steps, y)
    outputs = add_outputs(graph, model, y, accepted, probabilities=probabilities, labels=labels)
    check_names(graph, inputs)
    made = graph.model(
        opsets=OPSETS,
        inputs=inputs,
        outputs=outputs,
        metadata=metadata | {key: json.dumps(value) for key, value in model.metadata.items()},
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def save_onnx(
    model: Sequential,
    path: str | Path,
    *,
    encoded: bool = False,
    input_dtype: str | None = None,
    probabilities: str | None = None,
    labels: bool = False,
) -> None:
    """Write a network to an ONNX file, atomically.

    Parameters
    ----------
    model : Sequential
        As for `to_onnx`.
    path : str or Path
        File to write.
    encoded, input_dtype, probabilities, labels : as for `to_onnx`
        What goes into the graph, and what comes out.

    Raises
    ------
    ExportError, ArgumentError, MissingPackageError
        As `to_onnx`.
    OSError
        If the file can't be written. An existing file is then unchanged.

    Examples
    --------
    >>> import gpunn
    >>> from pathlib import Path
    >>> model = gpunn.Sequential([gpunn.layers.Dense(4, "relu")], 3, backend="numpy")
    >>> gpunn.interchange.save_onnx(model, "model.onnx")
    >>> Path("model.onnx").exists()
    True
    """
    made = to_onnx(
        model,
        encoded=encoded,
        input_dtype=input_dtype,
        probabilities=probabilities,
        labels=labels,
    )
    write_output(path, made.SerializeToString())


def check_size(model: Sequential) -> None:
    """Raise an ExportError if the parameters don't fit one file."""
    size = model.parameters.count * np.dtype(model.dtype).itemsize
    if size > LARGEST:
        raise ExportError(
            f"model: its parameters take {size:,} bytes; an ONNX file holds less than 2 GiB"
        )


def check_names(graph: Graph, inputs: Iterable[str]) -> None:
    """Raise an ExportError if a column is called as something that is computed."""
    taken = sorted(graph.names.intersection(inputs))
    if taken:
        raise ExportError(
            f"schema: the column {taken[0]!r} is called as something else in the graph; rename it, "
            "or export the network with encoded=True (--encoded)"
        )


def checked_input_dtype(model: Sequential, wanted: str | None) -> str:
    """Return the dtype of the graph's input."""
    if wanted is None or wanted == model.dtype:
        return model.dtype
    if wanted not in INTEGERS:
        raise ArgumentError(
            f"input_dtype: there is no {wanted!r} for this network; "
            f"{suggest(wanted, [model.dtype, *INTEGERS])}"
        )
    if model.input_dtype(np.dtype(wanted)) != wanted:
        raise ArgumentError(
            f"input_dtype: {wanted!r} is for networks that begin with a Rescaling layer; this one "
            f"takes {model.dtype!r}"
        )
    return wanted
