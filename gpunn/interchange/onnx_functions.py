"""The steps of a network as nodes of an ONNX graph.

By default, a step's NumPy function is called with `Value`s instead of arrays; each operation on a
`Value` adds a node. The tables in this module replace a NumPy function if ONNX has an operator for
the function, or if `Value` does not support the function.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from gpunn import activations, layers
from gpunn.activations import ExactGELU
from gpunn.expressions import NUMBER, in_order
from gpunn.interchange.onnx_expressions import add_expression, operator
from gpunn.interchange.onnx_graph_builder import Graph
from gpunn.interchange.onnx_images import IMAGES, ChannelsLast, channels_first
from gpunn.interchange.predictor import numpy_functions
from gpunn.interchange.steps import SAME, ArrayName, Step, Steps
from gpunn.tables.onnx_nodes import Value, where

Function: TypeAlias = Callable[..., Any]
"""A function that returns a `Value`; its arguments are `Value`s, then arrays and numbers."""


def add_network(graph: Graph, steps: Steps, x: str) -> str:
    variables = {"x": Value(graph, x, graph.dtype)}
    for step in steps.steps:
        graph.label = f"{step.label}.{step.function}"
        inputs = [variables[variable] for variable in step.inputs]
        function, arguments = function_of(step, steps)
        axes = len(step.input_shape)
        is_image = key_of(step) in IMAGES and axes > 1 and graph.dtype == "float32"
        if is_image or (
            elementwise(step) and any(isinstance(each, ChannelsLast) for each in inputs)
        ):
            function = channels_first(function, axes)
        variables[step.output] = function(*inputs, *arguments)
    return variables["x"].name


def elementwise(step: Step) -> bool:
    if step.expression is None:
        return step.function == "exact_gelu"
    # With one channel, the formula of a softmax is elementwise, but its operator is not.
    if step.arguments or isinstance(step.source, layers.Layer):
        return False
    result = step.expression.result
    return all(node.op == NUMBER or node.shape == result.shape for node in in_order([result]))


def key_of(step: Step) -> object:
    return step.function if step.expression is None else type(step.source)


def function_of(step: Step, steps: Steps) -> tuple[Function, Sequence[Any]]:
    key, dtype = key_of(step), steps.dtype
    arguments = [
        steps.arrays[each.name] if isinstance(each, ArrayName) else each for each in step.arguments
    ]
    function = (FUNCTIONS | FLOAT32 if dtype == "float32" else FUNCTIONS).get(key)
    if step.expression is None:
        if key == "dense" and len(step.input_shape) == 1:
            function = product
        return function or getattr(numpy_functions, step.function), arguments
    if function is None:
        return partial(add_expression, step.expression), arguments
    if isinstance(step.source, layers.BatchNorm | layers.LayerNorm):
        return function, [steps.values_of(step.source, step.label), step.source.epsilon]
    return partial(function, step.source), arguments


flatten = operator("Flatten", axis=1)
product = operator("Gemm")
relu = operator("Relu")


def group_matmul(x: Value, W: np.ndarray) -> Any:
    return (x[:, :, None] @ W).squeezed(2)


def embedding(x: Value, sizes: np.ndarray, table: np.ndarray) -> Any:
    codes = where((x >= 0) & (x < sizes), x, 0).astype("int64")
    rows = x.constant(table, x.dtype).take(codes + (np.cumsum(sizes) - sizes), axis=0)
    return flatten(rows)


def elu(z: Any, alpha: float) -> Any:
    """Return ELU as a sum. Runtimes compute the sum faster than the operator Where."""
    return relu(z) + alpha * np.expm1(np.minimum(z, 0))


def exact_gelu(z: Value, root: float) -> Any:
    """Return z * Phi(z) without the operator Erf, which runtimes lack in float64."""
    return ExactGELU().value(np, z)


FUNCTIONS: dict[object, Function] = {
    activations.ELU: lambda f, z: elu(z, f.alpha),
    activations.GELU: lambda f, z: f.value(np, z),  # tanh is faster than a sigmoid in float64
    activations.SELU: lambda f, z: f.scale * elu(z, f.alpha),
    "embedding": embedding,
    "exact_gelu": exact_gelu,
    "flatten": flatten,
    "group_matmul": group_matmul,
    layers.MeanOverMembers: lambda layer, x: x.node("LogSoftmax", x, axis=2),
    SAME: lambda x: x,
}
"""Functions by the name of a step, or by the class of the object whose expression they replace."""

FLOAT32: dict[object, Function] = {
    **IMAGES,
    activations.CELU: lambda f, z: z.node("Celu", z, alpha=f.alpha),
    activations.ELU: lambda f, z: z.node("Elu", z, alpha=f.alpha),
    activations.LeakyReLU: lambda f, z: z.node("LeakyRelu", z, alpha=f.slope),
    activations.SELU: lambda f, z: z.node("Selu", z, alpha=f.alpha, gamma=f.scale),
    layers.LayerNorm: lambda x, values, epsilon: x.node(
        "LayerNormalization", x, values["scale"], values["shift"], axis=-1, epsilon=epsilon
    ),
    "exact_gelu": lambda z, root: 0.5 * z * (1 + operator("Erf")(root * z)),
}
"""ONNX operators that are used only for float32, since runtimes or attributes lack float64."""
