"""Export to ONNX (https://onnx.ai/onnx/operators/), for runtimes that predict without gpunn."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.configurable import check_choice
from gpunn.errors import ArgumentError, ExportError, suggest
from gpunn.interchange.onnx_functions import add_network
from gpunn.interchange.onnx_graph_builder import Graph
from gpunn.interchange.onnx_outputs import PROBABILITIES, add_outputs
from gpunn.interchange.onnx_rows import (
    column_inputs,
    encoded_rows,
    kinds_of_columns,
    units_of_columns,
)
from gpunn.interchange.steps import steps_of
from gpunn.network import Sequential, check_network
from gpunn.optional import install_command, require
from gpunn.storage.files import write_output
from gpunn.tables.encoders.category import ML
from gpunn.version import __version__

OPSETS = {"": 18, ML: 3}

MAX_BYTES = 2**31 - 2**20
"""Maximum bytes of parameters in a file, since a protobuf message has less than 2 GiB."""

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

    The input "input" has the shape `(batch, *input_shape)`, for any number of rows.
    The output "output" has the results of `Sequential.predict`, up to rounding.

    If the network has a schema, the model has one input for each column that the schema uses. Each
    input has its column's name, and the shape (batch, 1). A category is a string, spelled as in the
    training rows. Inputs of all other kinds are float64: a number, a Boolean (1 or 0), or a date
    and time (seconds since 1970, local time). NaN, and a string that is not a category, stand for a
    missing value. If `Schema.encode` would raise an error for an infinite or too large number, the
    row's outputs are NaN, and its label is empty or -1.

    Parameters
    ----------
    model : Sequential
        The network, on any device.
    encoded : bool
        For a network with a schema: whether the model has a single input, the matrix that
        `Schema.encode` returns. By default, the inputs are the table's columns.
    input_dtype : str or None
        Dtype of the input "input", by default the network's dtype. "uint8", "int8", "uint16" and
        "int16" accept pixels without conversion, for networks that begin with a `Rescaling`.
    probabilities : {"softmax", "sigmoid"} or None
        Whether to add the output "probabilities": softmax(output) for networks trained with softmax
        cross-entropy, sigmoid(output) for binary cross-entropy.
    labels : bool
        Whether to add the output "label", of shape (batch,), with the predicted classes. Classes
        with names are strings, and classes without names are int64. The network's
        `output_activation` must be "softmax", or "sigmoid" with one output.

    Returns
    -------
    onnx.ModelProto
        The model, after onnx.checker has checked it, including the shapes.

    Raises
    ------
    ExportError
        If a layer is a custom class other than a `Block`, if a scaling is a custom class, or if a
        custom activation can't be traced. If the file would exceed 2 GiB. If a column has the name
        of another value in the graph, such as "output".
    ArgumentError
        If `input_dtype`, `probabilities` or `labels` is invalid for the network.
    MissingPackageError
        If the package onnx is not installed.

    See Also
    --------
    save_onnx : Writes the file.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Dense(4, "relu")], 3, backend="numpy")
    >>> [node.op_type for node in gpunn.interchange.to_onnx(model).graph.node]
    ['Gemm', 'Relu', 'Identity']
    """
    onnx = require("onnx", "exporting to ONNX", install_command("onnx"))
    check_network(model)
    if probabilities is not None:
        check_choice("probabilities", probabilities, PROBABILITIES, "function")
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
                "input_dtype: a network with a schema has the table's columns as inputs; "
                "leave input_dtype out, or set encoded=True (--encoded)"
            )
        inputs, rows = column_inputs(model.schema), encoded_rows(graph, model.schema)
        y, accepted = rows.matrix, rows.accepted
        metadata["columns"] = json.dumps(kinds_of_columns(model.schema))
        metadata["units"] = json.dumps(units_of_columns(model.schema))
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
        Inputs and outputs of the graph.

    Raises
    ------
    ExportError, ArgumentError, MissingPackageError
        As for `to_onnx`.
    OSError
        If the file can't be written; an existing file is then unchanged.

    Examples
    --------
    >>> from pathlib import Path
    >>> model = gpunn.Sequential([gpunn.layers.Dense(4, "relu")], 3, backend="numpy")
    >>> gpunn.interchange.save_onnx(model, "model.onnx")
    >>> Path("model.onnx").exists()
    True
    """
    made = to_onnx(
        model, encoded=encoded, input_dtype=input_dtype, probabilities=probabilities, labels=labels
    )
    write_output(path, made.SerializeToString())


def check_size(model: Sequential) -> None:
    size = model.parameters.count * np.dtype(model.dtype).itemsize
    if size > MAX_BYTES:
        raise ExportError(
            f"model: the parameters take {size:,} bytes; an ONNX file holds less than 2 GiB; train "
            "a smaller network"
        )


def check_names(graph: Graph, inputs: Iterable[str]) -> None:
    taken = sorted(graph.names.intersection(inputs))
    if taken:
        raise ExportError(
            f"schema: the ONNX graph already uses the name {taken[0]!r}; rename the column of "
            "this name, or export the network with encoded=True (--encoded)"
        )


def checked_input_dtype(model: Sequential, wanted: str | None) -> str:
    if wanted is None or wanted == model.dtype:
        return model.dtype
    if wanted not in INTEGERS:
        raise ArgumentError(
            f"input_dtype: this network does not support {wanted!r}; "
            f"{suggest(str(wanted), [model.dtype, *INTEGERS])}"
        )
    if model.input_dtype(np.dtype(wanted)) != wanted:
        raise ArgumentError(
            f"input_dtype: {wanted!r} requires a Rescaling as the network's first layer; this "
            f"network has {model.dtype!r} inputs"
        )
    return wanted
