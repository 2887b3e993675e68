"""Print activations and optimizers as CUDA C++, for existing kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpunn.activations import Activation
from gpunn.backends.cupy.expressions.kept import kept, numbers_of
from gpunn.backends.cupy.expressions.printer import C_NAMES, Printer, identifier
from gpunn.backends.cupy.kernels.activations import Formula, Function
from gpunn.backends.cupy.kernels.optimizers import Rule
from gpunn.backends.recording import Arguments
from gpunn.backends.tracing import Write, trace_operation
from gpunn.expressions import ARRAY, NUMBER, Node, Untraceable, in_order
from gpunn.optimizers import Optimizer
from gpunn.typing import Shape

SIZES = (4, 5)
"""An optimizer is traced with vectors of these two sizes, which must give the same rule."""


class Variable(NamedTuple):
    name: str
    node: Node
    text: str

    @property
    def declaration(self) -> str:
        return f"const {C_NAMES[self.node.kind]} {self.name} = {self.text};"


def traced_function(f: Activation, shape: Shape, dtype: np.dtype) -> Function:
    def definition(
        backend: Any, f: Activation, z: Any, a: Any, value: Any, derivative: Any
    ) -> None:
        value[...] = f.value(backend.xp, z)
        derivative[...] = f.derivative(backend.xp, z, a)

    z, a, value, derivative = (np.empty([max(n, 1) for n in shape], dtype) for _ in range(4))
    given = Arguments(f=f, z=z, a=a, value=value, derivative=derivative)
    results = results_of(trace_operation(definition, given, dtype), {"a": value, "d": derivative})
    printer, texts = Printer(), list[str]()
    for result, node in results.items():
        variables, names = printed(printer, [node], {id(z): "z", id(a): "a"}, z.size)
        statements = [each.declaration for each in variables]
        texts.append("\n".join([*statements, f"{result} = {names[id(node)]};"]))
    formula = Formula(texts[0], texts[1], printer.constants)
    return Function(identifier(f), formula, tuple(printer.numbers))


def traced_rule(optimizer: Optimizer, dtype: np.dtype) -> tuple[Rule, tuple[float, ...]]:
    def make() -> tuple[Rule, tuple[float, ...]]:
        rule, other = (rule_of_vectors(optimizer, dtype, size) for size in SIZES)
        if rule != other:
            raise Untraceable("the update depends on the number of parameters")
        return rule

    numbers = numbers_of(optimizer)
    return kept(optimizer, numbers and (numbers, dtype), make)


def rule_of_vectors(
    optimizer: Optimizer, dtype: np.dtype, size: int
) -> tuple[Rule, tuple[float, ...]]:
    def definition(
        backend: Any, optimizer: Optimizer, values: Any, g: Any, slots: Any, rate: Any, t: Any
    ) -> None:
        optimizer.update(backend.xp, values, g, slots, rate, t)

    values, g, *states = (np.empty(size, dtype) for _ in range(2 + len(optimizer.slots)))
    slots = dict(zip(optimizer.slots, states, strict=True))
    rate, t = np.empty(1, dtype), np.empty(1, np.int64)
    given = Arguments(optimizer=optimizer, values=values, g=g, slots=slots, rate=rate, t=t)
    changed = {"value": values} | {f"s{n}": state for n, state in enumerate(states)}
    results = results_of(trace_operation(definition, given, dtype), changed)
    arrays = {id(each): name for name, each in changed.items()}
    arrays |= {id(g): "g", id(rate): "rate", id(t): "number"}
    printer = Printer()
    variables, names = printed(printer, list(results.values()), arrays, size)
    once = [each for each in variables if math.prod(each.node.shape) == 1]
    statements = [each.declaration for each in variables if each not in once]
    statements += [f"{result} = {names[id(node)]};" for result, node in results.items()]
    rule = Rule(
        identifier(optimizer),
        printer.constants,
        tuple(changed)[1:],
        "\n".join(statements),
        tuple((each.name, each.text) for each in once),
    )
    return rule, tuple(printer.numbers)


def results_of(writes: Sequence[Write], results: Mapping[str, np.ndarray]) -> dict[str, Node]:
    names = {id(array): name for name, array in results.items()}
    if any(id(array) not in names for array, _ in writes):
        raise Untraceable("the code changes an array that it should only read")
    return {names[id(array)]: node for array, node in writes}


def printed(
    printer: Printer, roots: Sequence[Node], arrays: Mapping[int, str], size: int
) -> tuple[list[Variable], dict[int, str]]:
    # `arrays` maps an array's id to the variable with an element of the array. Each node must have
    # `size` elements, or one element.
    variables, names = list[Variable](), dict[int, str]()
    for node in in_order(roots):
        given = [names[id(each)] for each in node.args]
        if node.op == NUMBER:
            names[id(node)] = printer.number(node.data)
        elif node.op == ARRAY:
            if id(node.data) not in arrays:
                raise Untraceable("the code uses an attribute that is an array")
            names[id(node)] = arrays[id(node.data)]
        elif node.op == "reshape":
            names[id(node)] = given[0]
        elif math.prod(node.shape) not in (1, size):
            raise Untraceable("the code is not elementwise")
        else:
            variables.append(Variable(printer.name(), node, printer.text(node, given)))
            names[id(node)] = variables[-1].name
    return variables, names
