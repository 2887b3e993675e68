"""A network as a list of simple function calls (steps) on rows, for ONNX and source code."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np

from gpunn import activations, layers
from gpunn.configurable import is_built_in
from gpunn.errors import ExportError
from gpunn.expressions import ARRAY, Expression, Node, Untraceable, expression_of, in_order
from gpunn.interchange import formulas
from gpunn.interchange.expressions.names import legal_name
from gpunn.interchange.expressions.rows import ROWS, RowFunction, row_function
from gpunn.interchange.formulas import Formula
from gpunn.layers.formula import Call, Product
from gpunn.layers.outputs import elementwise
from gpunn.network import Sequential, check_network
from gpunn.typing import Shape

Sizes: TypeAlias = tuple[tuple[int, ...], ...]
"""The sizes of image, output and window; strides, padding before the image, and dilation."""

SAME = "same"
"""The function of steps that only copy their input variable."""


@dataclass(frozen=True)
class ArrayName:
    name: str


Argument: TypeAlias = ArrayName | float | int | Sizes


@dataclass(frozen=True)
class Step:
    """A call output = function(*inputs, *arguments), which computes a part of the layer `label`.

    `function` is the name of a function that each export format defines. Inputs are variables that
    have rows; arguments are numbers, sizes, and names of arrays. `input_shape` is the shape of a
    row of the first input.

    If the step has an `expression`, exports print the function's code from the expression.
    `source` is the expression's activation or layer, for which some formats have an operator.
    """

    label: str
    function: str
    inputs: tuple[str, ...]
    arguments: tuple[Argument, ...]
    output: str
    input_shape: Shape
    output_shape: Shape
    expression: RowFunction | None = None
    source: object = None

    @property
    def kind(self) -> Kind:
        if self.expression is not None:
            return Kind() if self.expression.is_elementwise else Kind(lambda _step: ())
        return KINDS.get(self.function, Kind())


Counts: TypeAlias = Callable[[Step], Sequence[int]]


@dataclass(frozen=True)
class Kind:
    """How generated source code calls one function.

    By default, a step is elementwise: the C function gets the number of elements, and may overwrite
    the input. For other steps, `c_sizes` returns the sizes that the C function gets. `arrays` is
    how pure Python stores arrays with several axes: "flat", "nested", or "transposed". With
    "transposed", the first array has one list for each unit, and other arrays are flat. If
    `needs_members`, the function in pure Python gets the number of members that each row has.
    """

    c_sizes: Counts | None = None
    arrays: str = "flat"
    needs_members: bool = False


def dimensions(step: Step) -> tuple[int, ...]:
    columns, numbers = step.input_shape[0], step.output_shape[0]
    return columns, numbers // columns


def products(step: Step) -> tuple[int, ...]:
    return math.prod(step.input_shape[:-1]), step.input_shape[-1], step.output_shape[-1]


def channels(step: Step) -> tuple[int, ...]:
    return step.input_shape[-1:]


of_input, of_output = attrgetter("input_shape"), attrgetter("output_shape")

KINDS: dict[str, Kind] = {
    "average_pool": Kind(channels),
    "concatenate": Kind(needs_members=True),
    "convolution": Kind(
        lambda step: (step.input_shape[-1], step.output_shape[-1]), arrays="transposed"
    ),
    "dense": Kind(products, arrays="transposed"),
    "embedding": Kind(dimensions, arrays="nested"),
    "group_matmul": Kind(products, arrays="transposed"),
    "log_of_mean": Kind(of_input, needs_members=True),
    "matmul": Kind(products, arrays="transposed"),
    "max_pool": Kind(channels),
    "mean_of_members": Kind(of_input, needs_members=True),
    "one_hot": Kind(of_output, arrays="nested"),
}


@dataclass
class Steps:
    """A network's arrays and steps. Steps read and set variables; "x" is the network's input."""

    dtype: str
    parameters: dict[str, np.ndarray]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    label: str = ""
    _count: int = 0

    def add(
        self,
        function: str,
        x: str | Sequence[str],
        *arguments: Argument,
        shape: Shape | None = None,
        to: str | None = None,
    ) -> str:
        inputs = (x,) if isinstance(x, str) else tuple(x)
        input_shape, output = self.shapes[inputs[0]], to or inputs[0]
        shape = input_shape if shape is None else shape
        self.steps.append(Step(self.label, function, inputs, arguments, output, input_shape, shape))
        self.shapes[output] = shape
        return output

    def compute(
        self,
        name: str,
        expression: Expression,
        inputs: Sequence[str | ArrayName],
        *,
        summary: str,
        to: str | None = None,
        source: object = None,
    ) -> str:
        # In the expression, variables have `ROWS` rows. Exports name the function after `name`;
        # `summary` becomes its comment.
        values = [
            self.arrays[each.name] if isinstance(each, ArrayName) else None for each in inputs
        ]
        comment = re.sub(r'["\\]|\*/|\s+', " ", summary)  # without characters that end a comment
        function, variables, arrays = row_function(expression, values, comment)
        name = legal_name(name)
        arguments: list[Any] = [
            inputs[each]
            if isinstance(each, int)
            else self.array(f"{name}.a{len(self.arrays)}", each)
            for each in arrays
        ]
        used = [str(inputs[k]) for k in variables]
        if function.result.op == ARRAY:
            return used[0] if to in (None, used[0]) else self.add(SAME, used[0], to=to)
        output = self.add(name, used, *arguments, shape=function.result.shape, to=to)
        self.steps[-1] = replace(self.steps[-1], expression=function, source=source)
        return output

    def formula(
        self,
        formula: Formula,
        *inputs: str | ArrayName,
        settings: Mapping[str, Any] | None = None,
        to: str | None = None,
        source: object = None,
    ) -> str:
        shapes = [
            self.arrays[each.name].shape
            if isinstance(each, ArrayName)
            else (ROWS, *self.shapes[each])
            for each in inputs
        ]
        named = {f"input {k}": (shape, "float") for k, shape in enumerate(shapes)}
        expression = expression_of(partial(formula, **(settings or {})), named, self.dtype)
        name, summary = formula.__name__, str(formula.__doc__)
        return self.compute(name, expression, inputs, summary=summary, to=to, source=source)

    def variable(self, name: str) -> str:
        self._count += 1
        return f"{name}_{self._count}"

    def values(self, name: str) -> np.ndarray:
        return self.parameters[f"{self.label}.{name}"]

    def values_of(self, layer: layers.Layer, label: str) -> dict[str, np.ndarray]:
        return {name: self.parameters[f"{label}.{name}"] for name in layer.values}

    def parameter(self, name: str) -> ArrayName:
        return self.array(name, self.values(name))

    def array(self, name: str, values: Any, dtype: str = "") -> ArrayName:
        name = f"{self.label}.{name}"
        self.arrays[name] = np.array(values, dtype or self.dtype)
        return ArrayName(name)


Converter: TypeAlias = Callable[[Steps, Any, str], str]
"""Adds a layer's steps: a function of the steps, the layer, and x's variable; returns y's."""


def steps_of(model: Sequential) -> Steps:
    check_network(model)
    steps = Steps(model.dtype, model.parameters.to_host())
    y = "x"
    steps.shapes[y] = model.input_shape
    for label, layer in zip(model.labels, model.layers, strict=True):
        y = convert(steps, layer, label, y)
    used = {str(each) for step in steps.steps for each in step.arguments}
    steps.arrays = {name: it for name, it in steps.arrays.items() if str(ArrayName(name)) in used}
    return steps


def convert(steps: Steps, layer: layers.Layer, label: str, x: str) -> str:
    converter = LAYERS.get(layers.Block if isinstance(layer, layers.Block) else type(layer))
    if converter is None:
        raise ExportError(
            f"layer {label!r}: can't export the custom layer {type(layer).__name__}; write it as "
            "a gpunn.layers.Block, or use built-in layers"
        )
    outer, steps.label = steps.label, label
    y = converter(steps, layer, x)
    steps.label = outer
    return y


def activate(steps: Steps, f: activations.Activation, z: str, to: str | None = None) -> str:
    if type(f) is activations.Identity and to is None:
        return z
    if type(f) is activations.ExactGELU:
        return steps.add(f.name, z, f.root, to=to)
    cls = type(f).__name__
    summary = f"Return the activation {cls} of z."
    if is_built_in(type(f)):
        summary = (type(f).__doc__ or summary).partition("\n")[0]
        summary = summary if len(summary) < 90 else f"{summary.partition(':')[0]}."
    try:
        expression, other = (
            expression_of(f.value, {"z": ((rows, *steps.shapes[z]), "float")}, steps.dtype)
            for rows in (ROWS, ROWS + 1)
        )
        to = steps.compute(f.name or cls, expression, [z], summary=summary, to=to, source=f)
        if expression.structure() != other.structure():
            raise Untraceable("the code's results depend on the number of rows")
        return to
    except Untraceable as error:
        raise ExportError(
            f"layer {steps.label!r}: can't export the activation {cls}, because its code can't be "
            f"traced: {error}"
        ) from error


def chain(steps: Steps, layer: layers.Chain, x: str) -> str:
    for name, child in layer.children().items():
        x = convert(steps, child, f"{steps.label}.{name}", x)
    return x


def block(steps: Steps, layer: layers.Block, x: str) -> str:
    formula = layer.traced(steps.shapes[x], ROWS, steps.dtype)
    variables: dict[Node, str | ArrayName] = {formula.x: x}
    variables |= {node: steps.parameter(name) for name, node in formula.parameters.items()}
    name = layer.name or type(layer).__name__

    def computed(node: Node, to: str) -> str:
        inputs = tuple(each for each in in_order([node]) if each.op == ARRAY)
        expression = Expression(inputs, (node,))
        part = "a part" if formula.steps else "the outputs"
        summary = f"Return {part} of the layer {type(layer).__name__}."
        given = [variables[each] for each in inputs]
        return steps.compute(name, expression, given, summary=summary, to=to)

    def matrix(node: Node, transposed: bool) -> ArrayName:
        inputs = tuple(formula.parameters.values())
        values = [steps.values(each).astype(float) for each in formula.parameters]
        (value,) = Expression(inputs, (node,))(np, *values)
        return steps.array(f"{name}.a{len(steps.arrays)}", value.T if transposed else value)

    try:
        for step in formula.steps:
            to = steps.variable("branch")
            if isinstance(step, Product):
                first = computed(step.inputs[0], to)
                array = matrix(step.inputs[1], step.transposed)
                y = steps.add("matmul", first, array, shape=step.output.shape[1:])
            elif isinstance(step, Call):
                label = f"{steps.label}.{step.name}"
                y = convert(steps, step.layer, label, computed(step.inputs[0], to))
            else:
                parts = [computed(each, steps.variable("part")) for each in step.inputs]
                shape = step.output.shape[1:]
                y = steps.add("concatenate", parts, shape=shape, to=to)
            variables[step.output] = y
        return computed(formula.result, x)
    except Untraceable as error:
        raise ExportError(f"layer {steps.label!r}: can't export {name!r}: {error}") from error


def dense(steps: Steps, layer: layers.Dense, x: str) -> str:
    W = steps.values("weights")
    arrays = [steps.array("weights", W * W.dtype.type(layer.weight_factor(len(W))))]
    if layer.bias:
        arrays.append(steps.parameter("biases"))
    x = steps.add("dense" if layer.bias else "matmul", x, *arrays, shape=(layer.units,))
    return activate(steps, layer.f, x)


def unchanged(steps: Steps, layer: layers.Layer, x: str) -> str:
    """Return the variable x itself, because dropout changes nothing in inference."""
    return x


def flatten(steps: Steps, layer: layers.Layer | None, x: str) -> str:
    shape = steps.shapes[x]
    return x if len(shape) == 1 else steps.add("flatten", x, shape=(math.prod(shape),))


def window_of(layer: Any, shape: Shape) -> Sizes:
    axes = len(shape) - 1
    window, outputs = layer._window(shape)
    pairs = outputs, window.kernel, window.strides, window.padding, window.dilation
    return (shape[:axes], *(pair[-axes:] for pair in pairs))


def convolution(steps: Steps, layer: layers.Conv1D | layers.Conv2D, x: str) -> str:
    shape = steps.shapes[x]
    b = steps.parameter("biases") if layer.bias else steps.array("biases", [0] * layer.filters)
    arguments = steps.parameter("weights"), b, window_of(layer, shape), layer.groups
    y = steps.add("convolution", x, *arguments, shape=layer.output_shape(shape))
    return activate(steps, layer.f, y)


def pooling(steps: Steps, layer: Any, x: str) -> str:
    shape, window = steps.shapes[x], window_of(layer, steps.shapes[x])
    y = steps.add(layer.operation, x, window, shape=(*window[1], shape[-1]))
    return y if len(layer.output_shape(shape)) > 1 else flatten(steps, layer, y)


def image_sizes(sizes: Sizes) -> Sizes:
    """Convert sizes of a signal to sizes of an image of height 1; keep the sizes of an image."""
    signal = (1, 1, 1, 1, 0, 1)
    return tuple((one, *each)[-2:] for one, each in zip(signal, sizes, strict=False))


def parametric_activation(steps: Steps, layer: layers.ParametricActivation, x: str) -> str:
    """Add steps for x + alpha * (f(x) - x)."""
    value = activate(steps, layer.f, x, to=steps.variable("activated"))
    return steps.formula(formulas.blend, x, value, steps.parameter("alpha"))


def outputs_of_groups(steps: Steps, layer: layers.ColumnGroups, x: str) -> list[str]:
    outputs = []
    for group in layer.parts:
        to = steps.variable("group")
        y = steps.add("columns", x, group.start, group.stop, shape=(group.width,), to=to)
        if group.chain is not None:
            y = convert(steps, group.chain, f"{steps.label}.{group.label}", y)
            y = flatten(steps, None, y)
        outputs.append(y)
    return outputs


def column_groups(steps: Steps, layer: layers.ColumnGroups, x: str) -> str:
    outputs = outputs_of_groups(steps, layer, x)
    width = sum(steps.shapes[y][0] for y in outputs)
    return steps.add("concatenate", outputs, shape=(width,), to=x)


def ensemble(steps: Steps, layer: layers.Ensemble, x: str) -> str:
    networks = outputs_of_groups(steps, layer, x)
    outputs = [networks[index] for index in layer.repeated()]
    shape = (len(outputs), *steps.shapes[outputs[0]])
    return mean(steps, layer.of, steps.add("stack", outputs, shape=shape, to=x))


def group_dense(steps: Steps, x: str, W: ArrayName, b: ArrayName, shape: Shape) -> str:
    return steps.formula(formulas.shift, steps.add("group_matmul", x, W, shape=shape), b)


def member_dense(steps: Steps, layer: layers.MemberDense, x: str) -> str:
    """Add steps for f(s * ((r * x) @ W) + b) of each member; the layer may lack r or s."""
    names = layer.values
    W, b = steps.parameter("weights"), steps.parameter("biases")
    shape = (steps.shapes[x][0], layer.units)
    if "input_adapter" in names:
        x = steps.formula(formulas.scale, x, steps.parameter("input_adapter"))
    if layer.separate:
        x = group_dense(steps, x, W, b, shape)
    elif "output_adapter" in names:
        x = steps.add("matmul", x, W, shape=shape)
        x = steps.formula(formulas.scale, x, steps.parameter("output_adapter"))
        x = steps.formula(formulas.shift, x, b)
    else:
        x = steps.add("dense", x, W, b, shape=shape)
    return activate(steps, layer.f, x)


def one_hot(steps: Steps, layer: layers.OneHot, x: str) -> str:
    columns, codes, second_codes = [], [], []
    for column, size in enumerate(layer.sizes):
        shared = layer.binary_as_sign and size == 3
        own_codes = range(1, 2 if shared else size)
        columns += [column for _ in own_codes]
        codes += list(own_codes)
        second_codes += [2 if shared else code for code in own_codes]
    return steps.add(
        "one_hot",
        x,
        steps.array("columns", columns, "int32"),
        steps.array("codes", codes, "int32"),
        steps.array("second_codes", second_codes, "int32"),
        steps.parameter("levels"),
        shape=(layer.outputs,),
    )


def embedding(steps: Steps, layer: layers.Embedding, x: str) -> str:
    sizes = steps.array("sizes", layer.sizes, "int32")
    table = steps.parameter("table")
    return steps.add("embedding", x, sizes, table, shape=(len(layer.sizes) * layer.dimension,))


def periodic_embedding(steps: Steps, layer: layers.PeriodicEmbedding, x: str) -> str:
    (columns,) = steps.shapes[x]
    frequencies = steps.values("frequencies")
    turns = steps.array("turns", 2 * math.pi * frequencies)
    W, b = steps.parameter("weights"), steps.parameter("biases")
    to = steps.variable("waves")
    if layer.kind == "pbld":
        z = steps.formula(formulas.cosines, x, turns, steps.parameter("phases"), to=to)
    else:
        waves = [
            steps.formula(each, x, turns, to=steps.variable(each.__name__))
            for each in (formulas.cosines, formulas.sines)
        ]
        z = steps.add("concatenate", waves, shape=(columns, 2 * layer.frequencies), to=to)
    shape = (columns, layer.size)
    z = (
        steps.add("dense", z, W, b, shape=shape)
        if layer.lite
        else group_dense(steps, z, W, b, shape)
    )
    if layer.kind == "pbld":
        parts = z, steps.formula(formulas.as_columns, x, to=steps.variable("column"))
        z = steps.add("concatenate", parts, shape=(columns, layer.size + 1))
    if layer.kind == "plr":
        z = activate(steps, activations.ReLU(), z)
    return steps.add("flatten", z, shape=(math.prod(steps.shapes[z]),), to=x)


def piecewise_linear_embedding(steps: Steps, layer: layers.PiecewiseLinearEmbedding, x: str) -> str:
    lines = [steps.parameter(name) for name in ("starts", "slopes", "lowest", "highest")]
    W, b = steps.parameter("weights"), steps.parameter("biases")
    columns, size = len(layer.edges), layer.size
    to, shape = steps.variable("bins"), (columns, size)
    z = steps.formula(formulas.piecewise_linear, x, *lines, to=to)
    if layer.version == "A":
        z = group_dense(steps, z, W, b, shape)
        z = activate(steps, layer.f, z)
    else:
        z = steps.add("group_matmul", z, W, shape=shape)
        z = activate(steps, layer.f, z)
        z = steps.formula(formulas.add_lines, x, z, steps.parameter("linear_weights"), b, to=z)
    return steps.add("flatten", z, shape=(columns * size,), to=x)


def target_scaling(steps: Steps, layer: layers.TargetScaling, x: str) -> str:
    names = ["mean", "deviation", *(["least", "largest"] if layer.clip else [])]
    x = steps.formula(formulas.target_scaling, x, *map(steps.parameter, names))
    if layer.log:
        exponential = elementwise("exp", (ROWS, *steps.shapes[x]), steps.dtype)
        summary = "Return the exponential of z."
        x = steps.compute("exponential", exponential, [x], summary=summary)
    return x


def mean(steps: Steps, of: str, x: str) -> str:
    shape = steps.shapes[x][1:]
    if of == "identity":
        return steps.add("mean_of_members", x, shape=shape)
    if of == "softmax":
        source = layers.MeanOverMembers(of)
        return steps.add(
            "log_of_mean", steps.formula(formulas.log_softmax, x, source=source), shape=shape
        )
    yes, no = (
        steps.formula(formulas.log_sigmoid, x, settings={"sign": sign}, to=steps.variable("log"))
        for sign in (1, -1)
    )
    logarithms = (steps.add("log_of_mean", each, shape=shape) for each in (yes, no))
    return steps.formula(formulas.difference, *logarithms, to=x)


def plain(formula: Formula, *arrays: str, settings: Sequence[str] = ()) -> Converter:
    def converter(steps: Steps, layer: layers.Layer, x: str) -> str:
        values = {name: getattr(layer, name) for name in settings}
        given = map(steps.parameter, arrays)
        return steps.formula(formula, x, *given, settings=values, source=layer)

    return converter


LAYERS: dict[type[layers.Layer], Converter] = {
    layers.Activation: lambda steps, layer, x: activate(steps, layer.f, x),
    layers.AveragePool1D: pooling,
    layers.AveragePool2D: pooling,
    layers.Block: block,
    layers.BatchNorm: plain(
        formulas.batch_norm,
        *("running_mean", "running_variance", "scale", "shift"),
        settings=["epsilon"],
    ),
    layers.Chain: chain,
    layers.ColumnGroups: column_groups,
    layers.Conv1D: convolution,
    layers.Conv2D: convolution,
    layers.Dense: dense,
    layers.Dropout: unchanged,
    layers.Embedding: embedding,
    layers.Ensemble: ensemble,
    layers.Flatten: flatten,
    layers.GlobalAveragePool1D: pooling,
    layers.GlobalAveragePool2D: pooling,
    layers.LayerNorm: plain(formulas.layer_norm, "scale", "shift", settings=["epsilon"]),
    layers.MaxPool1D: pooling,
    layers.MaxPool2D: pooling,
    layers.MeanOverMembers: lambda steps, layer, x: mean(steps, layer.of, x),
    layers.MemberDense: member_dense,
    layers.Members: plain(formulas.scale, "factors"),
    layers.OneHot: one_hot,
    layers.ParametricActivation: parametric_activation,
    layers.PeriodicEmbedding: periodic_embedding,
    layers.PiecewiseLinearEmbedding: piecewise_linear_embedding,
    layers.Rescaling: plain(formulas.rescaling, settings=["scale", "offset"]),
    layers.Scale: plain(formulas.scale, "factors"),
    layers.SpatialDropout: unchanged,
    layers.Standardization: plain(formulas.standardization, "mean", "deviation"),
    layers.TargetScaling: target_scaling,
    layers.UpSampling2D: plain(formulas.upsample, settings=["size"]),
}
"""Converters by exact class; except for `Block`, a subclass may compute something else."""
