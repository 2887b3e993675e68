"""The outputs of an ONNX graph: numbers, probabilities, and the names of classes."""

from __future__ import annotations

import math

from gpunn.errors import ArgumentError
from gpunn.interchange.onnx_graph import Graph
from gpunn.network import Sequential
from gpunn.thresholds import TWO_CLASSES, limit_of
from gpunn.typing import Shape

__all__ = ["PROBABILITIES", "add_answers"]

PROBABILITIES = {"softmax": "Softmax", "sigmoid": "Sigmoid"}


def add_answers(
    graph: Graph,
    model: Sequential,
    y: str,
    accepted: str | None,
    *,
    probabilities: str | None,
    labels: bool,
) -> dict[str, tuple[str, Shape]]:
    """Add the graph's outputs, and return dtype and shape of a row of each.

    `y` is the name of what the last layer gives, and `accepted` that of booleans (rows, 1): the
    outputs of a row are NaN where it is False.
    """
    if accepted is None:
        graph.add("Identity", y, name="output")
    else:
        condition = accepted
        if len(model.output_shape) > 1:
            axes = graph.integers(range(2, 1 + len(model.output_shape)), "output.axes")
            condition = graph.add("Unsqueeze", accepted, axes, name="output.accepted")
        none = graph.number(math.nan, "output.none")
        graph.add("Where", condition, y, none, name="output")
    outputs = {"output": (model.dtype, model.output_shape)}
    if probabilities is not None:
        graph.add(PROBABILITIES[probabilities], "output", name="probabilities")
        outputs["probabilities"] = outputs["output"]
    if labels:
        function = model.output_activation or probabilities
        outputs["label"] = (add_labels(graph, model, function, y, accepted), ())
    return outputs


def add_labels(
    graph: Graph, model: Sequential, function: str | None, y: str, accepted: str | None
) -> str:
    """Add the predicted class of each row, and return the dtype of that."""
    shape = model.output_shape
    threshold = model.threshold if (function, shape) in TWO_CLASSES else None
    if threshold is not None:
        # In float64, as gpunn decides: the limit is between two margins that may be close.
        wide = graph.add("Cast", y, name="label.wide", to=graph.element_type("float64"))
        signs = graph.doubles([[-1], [1]] if shape == (2,) else [[1]], "label.signs")
        margin = graph.add("MatMul", wide, signs, name="label.margin")
        limit = graph.doubles(limit_of(threshold), "label.limit")
        second = graph.add("GreaterOrEqual", margin, limit, name="label.second")
        whole = graph.add("Cast", second, name="label.whole", to=graph.element_type("int64"))
        number = squeezed(graph, whole, "label.number")
    elif function == "softmax" and len(shape) == 1:
        number = graph.add("ArgMax", y, name="label.number", axis=1, keepdims=0)
    elif function == "sigmoid" and shape == (1,):
        positive = graph.add("Greater", y, graph.number(0.0, "label.zero"), name="label.positive")
        whole = graph.add("Cast", positive, name="label.whole", to=graph.element_type("int64"))
        number = squeezed(graph, whole, "label.number")
    else:
        raise ArgumentError(
            f"labels: a network with outputs {shape} and the output activation {function!r} does "
            "not choose one of several classes; leave them out"
        )
    names = model.classes
    if accepted is not None:
        none = graph.integers(-1 if names is None else len(names), "label.none")
        condition = squeezed(graph, accepted, "label.accepted")
        number = graph.add("Where", condition, number, none, name="label.chosen")
    if names is None:
        graph.add("Identity", number, name="label")
        return "int64"
    texts = graph.texts([*names, *([] if accepted is None else [""])], "label.names")
    graph.add("Gather", texts, number, name="label", axis=0)
    return "object"


def squeezed(graph: Graph, column: str, name: str) -> str:
    """Return a matrix of one column as a vector."""
    return graph.add("Squeeze", column, graph.integers([1], f"{name}.axes"), name=name)
