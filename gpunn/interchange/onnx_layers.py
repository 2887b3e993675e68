"""Built-in layers, in inference, as ONNX operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from gpunn import layers
from gpunn.activations import Activation
from gpunn.errors import ExportError
from gpunn.interchange.onnx_activations import ACTIVATIONS
from gpunn.interchange.onnx_graph import Graph
from gpunn.interchange.onnx_outputs import mean_over_members, target_scaling
from gpunn.interchange.onnx_tables import (
    by_groups,
    categories_one_hot,
    embedding,
    encoding,
    members,
    scale,
    waves,
)

__all__ = ["LAYERS", "convert"]

Converter: TypeAlias = Callable[[Graph, Any, str, str], str]
"""Takes the graph, the layer, its label, and the name of x; returns that of y."""


def convert(graph: Graph, layer: layers.Layer, label: str, x: str) -> str:
    """Add a layer's nodes and return the name of its output.

    Raises
    ------
    ExportError
        If the layer, or its activation, is not one of gpunn's own.
    """
    converter = LAYERS.get(type(layer))
    if converter is None:
        raise ExportError(unknown("layer", label, layer, LAYERS))
    y = converter(graph, layer, label, x)
    graph.row_shapes[y] = layer.output_shape(graph.row_shapes[x])
    return y


def unknown(kind: str, label: str, found: object, known: dict[Any, Any]) -> str:
    """Return the message for a class that has no converter."""
    names = ", ".join(sorted(cls.__name__ for cls in known))
    return (
        f"layer {label!r}: how to write the {kind} {type(found).__name__} in ONNX is not known, "
        f"since it is not one of gpunn's own ({names})"
    )


def activate(graph: Graph, f: Activation, layer: str, label: str, z: str) -> str:
    """Add f(z), whose nodes are called `label`."""
    converter = ACTIVATIONS.get(type(f))
    if converter is None:
        raise ExportError(unknown("activation", layer, f, ACTIVATIONS))
    return converter(graph, f, label, z)


def chain(graph: Graph, layer: layers.Chain, label: str, x: str) -> str:
    """Add the nodes of each layer of a chain."""
    for name, child in layer.children().items():
        x = convert(graph, child, f"{label}.{name}", x)
    return x


def dense(graph: Graph, layer: layers.Dense, label: str, x: str) -> str:
    """f(x W + b), with W divided by sqrt(inputs) in the parametrization "ntp"."""
    arrays = [graph.parameter(f"{label}.{name}") for name in layer.values]
    if layer.parametrization == "ntp":
        W = graph.value(arrays[0])
        graph.array(layer.weight_factor(len(W)) * W, arrays[0])
    z = graph.add("Gemm", x, *arrays, name=label)
    return activate(graph, layer.f, label, f"{label}.activation", z)


def activation(graph: Graph, layer: layers.Activation, label: str, x: str) -> str:
    """f(x)."""
    return activate(graph, layer.f, label, label, x)


def unchanged(graph: Graph, layer: layers.Layer, label: str, x: str) -> str:
    """Return x itself: dropout in inference."""
    return x


def flatten(graph: Graph, layer: layers.Flatten, label: str, x: str) -> str:
    """Make each row a vector."""
    return graph.add("Flatten", x, name=label, axis=1)


def rescaling(graph: Graph, layer: layers.Rescaling, label: str, x: str) -> str:
    """Return scale x + offset."""
    scale = graph.number(layer.scale, f"{label}.scale")
    y = graph.add("Mul", x, scale, name=label)
    if not layer.offset:
        return y
    offset = graph.number(layer.offset, f"{label}.offset")
    return graph.add("Add", y, offset, name=f"{label}.sum")


def standardization(graph: Graph, layer: layers.Standardization, label: str, x: str) -> str:
    """(x - mean) / std."""
    mean, std = (graph.parameter(f"{label}.{name}") for name in ("mean", "deviation"))
    centred = graph.add("Sub", x, mean, name=f"{label}.centred")
    return graph.add("Div", centred, std, name=label)


def batch_norm(graph: Graph, layer: layers.BatchNorm, label: str, x: str) -> str:
    """Normalise each feature by its running mean and variance."""
    names = ("scale", "shift", "running_mean", "running_variance")
    arrays = [graph.parameter(f"{label}.{name}") for name in names]
    return graph.add("BatchNormalization", x, *arrays, name=label, epsilon=layer.epsilon)


def layer_norm(graph: Graph, layer: layers.LayerNorm, label: str, x: str) -> str:
    """Normalise each row."""
    arrays = [graph.parameter(f"{label}.{name}") for name in ("scale", "shift")]
    return graph.add("LayerNormalization", x, *arrays, name=label, axis=-1, epsilon=layer.epsilon)


def parametric_activation(
    graph: Graph, layer: layers.ParametricActivation, label: str, x: str
) -> str:
    """Return x + alpha (f(x) - x)."""
    value = activate(graph, layer.f, label, f"{label}.activation", x)
    difference = graph.add("Sub", value, x, name=f"{label}.difference")
    alpha = graph.parameter(f"{label}.alpha")
    scaled = graph.add("Mul", difference, alpha, name=f"{label}.scaled")
    return graph.add("Add", x, scaled, name=label)


def column_groups(graph: Graph, layer: layers.ColumnGroups, label: str, x: str) -> str:
    """Each group's columns through its layers, side by side."""
    axes = graph.integers([1], f"{label}.axes")
    outputs = []
    for group in layer.parts:
        name = f"{label}.{group.label}"
        start, stop = (
            graph.integers([end], f"{name}.{which}")
            for which, end in (("start", group.start), ("stop", group.stop))
        )
        y = graph.add("Slice", x, start, stop, axes, name=f"{name}.columns")
        graph.row_shapes[y] = (group.width,)
        if group.chain is not None:
            y = convert(graph, group.chain, name, y)
            y = graph.add("Flatten", y, name=f"{name}.flat", axis=1)
        outputs.append(y)
    return graph.add("Concat", *outputs, name=label, axis=1)


def member_dense(graph: Graph, layer: layers.MemberDense, label: str, x: str) -> str:
    """f(s ((r x) W) + b) for each member, or what of it there is."""
    if "input_adapter" in layer.values:
        r = graph.parameter(f"{label}.input_adapter")
        x = graph.add("Mul", x, r, name=f"{label}.adapted")
    if layer.separate:
        z = by_groups(graph, f"{label}.weights", f"{label}.linear", x)
    else:
        weights = graph.parameter(f"{label}.weights")
        z = graph.add("MatMul", x, weights, name=f"{label}.linear")
    if "output_adapter" in layer.values:
        s = graph.parameter(f"{label}.output_adapter")
        z = graph.add("Mul", z, s, name=f"{label}.scaled")
    z = graph.add("Add", z, graph.parameter(f"{label}.biases"), name=label)
    return activate(graph, layer.f, label, f"{label}.activation", z)


def periodic_embedding(graph: Graph, layer: layers.PeriodicEmbedding, label: str, x: str) -> str:
    """A linear function of waves of each number."""
    return waves(graph, layer, label, x)


def piecewise_linear_embedding(
    graph: Graph, layer: layers.PiecewiseLinearEmbedding, label: str, x: str
) -> str:
    """A linear function of where each number lies among edges."""
    number, code = encoding(graph, label, x)
    z = by_groups(graph, f"{label}.weights", f"{label}.linear", code)
    biases = graph.parameter(f"{label}.biases")
    if layer.version == "A":
        z = graph.add("Add", z, biases, name=f"{label}.sum")
    y = activate(graph, layer.f, label, f"{label}.activation", z)
    if layer.version == "B":
        weights = graph.parameter(f"{label}.linear_weights")
        line = graph.add("Mul", number, weights, name=f"{label}.scaled")
        shifted = graph.add("Add", line, biases, name=f"{label}.shifted")
        y = graph.add("Add", y, shifted, name=f"{label}.sums")
    return graph.add("Flatten", y, name=label, axis=1)


LAYERS: dict[type[layers.Layer], Converter] = {
    layers.Activation: activation,
    layers.BatchNorm: batch_norm,
    layers.Chain: chain,
    layers.ColumnGroups: column_groups,
    layers.Dense: dense,
    layers.Dropout: unchanged,
    layers.Embedding: embedding,
    layers.Flatten: flatten,
    layers.LayerNorm: layer_norm,
    layers.MemberDense: member_dense,
    layers.MeanOverMembers: mean_over_members,
    layers.Members: members,
    layers.OneHot: categories_one_hot,
    layers.ParametricActivation: parametric_activation,
    layers.PeriodicEmbedding: periodic_embedding,
    layers.PiecewiseLinearEmbedding: piecewise_linear_embedding,
    layers.Rescaling: rescaling,
    layers.Scale: scale,
    layers.Standardization: standardization,
    layers.TargetScaling: target_scaling,
}
"""By exact class: a subclass may compute something else."""
