"""Export to ONNX, for runtimes that predict without gpunn.

The graph is that of inference: without dropout, and with the running averages of batch
normalisation. It takes raw data, since layers that scale inputs (`Standardization`, `Rescaling`)
are part of it. The operators are specified at https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.errors import ArgumentError, ExportError, suggest
from gpunn.interchange.onnx_graph import Graph
from gpunn.interchange.onnx_layers import convert
from gpunn.network import Sequential
from gpunn.optional import require
from gpunn.storage.files import write_atomically
from gpunn.version import __version__

__all__ = ["save_onnx", "to_onnx"]

OPSET = 18
"""Version of the operators, from 2022, so that older runtimes have them."""

LARGEST = 2**31 - 2**20
"""Most bytes of parameters in a file: a protobuf message has less than 2 GiB."""

INTEGERS = ("uint8", "int8", "uint16", "int16")

PROBABILITIES = {"softmax": "Softmax", "sigmoid": "Sigmoid"}


def to_onnx(
    model: Sequential, *, input_dtype: str | None = None, probabilities: str | None = None
) -> Any:
    """Return a network as an ONNX model.

    Its input is called "input" and has shape (batch, *input_shape), with any number of rows. Its
    output is called "output": what `Sequential.predict` returns, up to rounding.

    Parameters
    ----------
    model : Sequential
        On any device.
    input_dtype : str or None
        Dtype of the input, by default the network's. "uint8", "int8", "uint16" and "int16" are for
        networks that begin with a `Rescaling`, and take pixels without conversion.
    probabilities : {"softmax", "sigmoid"} or None
        Adds a second output called "probabilities": softmax(output) is for networks trained with
        softmax cross-entropy, sigmoid(output) for binary cross-entropy.

    Returns
    -------
    onnx.ModelProto
        Checked by onnx.checker, shapes included.

    Raises
    ------
    ExportError
        If a layer or an activation is not one of gpunn's own, or the file would exceed 2 GiB.
    ArgumentError
        If `input_dtype` or `probabilities` is impossible.
    MissingPackageError
        If the package onnx is not installed.
    """
    onnx = require("onnx", "exporting to ONNX", "gpunn[onnx]")
    if probabilities is not None and probabilities not in PROBABILITIES:
        raise ArgumentError(
            f"probabilities: there is no {probabilities!r}; {suggest(probabilities, PROBABILITIES)}"
        )
    dtype = checked_input_dtype(model, input_dtype)
    check_size(model)
    graph = Graph(onnx, model.dtype, model.parameters.to_host())
    y = "input"
    if dtype != model.dtype:
        y = graph.add("Cast", y, name="cast", to=graph.element_type(model.dtype))
    graph.row_shapes[y] = model.input_shape
    for label, layer in zip(model.labels, model.layers, strict=True):
        y = convert(graph, layer, label, y)
    graph.add("Identity", y, name="output")
    outputs = ["output"]
    if probabilities is not None:
        graph.add(PROBABILITIES[probabilities], y, name="probabilities")
        outputs.append("probabilities")
    made = graph.model(
        opset=OPSET,
        inputs={"input": (dtype, model.input_shape)},
        outputs=dict.fromkeys(outputs, (model.dtype, model.output_shape)),
        metadata={
            "gpunn": __version__,
            **{key: json.dumps(value) for key, value in model.metadata.items()},
        },
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def save_onnx(
    model: Sequential,
    path: str | Path,
    *,
    input_dtype: str | None = None,
    probabilities: str | None = None,
) -> None:
    """Write a network to an ONNX file, atomically.

    Parameters and errors are those of `to_onnx`.

    Raises
    ------
    OSError
        If the file can't be written. An existing file is then unchanged.
    """
    made = to_onnx(model, input_dtype=input_dtype, probabilities=probabilities)
    write_atomically(path, made.SerializeToString())


def check_size(model: Sequential) -> None:
    """Raise an ExportError if the parameters don't fit one file."""
    size = model.parameters.count * np.dtype(model.dtype).itemsize
    if size > LARGEST:
        raise ExportError(
            f"model: its parameters take {size:,} bytes; an ONNX file holds less than 2 GiB"
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
