"""Graphs of functions of arrays: their nodes, and rules that rewrite some functions.

A node is a function of other nodes, an array, or a number. Equal nodes of a graph are one object,
so no result is computed twice, and two traces are equal if they have the same nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gpunn.typing import Shape

ARRAY, NUMBER = "array", "number"

ELEMENTARY = ("sqrt", "exp", "expm1", "log", "log1p", "tanh", "sin", "cos")
"""Functions of a real number that have the same name in C, CUDA, Python and NumPy."""

REDUCTIONS = ("row_sum", "row_maximum", "row_minimum", "column_sum")
"""Functions that reduce each row to a number, or sum all rows."""

SLICES = ("columns", "placed")
"""Functions of adjacent columns. "columns" selects columns of an array. "placed" puts an array into
a wider array, whose other columns are undefined, so that `where` must not choose them."""

DISCONTINUOUS = ("floor", "round", "sign", "greater", "at_least", "equal")
"""Functions whose result a rounding error may change, such as x / 49 >= 1."""

SLOPE = "slope"
"""The `data` of a discontinuous function in a derivative, such as the sign of x for |x|. The
arguments may be rounded, because both slopes are right where the function changes. For a row's
maximum, `SLOPE` means that only one number is above -infinity, so there are no ties."""

JOINED = "joined"
"""A function that engines may use to concatenate columns: its arguments are arrays of rows, and its
`data` has the first column of each. Derivatives have no rule for this function."""

CONTRACTED = "contracted"
"""A function that engines may use to sum products of two arrays in each row. The `data` is a
list of axes: a length, and both arrays' distances of adjacent numbers. The last axis is summed."""

MOST_JOINED = 64
"""Maximum number of concatenated arrays, which some engines choose by a chain of conditions."""

VIEWS = ("reshape", *SLICES)
"""Views of an array: with another shape, or other columns."""

OF_SIGNS = (
    *("multiply", "divide", "negative", "abs", "sqrt", "maximum", "minimum", "where", "copy"),
    *VIEWS,
)
"""Functions whose result has a sign that depends only on the arguments' signs."""

NOT_NEGATIVE = ("sqrt", "abs", "exp", "sigmoid", "softplus")


class Untraceable(Exception):  # noqa: N818 - tells the caller to run the code as it is
    """Raised if array code can't be traced; the message is the reason."""


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Node:
    """A node of a graph: an array, a number, or a function of other nodes.

    `kind` is "float", "int" or "bool". `data` is the array, the number, a range of columns, or
    `SLOPE`. The function "interval" returns a row of Booleans: true in the columns of `data`.
    """

    op: str
    args: tuple[Node, ...]
    shape: Shape
    kind: str
    data: Any = None

    def __repr__(self) -> str:
        # The text of the arguments could be huge.
        return f"<{self.op} {self.shape}>"

    def is_number(self, value: float | None = None) -> bool:
        return self.op == NUMBER and (value is None or self.data == value)


def is_scalar(node: Node) -> bool:
    return math.prod(node.shape) == 1


def in_order(roots: Iterable[Node]) -> list[Node]:
    """Return the nodes that the roots need, each node after its arguments."""
    order: dict[int, Node] = {}
    stack = [(root, False) for root in reversed(list(roots))]
    while stack:
        node, arguments_done = stack.pop()
        if arguments_done:
            order.setdefault(id(node), node)
        elif id(node) not in order:
            stack.append((node, True))
            stack += [(each, False) for each in reversed(node.args)]
    return list(order.values())


def exact_nodes(nodes: Iterable[Node]) -> set[int]:
    """Return the ids of nodes whose rounding matters.

    Rounding matters if it may change a discontinuous function, or a row's maximum or minimum.
    """
    # A comparison with 0 needs only a sign: rounding may change it in sums, not in products.
    # A maximum's derivative compares the maximum with elements that another loop may recompute.
    ops = *DISCONTINUOUS, "row_maximum", "row_minimum"
    exact, signs = set[int](), set[int]()
    stack = [(each, False) for each in nodes if each.op in ops and each.data != SLOPE]
    while stack:
        node, needs_sign = stack.pop()
        if needs_sign and is_positive(node):
            continue
        needs_sign = needs_sign and node.op in OF_SIGNS
        known = signs if needs_sign else exact
        if id(node) not in known:
            known.add(id(node))
            stack += [(each, needs_sign or compares_signs(node)) for each in node.args]
    return exact


def is_positive(node: Node) -> bool:
    if node.op not in ("add", "maximum") or not node.args[1].is_number() or node.args[1].data <= 0:
        return False
    return node.op == "maximum" or node.args[0].op in NOT_NEGATIVE


def compares_signs(node: Node) -> bool:
    is_comparison = node.op in ("greater", "at_least", "equal")
    return node.op == "sign" or (is_comparison and any(each.is_number(0) for each in node.args))


class Graph:
    def __init__(self, exact: bool = False) -> None:
        self._nodes: dict[Any, Node] = {}
        self.exact = exact
        """Whether rules must not join constants, because this changes how results are rounded."""
        self.rounded: set[int] = set()
        """The ids of nodes whose constants are joined."""
        self.divisors: dict[int, tuple[Node, Node]] = {}
        """Maps the id of a function of x with the slope 1 / d to (x, d). This slope takes less time
        than the rules of the function's nodes."""
        self.needs_exact = False
        """Whether a discontinuous function depends on a node in `rounded`."""

    def node(self, op: str, *args: Node, shape: Shape, kind: str, data: Any = None) -> Node:
        identity = id(data) if hasattr(data, "shape") else repr(data)
        key = op, tuple(map(id, args)), shape, kind, identity
        if key not in self._nodes:
            self._nodes[key] = Node(op, args, shape, kind, data)
        return self._nodes[key]

    def array(self, array: Any, kind: str) -> Node:
        return self.node(ARRAY, shape=array.shape, kind=kind, data=array)

    def number(self, value: float) -> Node:
        kind = "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float"
        return self.node(NUMBER, shape=(), kind=kind, data=float(value))

    def call(self, op: str, *args: Node, kind: str = "float", data: Any = None) -> Node:
        # Rewritten functions overflow less often, or need fewer exponentials and divisions.
        if op in COMMUTATIVE and (args[0].is_number() or is_scalar(args[0]) > is_scalar(args[1])):
            args = args[::-1]
        if all(each.is_number() for each in args) and op in FOLDED:
            return self.number(float(FOLDED[op](*(each.data for each in args))))
        rule = RULES.get(op)
        rewritten = rule(self, *args) if rule else None
        if rewritten is not None:
            if any(id(each) in self.rounded for each in args):
                self.rounded.add(id(rewritten))
            return rewritten
        shape = np.broadcast_shapes(*(each.shape for each in args))
        args = tuple(self.broadcastable(each, shape) for each in args)
        result = self.node(op, *args, shape=shape, kind=kind, data=data)
        if op in DISCONTINUOUS and self.rounded:
            self.needs_exact |= not self.rounded.isdisjoint(exact_nodes([result]))
        return result

    def broadcastable(self, argument: Node, shape: Shape) -> Node:
        base = argument
        while base.op == "reshape":
            base = base.args[0]
        if base.op not in SLICES or argument.shape == shape:
            return argument
        return self.node("copy", argument, shape=argument.shape, kind=argument.kind)


COMMUTATIVE = ("add", "multiply", "maximum", "minimum", "equal")

FOLDED: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "negative": lambda a: -a,
    "sqrt": lambda a: math.sqrt(a) if a >= 0 else math.nan,
    "exp": lambda a: float(np.exp(a)),
}
"""Functions that are computed while tracing if their arguments are numbers."""

Rule: TypeAlias = Callable[..., Node | None]
"""Returns an equal node, or None if the rule does not apply."""


def add(graph: Graph, a: Node, b: Node) -> Node | None:
    """Rewrite tanh(u) / 2 + 1/2 as sigmoid(2 u), max(u, 0) + softplus(-|u|) as softplus(u), etc."""
    if b.is_number(1) and a.op == "tanh":
        twice = graph.call("multiply", a.args[0], graph.number(2.0))
        return graph.call("multiply", graph.call("sigmoid", twice), graph.number(2.0))
    is_half = a.op == "multiply" and a.args[1].is_number(0.5)
    if b.is_number(0.5) and is_half and a.args[0].op == "tanh":
        twice = graph.call("multiply", a.args[0].args[0], graph.number(2.0))
        return graph.call("sigmoid", twice)
    for one, other in ((a, b), (b, a)):
        if one.op == "negative" and one.kind == "float":
            return graph.call("subtract", other, one.args[0])
        if one.op == "maximum" and one.args[1].is_number(0) and other.op == "softplus":
            minus_size = graph.call("negative", graph.call("abs", one.args[0]))
            if other.args[0] is minus_size:
                return graph.call("softplus", one.args[0])
    return None


def multiply(graph: Graph, a: Node, b: Node) -> Node | None:
    if b.is_number(1):
        return a
    if b.is_number() and a.op == "negative" and a.kind == "float":
        return graph.call("multiply", a.args[0], graph.number(-b.data))
    if a.op != "multiply" or not a.args[1].is_number():
        return None
    x, factor = a.args
    if b.is_number() and 1e-30 < abs(factor.data * b.data) < 1e30:  # a float32
        is_exact = is_power_of_2(factor) or is_power_of_2(b)
        return scaled(graph, x, factor.data * b.data, is_exact)
    if is_power_of_2(factor) and b.op == "multiply" and b.args[1].is_number(1 / factor.data):
        return graph.call("multiply", x, b.args[0])
    return None


def subtract(graph: Graph, a: Node, b: Node) -> Node | None:
    if a.is_number(1) and b.op == "exp":
        return graph.call("negative", graph.call("expm1", b.args[0]))
    if b.op == "negative" and b.kind == "float":
        return graph.call("add", a, b.args[0])
    return a if b.is_number(0) else None


def divide(graph: Graph, a: Node, b: Node) -> Node | None:
    """Rewrite a / (1 + e^v) as a * sigmoid(-v), and a / number as a * (1 / number)."""
    if b.op == "add" and b.args[1].is_number(1) and b.args[0].op == "exp":
        quotient = graph.call("sigmoid", graph.call("negative", b.args[0].args[0]))
        return graph.call("multiply", a, quotient)
    if b.is_number() and 1e-30 < abs(b.data) < 1e30:
        return scaled(graph, a, 1 / b.data, is_power_of_2(b))
    return None


def scaled(graph: Graph, a: Node, factor: float, is_exact: bool) -> Node | None:
    if graph.exact and not is_exact:
        return None
    result = graph.call("multiply", a, graph.number(factor))
    if not is_exact:
        graph.rounded.add(id(result))
    return result


def is_power_of_2(number: Node) -> bool:
    return number.is_number() and abs(math.frexp(number.data)[0]) == 0.5


def tanh(graph: Graph, a: Node) -> Node | None:
    return graph.call("tanh_softplus", a.args[0]) if a.op == "softplus" else None


def negative(graph: Graph, a: Node) -> Node | None:
    if a.op == "negative":
        return a.args[0]
    if a.op == "multiply" and a.args[1].is_number():
        return graph.call("multiply", a.args[0], graph.number(-a.args[1].data))
    return None


def logarithm(graph: Graph, a: Node) -> Node | None:
    """Rewrite log(1 + e^v) as softplus(v), and log(sigmoid(v)) as -softplus(-v)."""
    if a.op == "add" and a.args[1].is_number(1):
        return log_of_1_plus(graph, a.args[0])
    if a.op == "sigmoid":
        return graph.call("negative", graph.call("softplus", graph.call("negative", a.args[0])))
    return None


def log_of_1_plus(graph: Graph, a: Node) -> Node | None:
    return graph.call("softplus", a.args[0]) if a.op == "exp" else None


RULES: dict[str, Rule] = {
    "add": add,
    "multiply": multiply,
    "subtract": subtract,
    "divide": divide,
    "negative": negative,
    "log": logarithm,
    "log1p": log_of_1_plus,
    "tanh": tanh,
}
