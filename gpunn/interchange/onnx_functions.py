"""Steps of a network as ONNX operators: a function for each, of the step's name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from gpunn.interchange.onnx_activations import ACTIVATIONS
from gpunn.interchange.onnx_graph import Graph
from gpunn.interchange.steps import ArrayName, Step, Steps

__all__ = ["FUNCTIONS", "add_network"]

Function: TypeAlias = Callable[..., str]
"""Takes the graph, the step, a name for its last node, and the names of inputs and arrays, or
numbers; returns the name of its output."""


def add_network(graph: Graph, steps: Steps, x: str) -> str:
    """Add steps, whose arrays are the graph's, and return the name of what they make of `x`."""
    variables, uses = {"x": x}, dict[str, int]()
    for step in steps.steps:
        name = f"{step.label}.{step.function}"
        uses[name] = uses.get(name, 0) + 1
        if uses[name] > 1:
            name += f".{uses[name]}"
        inputs = [variables[variable] for variable in step.inputs]
        arguments = [each.name if isinstance(each, ArrayName) else each for each in step.arguments]
        variables[step.output] = FUNCTIONS[step.function](graph, step, name, *inputs, *arguments)
    return variables["x"]


def dense(graph: Graph, step: Step, name: str, x: str, W: str, b: str) -> str:
    """Return x W + b."""
    if len(step.input_shape) == 1:
        return graph.add("Gemm", x, graph.parameter(W), graph.parameter(b), name=name)
    return shift(graph, step, name, matmul(graph, step, f"{name}.product", x, W), b)


def matmul(graph: Graph, step: Step, name: str, x: str, W: str) -> str:
    """Return x W."""
    return graph.add("MatMul", x, graph.parameter(W), name=name)


def group_matmul(graph: Graph, step: Step, name: str, x: str, W: str) -> str:
    """Return the products x_g W_g of each group, for x of shape (rows, groups, inputs)."""
    axes = graph.integers([2], f"{name}.axes")
    row = graph.add("Unsqueeze", x, axes, name=f"{name}.row")
    product = graph.add("MatMul", row, graph.parameter(W), name=f"{name}.product")
    return graph.add("Squeeze", product, axes, name=name)


def lines(graph: Graph, step: Step, name: str, x: str, w: str, b: str) -> str:
    """Return w_c x_c + b_c for each column c, each with several numbers."""
    number = columns_of_one(graph, x, name)
    return shift(graph, step, name, scale(graph, step, f"{name}.scaled", number, w), b)


def columns_of_one(graph: Graph, x: str, name: str) -> str:
    """Return each number as a vector of one."""
    axes = graph.integers([2], f"{name}.number.axes")
    return graph.add("Unsqueeze", x, axes, name=f"{name}.number")


def flatten(graph: Graph, step: Step, name: str, x: str) -> str:
    """Make each row a vector."""
    return graph.add("Flatten", x, name=name, axis=1)


def rescaling(graph: Graph, step: Step, name: str, x: str, factor: float, offset: float) -> str:
    """Return factor x + offset."""
    y = graph.add("Mul", x, graph.number(factor, f"{name}.factor"), name=f"{name}.scaled")
    return graph.add("Add", y, graph.number(offset, f"{name}.offset"), name=name) if offset else y


def standardization(graph: Graph, step: Step, name: str, x: str, mean: str, std: str) -> str:
    """(x - mean) / std."""
    centred = graph.add("Sub", x, graph.parameter(mean), name=f"{name}.centred")
    return graph.add("Div", centred, graph.parameter(std), name=name)


def batch_norm(
    graph: Graph,
    step: Step,
    name: str,
    x: str,
    mean: str,
    variance: str,
    factors: str,
    shifts: str,
    epsilon: float,
) -> str:
    """Normalise each feature by its running mean and variance."""
    if graph.dtype == "float32":
        arrays = map(graph.parameter, (factors, shifts, mean, variance))
        return graph.add("BatchNormalization", x, *arrays, name=name, epsilon=epsilon)
    # ONNX's attributes are float32.
    centred = graph.add("Sub", x, graph.parameter(mean), name=f"{name}.centred")
    deviation = graph.array(np.sqrt(graph.value(variance) + epsilon), f"{name}.deviation")
    normal = graph.add("Div", centred, deviation, name=f"{name}.normal")
    return shift(graph, step, name, scale(graph, step, f"{name}.scaled", normal, factors), shifts)


def layer_norm(
    graph: Graph, step: Step, name: str, x: str, factors: str, shifts: str, epsilon: float
) -> str:
    """Normalise each row."""
    if graph.dtype == "float32":
        arrays = map(graph.parameter, (factors, shifts))
        return graph.add("LayerNormalization", x, *arrays, name=name, axis=-1, epsilon=epsilon)
    # ONNX's attributes are float32. With a quotient of x in place of the product with `factor`,
    # runtimes would take these operators for a LayerNormalization, too.
    axes, one = graph.integers([-1], f"{name}.axes"), graph.number(1.0, f"{name}.one")
    mean = graph.add("ReduceMean", x, axes, name=f"{name}.mean", keepdims=1)
    centred = graph.add("Sub", x, mean, name=f"{name}.centred")
    square = graph.add("Mul", centred, centred, name=f"{name}.square")
    variance = graph.add("ReduceMean", square, axes, name=f"{name}.variance", keepdims=1)
    small = graph.number(epsilon, f"{name}.epsilon")
    positive = graph.add("Add", variance, small, name=f"{name}.positive")
    deviation = graph.add("Sqrt", positive, name=f"{name}.deviation")
    factor = graph.add("Div", one, deviation, name=f"{name}.factor")
    normal = graph.add("Mul", centred, factor, name=f"{name}.normal")
    return shift(graph, step, name, scale(graph, step, f"{name}.scaled", normal, factors), shifts)


def scale(graph: Graph, step: Step, name: str, x: str, factors: str) -> str:
    """Return factors x."""
    return graph.add("Mul", x, graph.parameter(factors), name=name)


def shift(graph: Graph, step: Step, name: str, x: str, b: str) -> str:
    """Return x + b."""
    return graph.add("Add", x, graph.parameter(b), name=name)


def add(graph: Graph, step: Step, name: str, x: str, y: str) -> str:
    """Return x + y."""
    return graph.add("Add", x, y, name=name)


def blend(graph: Graph, step: Step, name: str, x: str, value: str, alpha: str) -> str:
    """Return x + alpha (value - x)."""
    difference = graph.add("Sub", value, x, name=f"{name}.difference")
    scaled = scale(graph, step, f"{name}.scaled", difference, alpha)
    return graph.add("Add", x, scaled, name=name)


# ----------------------------------------------------------------------------------- for tables


def columns(graph: Graph, step: Step, name: str, x: str, start: int, stop: int) -> str:
    """Return some of the columns."""
    ends = (
        graph.integers([each], f"{name}.{which}")
        for which, each in (("start", start), ("stop", stop), ("axes", 1))
    )
    return graph.add("Slice", x, *ends, name=name)


def concatenate(graph: Graph, step: Step, name: str, *parts: str) -> str:
    """Return columns side by side."""
    return graph.add("Concat", *parts, name=name, axis=1)


def per_member(graph: Graph, step: Step, name: str, x: str, factors: str) -> str:
    """Return each row once for each member, times the member's factors."""
    axes = graph.integers([1], f"{name}.axes")
    shared = graph.add("Unsqueeze", x, axes, name=f"{name}.shared")
    return scale(graph, step, name, shared, factors)


def one_hot(
    graph: Graph,
    step: Step,
    name: str,
    x: str,
    places: str,
    codes: str,
    second_codes: str,
    levels: str,
) -> str:
    """Compare each output's code with its category, and with the second one that shares it."""
    off, on = (
        graph.array(graph.value(levels)[place], f"{name}.{which}")
        for place, which in enumerate(("off", "on"))
    )
    own, others = (graph.value(each) for each in (codes, second_codes))
    code = graph.add("Gather", x, graph.parameter(places), name=f"{name}.code", axis=1)
    if not np.array_equal(own, others):
        second = graph.array(graph.value(levels)[2], f"{name}.second")
        codes = graph.array(others, f"{name}.others")
        is_other = graph.add("Equal", code, codes, name=f"{name}.is_other")
        off = graph.add("Where", is_other, second, off, name=f"{name}.rest")
    is_own = graph.add("Equal", code, graph.array(own, f"{name}.own"), name=f"{name}.is_own")
    return graph.add("Where", is_own, on, off, name=name)


def embedding(graph: Graph, step: Step, name: str, x: str, sizes: str, table: str) -> str:
    """Look up each code's row of the table; a code out of range counts as 0."""
    counts = graph.value(sizes)
    zero, limits = graph.number(0.0, f"{name}.zero"), graph.array(counts, f"{name}.limits")
    above = graph.add("GreaterOrEqual", x, zero, name=f"{name}.above")
    below = graph.add("Less", x, limits, name=f"{name}.below")
    known = graph.add("And", above, below, name=f"{name}.known")
    code = graph.add("Where", known, x, zero, name=f"{name}.code")
    whole = graph.add("Cast", code, name=f"{name}.whole", to=graph.element_type("int64"))
    starts = graph.integers(np.cumsum(counts) - counts, f"{name}.starts")
    row = graph.add("Add", whole, starts, name=f"{name}.row")
    rows = graph.add("Gather", graph.parameter(table), row, name=f"{name}.rows", axis=0)
    return graph.add("Flatten", rows, name=name, axis=1)


def waves(graph: Graph, step: Step, name: str, x: str, turns: str) -> str:
    """Return the cosines of turns x for each column, and then the sines."""
    angle = scale(graph, step, f"{name}.angle", columns_of_one(graph, x, name), turns)
    # Runtimes lack the cosine in float64, but not the sine.
    quarter = graph.number(math.pi / 2, f"{name}.quarter")
    ahead = graph.add("Add", angle, quarter, name=f"{name}.ahead")
    both = (
        graph.add("Sin", each, name=f"{name}.{which}")
        for which, each in (("cosines", ahead), ("sines", angle))
    )
    return graph.add("Concat", *both, name=name, axis=2)


def shifted_waves(graph: Graph, step: Step, name: str, x: str, turns: str, phases: str) -> str:
    """Return the cosines of turns x + phases for each column."""
    angle = scale(graph, step, f"{name}.angle", columns_of_one(graph, x, name), turns)
    ahead = graph.array(graph.value(phases) + math.pi / 2, f"{name}.ahead")
    shifted = graph.add("Add", angle, ahead, name=f"{name}.shifted")
    return graph.add("Sin", shifted, name=name)


def beside(graph: Graph, step: Step, name: str, z: str, x: str) -> str:
    """Return for each column its numbers z, with the column x itself beside them."""
    number = columns_of_one(graph, x, name)
    both = graph.add("Concat", z, number, name=f"{name}.both", axis=2)
    return graph.add("Flatten", both, name=name, axis=1)


def piecewise_linear(
    graph: Graph,
    step: Step,
    name: str,
    x: str,
    starts: str,
    slopes: str,
    lowest: str,
    highest: str,
) -> str:
    """Return where each column lies in each of its bins: 0 below, 1 above, linear within."""
    number = columns_of_one(graph, x, name)
    distance = graph.add("Sub", number, graph.parameter(starts), name=f"{name}.distance")
    line = scale(graph, step, f"{name}.line", distance, slopes)
    return clip(graph, step, name, line, lowest, highest)


# ------------------------------------------------------------------------------- after the loss


def clip(graph: Graph, step: Step, name: str, x: str, least: str, largest: str) -> str:
    """Return numbers within bounds of their own."""
    above = graph.add("Max", x, graph.parameter(least), name=f"{name}.not_less")
    return graph.add("Min", above, graph.parameter(largest), name=name)


def mean_of_members(graph: Graph, step: Step, name: str, x: str) -> str:
    """Return the mean of the members' outputs."""
    axes = graph.integers([1], f"{name}.axes")
    return graph.add("ReduceMean", x, axes, name=name, keepdims=0)


def log_of_sum(graph: Graph, name: str, logarithms: str) -> str:
    """Return log(sum over the members of exp(logarithms))."""
    axes = graph.integers([1], f"{name}.axes")
    return graph.add("ReduceLogSumExp", logarithms, axes, name=name, keepdims=0)


def mean_of_softmax(graph: Graph, step: Step, name: str, x: str) -> str:
    """Return logits of the mean of the members' probabilities."""
    each = graph.add("LogSoftmax", x, name=f"{name}.logarithms", axis=2)
    count = graph.number(math.log(step.input_shape[0]), f"{name}.log_members")
    return graph.add("Sub", log_of_sum(graph, f"{name}.sum", each), count, name=name)


def mean_of_sigmoid(graph: Graph, step: Step, name: str, x: str) -> str:
    """Return logits of the mean of the members' probabilities, each of yes or no."""
    opposite = graph.add("Neg", x, name=f"{name}.opposite")
    sums = []
    for which, z in (("yes", opposite), ("no", x)):
        softplus = graph.add("Softplus", z, name=f"{name}.{which}.softplus")
        each = graph.add("Neg", softplus, name=f"{name}.{which}.logarithms")
        sums.append(log_of_sum(graph, f"{name}.{which}", each))
    return graph.add("Sub", *sums, name=name)


FUNCTIONS: dict[str, Function] = ACTIVATIONS | {
    function.__name__: function
    for function in (
        *(add, batch_norm, beside, blend, clip, columns, concatenate, dense, embedding, flatten),
        *(group_matmul, layer_norm, lines, matmul, mean_of_members, mean_of_sigmoid),
        *(mean_of_softmax, one_hot, per_member, piecewise_linear, rescaling, scale, shift),
        *(shifted_waves, standardization, waves),
    )
}
"""By the names of steps, those of activations included."""
