"""Functions of rows: graphs that compute with one row, so their shapes lack the axis of rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpunn.expressions import ARRAY, NUMBER, REDUCTIONS, Expression, Node, Untraceable, in_order
from gpunn.expressions.evaluation import Plan
from gpunn.expressions.graph import Graph
from gpunn.typing import Shape

ROWS = 1009

LOGICAL = {"multiply": "and", "maximum": "or", "subtract": "not"}
"""Names of a graph's functions if their arguments are Booleans; 1 - a becomes `not a`."""


@dataclass(frozen=True)
class RowFunction:
    """A function of one row: variables have a value for each row, and all rows share the arrays.

    `result` is the last node of a graph whose shapes lack the axis of rows. Nodes with the
    operation `ARRAY` are inputs: variables (x, x2, ...) or shared arrays (a, a2, ...). Operations
    on Booleans are "and", "or" and "not"; "as_number" converts a Boolean, and "broadcast" repeats
    elements. A reduction removes the last axes of its operand. `summary` becomes a comment.
    """

    summary: str
    variables: tuple[str, ...]
    arrays: tuple[str, ...]
    result: Node

    @property
    def is_elementwise(self) -> bool:
        count = math.prod(self.result.shape)
        return all(
            node.op not in REDUCTIONS
            and (
                node.op == NUMBER
                or math.prod(node.shape) == count
                or (node.data in self.arrays and math.prod(node.shape) == 1)
            )
            for node in in_order([self.result])
        )


def row_function(
    expression: Expression, values: Sequence[np.ndarray | None], summary: str
) -> tuple[RowFunction, list[int], list[int | np.ndarray]]:
    # `values` has the value of each input, or None if the input is a variable. The returned
    # variables are indices of inputs. Each returned array is the index of an input, or a new array
    # that all rows share.
    rows = Rows(expression, values)
    (root,) = expression.results
    if id(root) not in rows.made:
        raise Untraceable("the result is the same for every row")
    names = tuple(map(name_of_variable, range(len(rows.variables))))
    arrays = tuple(map(name_of_array, range(len(rows.arrays))))
    function = RowFunction(summary, names, arrays, rows.made[id(root)])
    return function, rows.variables, rows.arrays


def name_of_variable(number: int) -> str:
    return f"x{number + 1}" if number else "x"


def name_of_array(number: int) -> str:
    return f"a{number + 1}" if number else "a"


def shape_of_row(shape: Shape) -> Shape:
    # An axis of several parts of each row, such as members of an ensemble, is kept.
    parts, rest = divmod(shape[0] if shape else 1, ROWS)
    if rest:
        raise Untraceable("the code combines several rows")
    return (parts, *shape[1:]) if parts > 1 else shape[1:]


class Rows:
    """Converts nodes for all rows to nodes for one row.

    `made` maps the id of each node that depends on a variable to the new node for one row.
    """

    def __init__(self, expression: Expression, values: Sequence[np.ndarray | None]) -> None:
        self._inputs = expression.inputs
        unused = np.empty(0)  # no variable is read
        self._values = [unused if each is None else each.astype(float) for each in values]
        self._graph = Graph(exact=True)
        self._of_all: dict[tuple[int, bool], Node] = {}
        self.made: dict[int, Node] = {}
        self.arrays: list[int | np.ndarray] = []
        order = in_order(expression.results)
        used = set(map(id, order))
        inputs = enumerate(zip(self._inputs, values, strict=True))
        self.variables = [k for k, (node, it) in inputs if it is None and id(node) in used]
        for number, k in enumerate(self.variables):
            node = self._inputs[k]
            self.made[id(node)] = self._node(node, name_of_variable(number))
        for node in order:
            if any(id(each) in self.made for each in node.args):
                self.made[id(node)] = self._of_rows(node)

    def _node(self, node: Node, data: object, *args: Node, op: str = "") -> Node:
        if node.op == "column_sum":
            raise Untraceable("the code combines several rows")
        shape = shape_of_row(node.shape)
        return self._graph.node(op or node.op, *args, shape=shape, kind=node.kind, data=data)

    def _of_rows(self, node: Node) -> Node:
        args = [self._argument(node, each) for each in node.args]
        if node.op in ("copy", "reshape"):
            made = args[0] if node.kind == "bool" else self._as_number(args[0])
            if made.shape == shape_of_row(node.shape):
                return made
            return self._node(node, None, made, op="broadcast" if node.op == "copy" else "reshape")
        if node.kind == "bool" and node.op in LOGICAL:
            used = args[-1:] if node.op == "subtract" else args
            return self._node(node, None, *used, op=LOGICAL[node.op])
        first = 1 if node.op == "where" else 0  # after the condition
        if node.op != "where" or node.kind != "bool":
            args[first:] = map(self._as_number, args[first:])
        return self._node(node, node.data, *args)

    def _as_number(self, node: Node) -> Node:
        if node.kind != "bool" or node.op == NUMBER:
            return node
        return self._graph.node("as_number", node, shape=node.shape, kind="float")

    def _argument(self, node: Node, argument: Node) -> Node:
        if id(argument) in self.made:
            return self.made[id(argument)]
        others = [each.shape for each in node.args if each is not argument]
        filling = argument.args[0] if argument.op == "copy" else argument
        if filling.op == NUMBER and np.broadcast_shapes((), *others) == node.shape:
            return self._graph.number(filling.data)
        repeated = len(argument.shape) == len(node.shape) and argument.shape[0] == node.shape[0]
        key = id(argument), repeated
        if key not in self._of_all:
            self._of_all[key] = self._of_all_rows(argument, repeated)
        return self._of_all[key]

    def _of_all_rows(self, node: Node, repeated: bool) -> Node:
        name = name_of_array(len(self.arrays))
        if node.op == ARRAY:
            self.arrays.append(self._inputs.index(node))
            return self._graph.node(ARRAY, shape=node.shape, kind=node.kind, data=name)
        (array,) = Plan(self._inputs, (node,))(np, self._values)
        array = array.reshape(ROWS, *shape_of_row(array.shape))[0] if repeated else array
        if array.size == 1 and not any(each.op == ARRAY for each in in_order([node])):
            return self._graph.number(float(array.item()))
        self.arrays.append(array)
        made = self._graph.node(ARRAY, shape=array.shape, kind="float", data=name)
        if node.kind != "bool":
            return made
        half = self._graph.number(0.5)
        return self._graph.node("greater", made, half, shape=array.shape, kind="bool")
