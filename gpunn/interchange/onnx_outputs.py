"""Layers after the loss, in inference, as ONNX operators."""

from __future__ import annotations

import math

from gpunn import layers
from gpunn.interchange.onnx_graph import Graph

__all__ = ["mean_over_members", "target_scaling"]


def target_scaling(graph: Graph, layer: layers.TargetScaling, label: str, x: str) -> str:
    """Return mean + deviation x, within [least, largest]."""
    mean, std = (graph.parameter(f"{label}.{name}") for name in ("mean", "deviation"))
    y = graph.add("Mul", x, std, name=f"{label}.scaled")
    y = graph.add("Add", y, mean, name=label)
    if not layer.clip:
        return y
    least, largest = (graph.parameter(f"{label}.{name}") for name in ("least", "largest"))
    y = graph.add("Max", y, least, name=f"{label}.not_less")
    return graph.add("Min", y, largest, name=f"{label}.clipped")


def mean_over_members(graph: Graph, layer: layers.MeanOverMembers, label: str, x: str) -> str:
    """Return the mean over axis 1, or the logits of the mean of the probabilities."""
    axes, members = graph.integers([1], f"{label}.axes"), graph.row_shapes[x][0]
    if layer.of == "identity":
        return graph.add("ReduceMean", x, axes, name=label, keepdims=0)

    def logarithm_of_sum(logarithms: str, name: str) -> str:
        return graph.add("ReduceLogSumExp", logarithms, axes, name=name, keepdims=0)

    if layer.of == "softmax":
        each = graph.add("LogSoftmax", x, name=f"{label}.logarithms", axis=2)
        count = graph.number(math.log(members), f"{label}.log_members")
        return graph.add("Sub", logarithm_of_sum(each, f"{label}.sum"), count, name=label)
    opposite = graph.add("Neg", x, name=f"{label}.opposite")
    sums = []
    for name, z in (("yes", opposite), ("no", x)):
        softplus = graph.add("Softplus", z, name=f"{label}.{name}.softplus")
        each = graph.add("Neg", softplus, name=f"{label}.{name}.logarithms")
        sums.append(logarithm_of_sum(each, f"{label}.{name}"))
    return graph.add("Sub", *sums, name=label)
