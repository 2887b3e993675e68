"""Forward and backward passes of a `Formula`, by operations of the backend.

Between two steps, one operation `compute` sets the arrays that the next step reads. The backward
pass recomputes functions from x, the parameters and the outputs of steps. Arrays store only sums,
maxima and minima of rows, and slow functions of small arrays, such as the softmax of a gate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

from gpunn.activations import Identity
from gpunn.errors import ArgumentError
from gpunn.expressions import (
    ARRAY,
    Node,
    base_of,
    gradients,
    in_order,
    is_source,
    substituted,
)
from gpunn.expressions.graph import Graph
from gpunn.expressions.shapes import columns_of, reshaped
from gpunn.layers import views
from gpunn.layers.base import Layer
from gpunn.layers.chain import Chain
from gpunn.layers.dense import Dense
from gpunn.layers.formula import SLOW, Call, Concatenation, Formula, Product, Step
from gpunn.layers.passes import run_backward, run_forward
from gpunn.typing import Array
from gpunn.workspace import Workspace


@dataclass(frozen=True, eq=False)
class BackwardStep:
    """Computes the gradients of the step at `position` of the forward pass.

    `gradient` is dL/d(output of the step) as a function of known arrays, or None for 0. `array`
    stores this gradient. `results` are dL/d(inputs), or None for inputs without a gradient. If
    `spare` is true, the layer may overwrite `array`, because no later step reads this array.
    """

    position: int
    gradient: Node | None
    array: Node
    results: tuple[Node | None, ...]
    spare: bool


@dataclass(frozen=True, eq=False)
class Plan:
    """The steps of a backward pass, with the nodes to compute before and after the steps.

    Before each step, one operation computes the nodes in the step's group. A group maps each node
    to the array for its values, or a parameter's gradient to the parameter's name. The pass ends
    with `last`: the nodes of dL/dx and dL/d(parameter) by name, or None for a gradient of 0.
    """

    steps: Sequence[BackwardStep]
    groups: Sequence[Mapping[Node, Node | str]]
    last: Mapping[str, Node | None]


X = "x"


def plan_of(formula: Formula, wanted: Sequence[str]) -> Plan:
    graph, leaves = formula.graph, {X: formula.x, **formula.parameters}
    known = {id(leaves[name]) for name in wanted}
    needed: dict[int, list[bool]] = {}
    for step in formula.steps:
        needs = [any(id(each) in known for each in in_order([node])) for node in step.inputs]
        if any(needs) or (isinstance(step, Call) and step.layer.gradients):
            needed[id(step)] = needs
            known.add(id(step.output))
    varying = [leaves[name] for name in wanted]
    varying += [step.output for step in formula.steps if id(step) in needed]
    ends, seeds = [formula.result], [seed_of(formula)]
    planned: list[BackwardStep] = []
    for position, step in reversed(list(enumerate(formula.steps))):
        if id(step) not in needed:
            continue
        (gradient,) = gradients(graph, ends, seeds, [step.output], varying)
        name = f"gradient_of_{step.output.data}"
        array = gradient
        if array is None or array.op != ARRAY:
            array = graph.node(ARRAY, shape=step.output.shape, kind="float", data=name)
        results: list[Node | None] = []
        for number, (node, wants) in enumerate(zip(step.inputs, needed[id(step)], strict=True)):
            result = None
            if wants and isinstance(step, Concatenation):
                result = columns_before(formula, step, number, array)
            elif wants:
                data = f"gradient_of_input_{number}_of_{step.output.data}"
                result = graph.node(ARRAY, shape=node.shape, kind="float", data=data)
            if result is not None:
                ends.append(node)
                seeds.append(result)
            results.append(result)
        planned.append(BackwardStep(position, gradient, array, tuple(results), spare=False))
    found = gradients(graph, ends, seeds, [leaves[name] for name in wanted], varying)
    last = dict(zip(wanted, found, strict=True))
    early: list[tuple[Node, Node | str]] = [
        (node, name)
        for name, node in last.items()
        if name != X and node is not None and base_of(node).op != ARRAY
    ]
    whole, rest, local = last.get(X), None, list[tuple[Node, Node | str]]()
    if whole is not None:
        (whole,) = substituted(graph, [whole], arrays_of_gradients(planned, formula.steps))
        last[X] = whole
        rest, local = split_terms(graph, whole, unknown_from(planned))
    groups = groups_of(planned, [*early, *local])
    if any(array in group.values() for _, array in local for group in groups):
        last[X] = rest  # if a gradient of a step is computed together with the other terms
    read = arrays_of([each for each in last.values() if each is not None])
    steps: list[BackwardStep] = []
    for each, group in zip(reversed(planned), reversed(groups), strict=True):
        steps.insert(0, replace(each, spare=each.array not in read))
        read += arrays_of([*group, *([] if each.gradient is None else [each.gradient])])
    return Plan(steps, groups, last)


def arrays_of_gradients(steps: Sequence[BackwardStep], forward: Sequence[Step]) -> dict[int, Node]:
    """Map the id of each stored gradient to the array that stores the gradient."""
    stored = dict[int, Node]()
    for each in steps:
        node = each.gradient
        functions = [] if node is None else [one for one in in_order([node]) if is_function(one)]
        if len(functions) > int(overwrites_gradient(forward[each.position])):
            stored[id(node)] = each.array
    return stored


def is_function(node: Node) -> bool:
    return not is_source(node) and base_of(node) is node


def split_terms(
    graph: Graph, node: Node, unknown: set[Node | None]
) -> tuple[Node, list[tuple[Node, Node | str]]]:
    """Split a sum into unknown terms, which read an array in `unknown`, and known terms.

    Return (sum of unknown terms + array, [(sum of known terms, array)]). In both places,
    `array` is a new node for the array that stores the sum of the known terms.
    If no term is unknown, or no known term is slow, return (node, []).
    """
    terms = terms_of(node)
    known = [each for each in terms if unknown.isdisjoint(arrays_of([each]))]
    if len(known) == len(terms) or not any(each.op in SLOW for each in in_order(known)):
        return node, []
    array = graph.node(ARRAY, shape=node.shape, kind="float", data="part of input gradient")
    others = [each for each in terms if each not in known]
    total = partial(graph.call, "add")
    return reduce(total, [*others, array]), [(reduce(total, known), array)]


def terms_of(node: Node) -> list[Node]:
    return [term for each in node.args for term in terms_of(each)] if node.op == "add" else [node]


def unknown_from(steps: Sequence[BackwardStep]) -> set[Node | None]:
    results = {result for each in steps for result in each.results}
    return results | {each.array for each in steps if each.gradient is not each.array}


def groups_of(
    steps: Sequence[BackwardStep], early: Sequence[tuple[Node, Node | str]]
) -> list[dict[Node, Node | str]]:
    """Return, for each step, the group of nodes to compute before the step (see `Plan`).

    The nodes to group are the steps' gradients and the nodes in `early`. A group has all nodes that
    are in no earlier group and read only arrays set before the group. If a step's `array` is
    already set or needs no computation, the step's group is empty.
    """
    left: list[tuple[Node, Node | str]] = [
        (each.gradient, each.array)
        for each in steps
        if each.gradient is not None and each.gradient is not each.array
    ]
    left += early
    groups = list[dict[Node, Node | str]]()
    for k, step in enumerate(steps):
        unknown, group = unknown_from(steps[k:]), dict[Node, Node | str]()
        for node, target in left if any(each is step.array for _, each in left) else ():
            if unknown.isdisjoint(arrays_of([node])):
                group.setdefault(node, target)
        groups.append(group)
        left = [(node, target) for node, target in left if group.get(node) is not target]
    return groups


def seed_of(formula: Formula) -> Node:
    return formula.graph.node(ARRAY, shape=formula.result.shape, kind="float", data="gradient")


def columns_before(formula: Formula, step: Step, number: int, whole: Node) -> Node:
    node, width = step.inputs[number], whole.shape[-1]
    start = sum(each.shape[-1] for each in step.inputs[:number])
    flat = reshaped(formula.graph, whole, (math.prod(whole.shape) // width, width))
    part = columns_of(formula.graph, flat, start, start + node.shape[-1])
    return reshaped(formula.graph, part, node.shape)


def arrays_of(nodes: Sequence[Node]) -> list[Node]:
    return [each for each in in_order(nodes) if each.op == ARRAY]


def overwrites_gradient(step: Step) -> bool:
    layer = layers_of(step.layer)[-1] if isinstance(step, Call) else None
    is_linear = type(layer) is Dense and type(layer.f) is Identity
    return layer is not None and not is_linear


def layers_of(layer: Layer) -> list[Layer]:
    return [each for own in layer for each in layers_of(own)] if type(layer) is Chain else [layer]


class Passes:
    def __init__(self, layer: Layer, formula: Formula, workspace: Workspace) -> None:
        self._layer, self._formula, self._workspace = layer, formula, workspace
        self._ops, self._rows = workspace.backend, formula.x.shape[0]
        self._arrays: dict[Node, Array] = {}
        self._outputs: dict[Call, list[Array]] = {}
        """Maps each call to the layer's input, followed by the outputs of the layers within it."""

    # ---------------------------------------------------------------------------------- arrays

    def _buffer(self, node: Node, name: str) -> Array:
        # Stored arrays of batches with other numbers of rows may have other shapes.
        if node.shape[:1] == (self._rows,):
            shape = node.shape[1:]
            return self._workspace.rows(self._layer, f"{name} {shape}", self._rows, shape)
        name = f"{name} of parameters {node.shape}"
        return self._workspace.fixed(self._layer, name, node.shape)

    def _held(self, node: Node) -> Array | None:
        if node in self._arrays:
            return self._arrays[node]
        if node.op == "reshape" and node.args[0] in self._arrays:
            array = self._arrays[node.args[0]]
            name = f"reshaped {node.args[0].data}"
            return views.reshaped(self._layer, array, node.shape, self._workspace, name)
        return None

    def _get(self, nodes: Sequence[Node], name: str) -> list[Array]:
        outs = {
            each: self._buffer(each, f"{name} {k}")
            for k, each in enumerate(nodes)
            if self._held(each) is None
        }
        self._compute(outs)
        self._arrays.update(outs)
        return [self._arrays.get(each, self._held(each)) for each in nodes]

    def _compute(self, outs: Mapping[Any, Array]) -> None:
        if outs:
            kept = tuple(each for each in self._formula.sums.values() if each in self._arrays)
            keeps = self._workspace.training
            expression, sums = self._formula.expression(tuple(outs), kept, keeps)
            inputs = tuple(self._arrays[each] for each in expression.inputs)
            own = {each: self._buffer(each, str(each.data)) for each in sums}
            self._ops.compute(expression, inputs, (*outs.values(), *own.values()))
            self._arrays |= own

    def _flat(self, array: Array, name: str = "") -> Array:
        shape = math.prod(array.shape[:-1]), array.shape[-1]
        return views.reshaped(self._layer, array, shape, self._workspace, f"matrix {name}")

    # --------------------------------------------------------------------------------- forward

    def forward(self, x: Array) -> Array:
        formula = self._formula
        self._arrays[formula.x] = x
        for name, node in formula.parameters.items():
            self._arrays[node] = self._layer.values[name]
        for step in formula.steps:
            inputs = self._get(step.inputs, f"input of {step.output.data}")
            self._arrays[step.output] = self._output(step, inputs)
        (y,) = self._get([formula.result], "output")
        return y

    def _output(self, step: Step, inputs: Sequence[Array]) -> Array:
        if isinstance(step, Call):
            with self._workspace.call(step.number):
                outputs = run_forward(layers_of(step.layer), inputs[0], self._workspace)
            self._outputs[step], y = outputs, outputs[-1]
            if tuple(y.shape) != step.output.shape:
                raise ArgumentError(
                    f"layer {step.name!r}: expected an output of shape {step.output.shape}; got "
                    f"{tuple(y.shape)}. Layers that change the number of rows, such as Members "
                    "with shuffle_members, can't be within a Block"
                )
            return y
        out = self._buffer(step.output, str(step.output.data))
        flat = self._flat(out)
        if isinstance(step, Product):
            x, W = inputs
            x = self._flat(x, f"input of {step.output.data}")
            self._ops.matmul(x, W, flat, transpose_b=step.transposed)
            return out
        start = 0
        for number, each in enumerate(inputs):
            x = self._flat(each, f"input {number} of {step.output.data}")
            self._ops.copy_columns(x, 0, flat, start, each.shape[-1])
            start += each.shape[-1]
        return out

    # -------------------------------------------------------------------------------- backward

    def backward(self, gradient: Array, wants_input_gradient: bool) -> Array:
        formula, layer = self._formula, self._layer
        names = [name for name in formula.parameters if layer.gradients.get(name) is not None]
        wanted = [X, *names] if wants_input_gradient else names
        trained = tuple(bool(call.layer.gradients) for call in formula.calls())
        key = trained, *wanted
        if key not in formula.plans:
            formula.plans[key] = plan_of(formula, wanted)
        plan: Plan = formula.plans[key]
        targets = {node: name for name, node in plan.last.items() if name != X and node is not None}
        self._arrays[seed_of(formula)] = gradient
        for planned, group in zip(plan.steps, plan.groups, strict=True):
            outs = {node: self._target(target) for node, target in group.items()}
            self._compute(outs)
            for node, target in group.items():
                self._arrays[node if isinstance(target, str) else target] = outs[node]
            step = formula.steps[planned.position]
            array = self._gradient_of(step, planned)
            if isinstance(step, Call):
                self._through_layer(step, planned, array)
            elif isinstance(step, Product):
                self._through_product(step, planned, array, targets)
        return self._finish(plan, gradient)

    def _gradient_of(self, step: Step, planned: BackwardStep) -> Array:
        if planned.gradient is None:
            out = self._arrays[planned.array] = self._target(planned.array)
            self._ops.fill(out, 0.0)
        elif planned.spare or not overwrites_gradient(step):
            out = self._arrays[planned.array]
        else:
            out = self._buffer(planned.array, f"gradient of {step.output.data}")
            self._ops.assign(self._arrays[planned.array], out)
        return out

    def _target(self, target: Node | str) -> Array:
        if isinstance(target, str):
            return self._layer.gradients[target]
        return self._buffer(target, str(target.data))

    def _through_layer(self, call: Call, planned: BackwardStep, gradient: Array) -> None:
        (result,), number = planned.results, call.number
        layers, outputs = layers_of(call.layer), self._outputs[call]
        with self._workspace.call(number):
            dx = run_backward(layers, outputs, gradient, self._workspace, result is not None)
        if result is not None:
            self._arrays[result] = dx
        if number is None:
            return
        for name in call.layer.gradients:
            of_call = call.layer.gradients[name]
            total = self._workspace.fixed(
                self._layer, f"gradient of {call.name}.{name}", of_call.shape
            )
            if call.is_last:  # the first call in the backward pass
                self._ops.assign(of_call, total)
            elif number:
                self._ops.accumulate(of_call, total)
            else:
                self._ops.accumulate(total, of_call)

    def _through_product(
        self, product: Product, planned: BackwardStep, gradient: Array, targets: Mapping[Node, str]
    ) -> None:
        x, W = self._get(product.inputs, "")
        name = str(product.output.data)
        flat, (dx, dW) = self._flat(gradient, f"gradient of {name}"), planned.results
        if dx is not None:
            out = self._arrays[dx] = self._buffer(dx, str(dx.data))
            self._ops.matmul(flat, W, self._flat(out), transpose_b=not product.transposed)
        if dW is not None:
            is_result = dW in targets  # nothing else contributes to the parameter's gradient
            out = self._layer.gradients[targets[dW]] if is_result else self._buffer(dW, dW.data)
            first, second = self._flat(x, f"input of {name}"), flat
            if product.transposed:
                first, second = second, first
            self._ops.matmul(first, second, out, transpose_a=True)
            self._arrays[dW] = out

    def _finish(self, plan: Plan, gradient: Array) -> Array:
        dx, outs, copies = gradient, dict[Node, Array](), list[tuple[Array, Array]]()
        for name, node in plan.last.items():
            known = None if node is None else self._held(node)
            if name == X and known is not None:
                dx = known
                continue
            if name == X:
                out = dx = self._buffer(self._formula.x, "input gradient")
            else:
                out = self._layer.gradients[name]
            if node is None:
                self._ops.fill(out, 0.0)
            elif known is not None or node in outs:
                copies.append((outs[node] if known is None else known, out))
            else:
                outs[node] = out
        self._compute(outs)
        for source, out in copies:
            if source is not out:
                self._ops.assign(source, out)
        return dx
