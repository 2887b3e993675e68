"""The outputs of an ONNX graph: numbers, probabilities, and class names."""

import math

from gpunn.errors import ArgumentError
from gpunn.interchange.onnx_graph_builder import Graph
from gpunn.network import Sequential
from gpunn.tables.onnx_nodes import Value, where
from gpunn.thresholds import TWO_CLASSES, limit_of
from gpunn.typing import Shape

PROBABILITIES = {"softmax": "Softmax", "sigmoid": "Sigmoid"}


def add_outputs(
    graph: Graph,
    model: Sequential,
    y: str,
    accepted: str | None,
    *,
    probabilities: str | None,
    labels: bool,
) -> dict[str, tuple[str, Shape]]:
    # `y` names the last layer's output. `accepted` names a Boolean array of shape (rows, 1); the
    # outputs of a row are NaN if it is False.
    values = Value(graph, y, model.dtype)
    condition = None if accepted is None else Value(graph, accepted, "bool")
    if condition is None:
        graph.add("Identity", y, name="output")
    else:
        wide = condition
        if axes := range(2, 1 + len(model.output_shape)):
            wide = condition.node("Unsqueeze", condition, condition.constant(axes, "int64"))
        graph.add("Identity", where(wide, values, math.nan).name, name="output")
    outputs = {"output": (model.dtype, model.output_shape)}
    if probabilities is not None:
        graph.add(PROBABILITIES[probabilities], "output", name="probabilities")
        outputs["probabilities"] = outputs["output"]
    if labels:
        function = model.output_activation or probabilities
        outputs["label"] = (add_labels(graph, model, function, values, condition), ())
    return outputs


def add_labels(
    graph: Graph, model: Sequential, function: str | None, y: Value, accepted: Value | None
) -> str:
    shape = model.output_shape
    threshold = model.threshold if (function, shape) in TWO_CLASSES else None
    if threshold is not None:
        # Compare in float64, as gpunn does: the limit may separate two close margins.
        wide = y.astype("float64")
        margin = wide.node("MatMul", wide, [[-1], [1]] if shape == (2,) else [[1]])
        number = (margin >= limit_of(threshold)).astype("int64").squeezed()
    elif function == "softmax" and len(shape) == 1:
        number = y.node("ArgMax", y, dtype="int64", axis=1, keepdims=0)
    elif function == "sigmoid" and shape == (1,):
        number = (y > 0).astype("int64").squeezed()
    else:
        raise ArgumentError(
            f"labels: a network with output shape {shape} and output activation {function!r} does "
            "not predict one class per row; leave labels out"
        )
    names = model.classes
    if accepted is not None:
        number = where(accepted.squeezed(), number, -1 if names is None else len(names))
    if names is None:
        graph.add("Identity", number.name, name="label")
        return "int64"
    strings = graph.strings([*names, *([] if accepted is None else [""])], "label.names")
    graph.add("Gather", strings, number.name, name="label", axis=0)
    return "object"
