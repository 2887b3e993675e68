"""Layers for tables, in inference, as ONNX operators."""

from __future__ import annotations

import math

import numpy as np

from gpunn import layers
from gpunn.interchange.onnx_graph import Graph

__all__ = [
    "by_groups",
    "categories_one_hot",
    "embedding",
    "encoding",
    "members",
    "scale",
    "waves",
]


def scale(graph: Graph, layer: layers.Scale, label: str, x: str) -> str:
    """Return s x."""
    return graph.add("Mul", x, graph.parameter(f"{label}.factors"), name=label)


def members(graph: Graph, layer: layers.Members, label: str, x: str) -> str:
    """Return r_m x for each member, whether or not each has a row of its own."""
    factors = graph.parameter(f"{label}.factors")
    if len(graph.row_shapes[x]) == 1:
        axes = graph.integers([1], f"{label}.axes")
        x = graph.add("Unsqueeze", x, axes, name=f"{label}.shared")
    return graph.add("Mul", x, factors, name=label)


def categories_one_hot(graph: Graph, layer: layers.OneHot, label: str, x: str) -> str:
    """Compare each output's code with its category, and with the second one that shares it."""
    columns, codes, second_codes = [], [], []
    for column, size in enumerate(layer.sizes):
        shared = layer.binary_as_sign and size == 3
        own = range(1, 2 if shared else size)
        columns += [column for _ in own]
        codes += list(own)
        second_codes += [2 if shared else math.nan for _ in own]  # which equals no code
    levels = graph.value(f"{label}.levels")
    off, on = (graph.array(levels[k], f"{label}.{name}") for k, name in enumerate(("off", "on")))
    code = graph.add(
        "Gather", x, graph.integers(columns, f"{label}.columns"), name=f"{label}.code", axis=1
    )
    is_own = graph.add("Equal", code, graph.array(codes, f"{label}.codes"), name=f"{label}.is_own")
    chosen = graph.add("Where", is_own, on, off, name=f"{label}.chosen")
    if 2 not in second_codes:
        return chosen
    second = graph.array(levels[2], f"{label}.second")
    others = graph.array(second_codes, f"{label}.second_codes")
    is_second = graph.add("Equal", code, others, name=f"{label}.is_second")
    return graph.add("Where", is_second, second, chosen, name=label)


def embedding(graph: Graph, layer: layers.Embedding, label: str, x: str) -> str:
    """Look up each code's row of the table; a code out of range counts as 0."""
    zero, sizes = graph.number(0.0, f"{label}.zero"), graph.array(layer.sizes, f"{label}.sizes")
    above = graph.add("GreaterOrEqual", x, zero, name=f"{label}.above")
    below = graph.add("Less", x, sizes, name=f"{label}.below")
    known = graph.add("And", above, below, name=f"{label}.known")
    code = graph.add("Where", known, x, zero, name=f"{label}.code")
    whole = graph.add("Cast", code, name=f"{label}.whole", to=graph.element_type("int64"))
    starts = graph.integers([0, *np.cumsum(layer.sizes)[:-1]], f"{label}.starts")
    row = graph.add("Add", whole, starts, name=f"{label}.row")
    table = graph.parameter(f"{label}.table")
    rows = graph.add("Gather", table, row, name=f"{label}.rows", axis=0)
    return graph.add("Flatten", rows, name=label, axis=1)


def by_groups(graph: Graph, weights: str, label: str, x: str) -> str:
    """Return the products x_g W_g of each group, for x of shape (rows, groups, inputs)."""
    axes = graph.integers([2], f"{label}.axes")
    row = graph.add("Unsqueeze", x, axes, name=f"{label}.row")
    product = graph.add("MatMul", row, graph.parameter(weights), name=f"{label}.product")
    return graph.add("Squeeze", product, axes, name=label)


def waves(graph: Graph, layer: layers.PeriodicEmbedding, label: str, x: str) -> str:
    """Return the cosines of each column, and sines or the column itself beside them."""
    axes = graph.integers([2], f"{label}.axis")
    number = graph.add("Unsqueeze", x, axes, name=f"{label}.number")
    turns = graph.array(2 * math.pi * graph.value(f"{label}.frequencies"), f"{label}.turns")
    angle = graph.add("Mul", number, turns, name=f"{label}.angle")
    if layer.kind == "pbld":
        phases = graph.parameter(f"{label}.phases")
        angle = graph.add("Add", angle, phases, name=f"{label}.shifted")
    # Runtimes lack the cosine in float64, but not the sine.
    quarter = graph.number(math.pi / 2, f"{label}.quarter")
    ahead = graph.add("Add", angle, quarter, name=f"{label}.ahead")
    found = graph.add("Sin", ahead, name=f"{label}.cosines")
    if layer.kind != "pbld":
        sines = graph.add("Sin", angle, name=f"{label}.sines")
        found = graph.add("Concat", found, sines, name=f"{label}.waves", axis=2)
    weights, biases = f"{label}.weights", graph.parameter(f"{label}.biases")
    if layer.lite:
        z = graph.add("MatMul", found, graph.parameter(weights), name=f"{label}.linear")
    else:
        z = by_groups(graph, weights, f"{label}.linear", found)
    z = graph.add("Add", z, biases, name=f"{label}.sum")
    if layer.kind == "plr":
        z = graph.add("Relu", z, name=f"{label}.relu")
    if layer.kind == "pbld":
        z = graph.add("Concat", z, number, name=f"{label}.beside", axis=2)
    return graph.add("Flatten", z, name=label, axis=1)


def encoding(graph: Graph, label: str, x: str) -> tuple[str, str]:
    """Return a column of each number, and the piecewise linear encoding."""
    axes = graph.integers([2], f"{label}.axis")
    number = graph.add("Unsqueeze", x, axes, name=f"{label}.number")
    starts, slopes, lowest, highest = (
        graph.parameter(f"{label}.{name}") for name in ("starts", "slopes", "lowest", "highest")
    )
    distance = graph.add("Sub", number, starts, name=f"{label}.distance")
    line = graph.add("Mul", distance, slopes, name=f"{label}.line")
    above = graph.add("Max", line, lowest, name=f"{label}.above")
    return number, graph.add("Min", above, highest, name=f"{label}.encoding")
