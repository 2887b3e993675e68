"""The forward pass of a `Block` as a formula: a graph, and steps between the graph's parts.

The graph consists of elementwise functions, sums over features and concatenations. Steps are calls
of layers, matrix products and concatenations of arrays that the graph doesn't compute. Each step
sets an array, which is an input of the graph, like x and the parameters.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from gpunn.errors import ArgumentError, suggest
from gpunn.expressions import (
    ARRAY,
    ELEMENTARY,
    REDUCTIONS,
    Expression,
    Node,
    base_of,
    in_order,
    require_separate_rows,
    substituted,
)
from gpunn.expressions.graph import MOST_JOINED, Graph
from gpunn.expressions.namespace import Namespace
from gpunn.expressions.shapes import axis_of, reshaped
from gpunn.expressions.stages import MODERATE, is_moderate
from gpunn.expressions.stand_ins import StandIn, Tracer
from gpunn.expressions.tracing import explained, traces_of
from gpunn.layers.base import Layer
from gpunn.parameters import ParameterSpec
from gpunn.typing import Shape

PARAMETER = "values_"

SLOW = (*ELEMENTARY, "sigmoid", "divide")

BY_RESULT = ("exp", "expm1", "sqrt", "tanh", "tanh_softplus", "sigmoid", "divide")
"""Slow functions with derivatives that read the function's result."""

FEW, SMALL = 8, 1 << 14
"""A small array has at most SMALL numbers, which stay in a core's cache, or 1 / FEW of x's size."""


@dataclass(frozen=True, eq=False)
class Step:
    inputs: tuple[Node, ...]
    output: Node


@dataclass(frozen=True, eq=False)
class Call(Step):
    """A call of a layer. If a formula calls the layer repeatedly, `number` is an index from 0."""

    layer: Layer
    name: str
    number: int | None = None
    is_last: bool = True


@dataclass(frozen=True, eq=False)
class Product(Step):
    transposed: bool


class Concatenation(Step):
    pass


@dataclass(frozen=True, eq=False)
class Formula:
    graph: Graph
    x: Node
    parameters: Mapping[str, Node]
    steps: Sequence[Step]
    result: Node
    plans: dict[Any, Any] = field(default_factory=dict)
    """Backward passes, by the gradients that they compute."""
    expressions: dict[Any, tuple[Expression, list[Node]]] = field(default_factory=dict)
    sums: dict[Node, Node] = field(default_factory=dict)
    """Maps nodes, such as sums of rows, to the arrays that store their elements in both passes."""

    def with_layers(self, layers: Mapping[str, Layer]) -> Formula:
        steps = [
            replace(step, layer=layers[step.name]) if isinstance(step, Call) else step
            for step in self.steps
        ]
        return replace(self, steps=steps)

    def expression(
        self, results: tuple[Node, ...], kept: tuple[Node, ...], keeps: bool
    ) -> tuple[Expression, list[Node]]:
        # The expression reads results that arrays already store (`kept`). With `keeps`, it also
        # sets the arrays of other results to store.
        key = results, kept, keeps
        if key not in self.expressions:
            replaced = {id(node): array for node, array in self.sums.items() if array in kept}
            sums = [each for each in in_order(results if keeps else ()) if self.is_kept(each)]
            nodes = substituted(self.graph, [*results, *sums], replaced)
            roots, arrays = nodes[: len(results)], list[Node]()
            # Later layers may overwrite a result, so what derivatives read is copied.
            is_forward = results[0] in self.results()
            copied = (*REDUCTIONS, *(BY_RESULT if is_forward else ()))
            own = [base_of(each) for each in roots]
            known = [*kept, *(each for each in own if each.op not in copied)]
            needed = in_order(roots)
            for node, each in zip(sums, nodes[len(results) :], strict=True):
                if each in needed and each not in known:
                    roots.append(each)
                    if node not in self.sums:
                        size = MODERATE if is_moderate(node) else "any"
                        name = f"{size} sum_{len(self.sums)}"
                        array = self.graph.node(ARRAY, shape=each.shape, kind="float", data=name)
                        self.sums[node] = array
                    arrays.append(self.sums[node])
            inputs = [each for each in in_order(roots) if each.op == ARRAY]
            self.expressions[key] = Expression(tuple(inputs), tuple(roots)), arrays
        return self.expressions[key]

    def is_kept(self, node: Node) -> bool:
        """Return whether to store a node: a row reduction, or a small result of a slow function."""
        if node.op in REDUCTIONS:
            return node.shape[0] % self.x.shape[0] == 0  # a row may have several groups
        limit = max(SMALL, math.prod(self.x.shape) // FEW)
        return node.op in SLOW and math.prod(node.shape) <= limit

    def calls(self) -> list[Call]:
        return [step for step in self.steps if isinstance(step, Call)]

    def results(self) -> list[Node]:
        return [self.result, *(each for step in self.steps for each in step.inputs)]

    def structure(self) -> list[Any]:
        return Expression((), tuple(self.results())).structure()


def equal(formulas: Sequence[Formula]) -> bool:
    first = formulas[0].structure()
    return all(each.structure() == first for each in formulas[1:])


class Declared(dict[str, StandIn]):
    def __missing__(self, name: str) -> StandIn:
        hint = f"; {suggest(name, self)}" if self else ""
        raise ArgumentError(f"values: own_parameters declares no parameter {name!r}{hint}")


class Transposed:
    def __init__(self, matrix: StandIn) -> None:
        self.matrix = matrix


class FormulaTracer(Tracer):
    def __init__(self, graph: Graph, dtype: np.dtype) -> None:
        super().__init__(graph, dtype)
        self.steps: list[Step] = []
        self.names: Mapping[int, str] = {}
        self.rows = 0

    def call(self, op: str, *operands: Any, kind: str = "float") -> StandIn:
        try:
            return super().call(op, *operands, kind=kind)
        except ValueError:
            raise self._wrong_shapes(op, *map(self.node_of, operands)) from None

    def call_layer(self, layer: Layer, x: StandIn) -> StandIn:
        node, name = self.with_rows(x, "the argument of a layer"), self.names.get(id(layer))
        if name is None:
            self.refuse(
                f"the layer {layer.name!r} is called, but is not an attribute of this layer "
                "object; set it in __post_init__, or pass it as a field"
            )
        with ArgumentError.instead_of(ArgumentError, prefix=f"layer {name!r}: "):
            layer.parameters(node.shape[1:])
            shape = layer.output_shape(node.shape[1:])
        return self._step(name, Call, (node,), (self.rows, *shape), layer, name)

    def matmul(self, a: Any, b: Any) -> StandIn:
        remedy = "; write x @ U @ V instead of x @ (U @ V), and x @ W.T instead of W @ x"
        first = self.with_rows(a, "the first factor of a matrix product", remedy)
        transposed = isinstance(b, Transposed)
        second = self.node_of(b.matrix if isinstance(b, Transposed) else b)
        if len(first.shape) < 2 or len(second.shape) != 2 or reads_rows(second):
            self.refuse(
                "a matrix product must be x @ W with rows x, and parameters W of shape (inputs, "
                "units)"
            )
        inputs, units = second.shape[::-1] if transposed else second.shape
        if first.shape[-1] != inputs:
            raise self._wrong_shapes("matmul", first, second)
        name, shape = f"matmul{transposed:d}", (*first.shape[:-1], units)
        return self._step(name, Product, (first, second), shape, transposed)

    def transposed(self, a: StandIn) -> Any:
        if reads_rows(self.node_of(a)):
            self.refuse("the attribute T of an array with rows is not supported")
        return Transposed(a)

    def concat(self, arrays: Sequence[StandIn], axis: int | None) -> StandIn:
        nodes = [self.node_of(each) for each in arrays]
        is_computed = any(base_of(each).op != ARRAY for each in nodes) and len(nodes) <= MOST_JOINED
        if not is_computed:
            nodes = [self.with_rows(each, "an array in xp.concat") for each in arrays]
        first = nodes[0].shape
        if axis is None or (axis := axis_of(first, axis)) == 0:
            self.refuse("xp.concat along the first axis combines several rows")
        others = {(*each.shape[:axis], *each.shape[axis + 1 :]) for each in nodes}
        if len(others) > 1:
            shapes = ", ".join(str(each.shape[1:]) for each in nodes)
            raise ArgumentError(
                "concat: expected rows whose shapes differ only along the joined axis; got "
                f"{shapes}"
            )
        if is_computed:
            return super().concat(arrays, axis)
        before, length = first[:axis], sum(each.shape[axis] for each in nodes)
        inner = math.prod(first[axis + 1 :])
        flat = [reshaped(self.graph, n, (*before, n.shape[axis] * inner)) for n in nodes]
        result = self._step("concat", Concatenation, flat, (*before, length * inner))
        whole = reshaped(self.graph, result.node, (*before, length, *first[axis + 1 :]))
        return StandIn(self, whole)

    def with_rows(self, value: Any, what: str, remedy: str = "") -> Node:
        node = self.node_of(value)
        if node.kind != "float" or node.shape[:1] != (self.rows,) or not reads_rows(node):
            self.refuse(f"{what} must be an array with numbers for each row{remedy}")
        return node

    def result(self, value: Any) -> Node:
        if not isinstance(value, StandIn):
            self.refuse(f"expected an array as the result; got {type(value).__name__}")
        node = self.with_rows(value, "the result")
        if len(node.shape) < 2:
            raise ArgumentError(
                "forward: expected a result of shape (rows, features); got (rows,). Use "
                "keepdims=True in a sum or maximum"
            )
        return node

    def _wrong_shapes(self, function: str, *nodes: Node) -> ArgumentError:
        # In the message, "rows" stands for the unknown number of rows.
        shapes = [
            f"({', '.join(['rows', *map(str, each.shape[1:])])})"
            if each.shape[:1] == (self.rows,)
            else str(each.shape)
            for each in nodes
        ]
        return ArgumentError(f"{function}: the shapes {' and '.join(shapes)} don't fit")

    def _step(
        self, name: str, kind: Any, nodes: Sequence[Node], shape: Shape, *details: Any
    ) -> StandIn:
        # The outputs of different steps have different names, so that two traces can be compared.
        output = self.input(f"output_{len(self.steps) + 1}_of_{name}", shape)
        self.steps.append(kind(tuple(nodes), output.node, *details))
        return output


def reads_rows(node: Node) -> bool:
    arrays = (each for each in in_order([node]) if each.op == ARRAY)
    return any(not each.data.startswith(PARAMETER) for each in arrays)


def formulas_of(
    function: Callable[[Namespace, StandIn, Mapping[str, StandIn]], Any],
    names: Mapping[int, str],
    specs: Sequence[ParameterSpec],
    shapes: Sequence[Shape],
    dtype: str,
) -> list[Formula]:
    """Trace a forward pass for each shape of x; `names` maps the ids of called layers to names."""

    def trace(shape: Shape, tracer: Tracer) -> Formula:
        assert isinstance(tracer, FormulaTracer)
        tracer.names, tracer.rows = names, shape[0]
        x = tracer.input("x", shape)
        values = {spec.name: tracer.input(PARAMETER + spec.name, spec.shape) for spec in specs}
        own = {name: value.node for name, value in values.items()}
        source = x.node
        with explained(tracer):
            result = tracer.result(function(Namespace(tracer), x, Declared(values)))
            if [x.node, *(each.node for each in values.values())] != [source, *own.values()]:
                tracer.refuse("the code changes x or parameters")
        steps = numbered(used(tracer.steps, result))
        read = [each for step in steps for each in step.inputs if reads_rows(each)]
        require_separate_rows([*read, result], [source, *(step.output for step in steps)])
        return Formula(tracer.graph, source, own, steps, result)

    return traces_of([partial(trace, each) for each in shapes], np.dtype(dtype), FormulaTracer)


def used(steps: Sequence[Step], result: Node) -> list[Step]:
    needed, chosen = {id(each) for each in in_order([result])}, list[Step]()
    for step in reversed(steps):
        if id(step.output) in needed:
            needed |= {id(each) for each in in_order(step.inputs)}
            chosen.insert(0, step)
    return chosen


def numbered(steps: Sequence[Step]) -> list[Step]:
    totals = Counter(step.name for step in steps if isinstance(step, Call))
    counts, result = Counter[str](), list[Step]()
    for step in steps:
        if isinstance(step, Call) and totals[step.name] > 1:
            number = counts[step.name]
            counts[step.name] += 1
            step = replace(step, number=number, is_last=number == totals[step.name] - 1)
        result.append(step)
    return result
