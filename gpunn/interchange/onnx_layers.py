"""Built-in layers, in inference, as ONNX operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from gpunn import layers
from gpunn.activations import Activation
from gpunn.errors import ExportError
from gpunn.interchange.onnx_activations import ACTIVATIONS
from gpunn.interchange.onnx_graph import Graph

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
    return converter(graph, layer, label, x)


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
    """f(x W + b)."""
    arrays = [graph.parameter(f"{label}.{name}") for name in layer.values]
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


LAYERS: dict[type[layers.Layer], Converter] = {
    layers.Activation: activation,
    layers.BatchNorm: batch_norm,
    layers.Chain: chain,
    layers.Dense: dense,
    layers.Dropout: unchanged,
    layers.Flatten: flatten,
    layers.LayerNorm: layer_norm,
    layers.Rescaling: rescaling,
    layers.Standardization: standardization,
}
"""By exact class: a subclass may compute something else."""
