"""Functions of rows as loops over flat vectors, for languages without arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gpunn.expressions import ARRAY, REDUCTIONS, Node, base_of, in_order
from gpunn.expressions.graph import Graph
from gpunn.interchange.expressions.rows import RowFunction
from gpunn.typing import Shape

STEPS = {
    "row_sum": ("add", 0.0),
    "row_maximum": ("maximum", -math.inf),
    "row_minimum": ("minimum", math.inf),
}
"""For each reduction, the function that adds an element, and the initial value."""


@dataclass(frozen=True)
class Loop:
    """A loop over i, from 0 to `size` - 1, that sets the variable `name` to `term`.

    `start` is the variable's value before the loop. A `start` of None means that the term does not
    depend on i; then the variable is set once, without a loop. With several `groups`, an outer
    loop over j sets `name[j]`. The last loop of a function has an empty name, and sets the elements
    of the function's result.
    """

    name: str
    start: float | None
    size: int
    term: Node
    groups: int = 1

    @property
    def element(self) -> str:
        """The index of the loop's current element, as source text."""
        return index_in(self.groups, self.size)


def index_in(groups: int, size: int) -> str:
    return f"j * {size} + i" if groups > 1 else "i"


def loops_of(function: RowFunction, divide: str) -> list[Loop]:
    order = in_order([function.result])
    repeated = {  # ids of nodes whose elements a loop uses several times
        id(each) for node in order for each in node.args if count(each) < count(node)
    }
    loops: list[Loop] = []
    names: dict[int, str] = {}
    reduced: set[int] = set()  # ids of nodes that depend on a reduction
    for node in order:
        name = f"s{len(names) + 1}" if names else "s"
        if node.op in REDUCTIONS:
            (elements,), (op, start) = node.args, STEPS[node.op]
            groups = count(node)
            size = count(elements) // groups
            before = name if groups == 1 else f"{name}[j]"
            after = element_of(elements, index_in(groups, size), names, divide)
            step = Node(op, (text_node(before), after), (), "float")
            loops.append(Loop(name, start, size, step, groups))
        elif not any(id(each) in reduced for each in node.args):
            continue
        elif id(node) in repeated and id(base_of(node)) not in names:
            at = "j" if count(node) > 1 else "0"
            loops.append(Loop(name, None, 1, element_of(node, at, names, divide), count(node)))
        reduced.add(id(node))
        if loops and loops[-1].name == name:
            names[id(node)] = name
    shape = function.result.shape
    groups = 1 if function.is_elementwise else math.prod(shape[:-1])
    size = count(function.result) // groups
    result = element_of(function.result, index_in(groups, size), names, divide)
    return [*loops, Loop("", 0.0, size, result, groups)]


def is_in_place(function: RowFunction) -> bool:
    """Return whether the result may overwrite an argument of the function."""
    # Only the last loop writes the result, after all other loops.
    last = loops_of(function, "/")[-1]
    read = (each.data for each in in_order([last.term]) if each.op == ARRAY)
    elements = {f"{name}[{last.element}]" for name in function.variables}
    others = tuple(f"{name}[" for name in function.variables)
    return all(each in elements or not each.startswith(others) for each in read)


def local_numbers(function: RowFunction) -> int:
    """Return the total length of the local arrays that a function's loops need."""
    return sum(each.groups for each in loops_of(function, "/")[:-1] if each.groups > 1)


def count(node: Node) -> int:
    return math.prod(node.shape)


def text_node(text: str) -> Node:
    return Node(ARRAY, (), (), "float", text)


def element_of(root: Node, at: str, names: Mapping[int, str], divide: str) -> Node:
    order = in_order([root])
    wanted: dict[int, dict[str, None]] = {id(root): {at: None}}  # the indices needed, by node
    for node in reversed(order):
        if id(node) not in names:
            for index in wanted.get(id(node), ()):
                for each in node.args:
                    wanted.setdefault(id(each), {})[index_of(node, each, index, divide)] = None
    graph = Graph(exact=True)
    made: dict[tuple[int, str], Node] = {}

    def element(node: Node, index: str) -> Node:
        if id(node) in names or node.op == ARRAY:
            text = names.get(id(node), node.data)
            if id(node) not in names or count(node) > 1:
                text = f"{text}[{index}]"
            return graph.node(ARRAY, shape=(), kind=node.kind, data=text)
        args = [made[id(each), index_of(node, each, index, divide)] for each in node.args]
        if node.op in ("broadcast", "columns", "reshape"):
            return args[0]
        if node.op == "placed":
            inside = is_inside(graph, node, index)
            return graph.node("where", inside, args[0], graph.number(0), shape=(), kind=node.kind)
        return graph.node(node.op, *args, shape=(), kind=node.kind, data=node.data)

    for node in order:
        for index in wanted.get(id(node), ()):
            made[id(node), index] = element(node, index)
    return made[id(root), at]


def index_of(node: Node, argument: Node, index: str, divide: str) -> str:
    if node.op == "reshape" or count(argument) == count(node):
        return index
    if node.op == "placed":  # outside of the argument's columns, any valid index
        width, columns = node.shape[-1], argument.shape[-1]
        column, shift = column_of(node, index), -node.data % columns
        column = f"({column} + {shift}) % {columns}" if shift else f"{column} % {columns}"
        index = index if index.isalnum() else f"({index})"
        return (
            column if count(node) == width else f"{index} {divide} {width} * {columns} + {column}"
        )
    start, part = (node.data[0], node.shape[-1]) if node.op == "columns" else (0, 0)
    if part and part == count(node):  # there is one row
        return f"{index} + {start}" if start else index
    index = index if index.isalnum() else f"({index})"
    if part:
        return f"{index} {divide} {part} * {argument.shape[-1]} + {index} % {part} + {start}"
    return broadcast_index(index, node.shape, argument.shape, divide)


def column_of(node: Node, index: str) -> str:
    index = index if index.isalnum() else f"({index})"
    return index if count(node) == node.shape[-1] else f"{index} % {node.shape[-1]}"


def is_inside(graph: Graph, node: Node, index: str) -> Node:
    start, column = node.data, text_node(column_of(node, index))
    first, end = graph.number(start), graph.number(start + node.args[0].shape[-1])
    after = graph.node("at_least", column, first, shape=(), kind="bool")
    before = graph.node("greater", end, column, shape=(), kind="bool")
    return graph.node("and", after, before, shape=(), kind="bool")


def broadcast_index(index: str, shape: Shape, smaller: Shape, divide: str) -> str:
    sizes = [*[1] * (len(shape) - len(smaller)), *smaller[-len(shape) :]]
    terms: list[str] = []
    inner = inner_smaller = 1
    axis = len(shape)
    while axis:
        run = 1  # of adjacent axes that are not repeated
        while axis and sizes[axis - 1] == shape[axis - 1]:
            axis -= 1
            run *= shape[axis]
        if run > 1:
            term = f"{index} {divide} {inner}" if inner > 1 else index
            rest = f" % {run}" if inner * run < math.prod(shape) else ""
            if index == f"({index_in(2, shape[-1])})":
                if inner == shape[-1]:
                    term = "j"
                elif inner == 1 and run == shape[-1]:
                    term, rest = "i", ""
            term += rest
            terms.insert(0, f"{term} * {inner_smaller}" if inner_smaller > 1 else term)
        inner, inner_smaller = inner * run, inner_smaller * run
        if axis:
            axis -= 1
            inner *= shape[axis]
    return " + ".join(terms) or "0"
