"""Derivatives of graphs, in reverse mode: a graph of gradients from a graph of functions.

The *cotangent* of a node is the derivative of sum_k seed_k result_k with respect to the node. Each
function has a rule for the cotangents of its arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

from gpunn.expressions.algebra import is_zero
from gpunn.expressions.graph import NUMBER, SLOPE, VIEWS, Graph, Node, in_order
from gpunn.expressions.shapes import columns_of, expanded, placed, reduced, reshaped
from gpunn.expressions.stages import base_of
from gpunn.typing import Shape


def gradients(
    graph: Graph,
    results: Sequence[Node],
    seeds: Sequence[Node],
    inputs: Sequence[Node],
    others: Sequence[Node] = (),
) -> list[Node | None]:
    """Return d(sum_k seed_k result_k) / d(input) for each input, in the input's shape.

    A gradient is None if no result depends on the input. Like inputs, arrays in `others` are
    not constants. In max(a, b) of two arrays, two equal elements each get half of the gradient.
    In max(a, c) with a constant c, an element of a that equals c gets the gradient 0. If the
    results also depend on |a - c|, such an element gets half of the gradient instead. So the
    derivative of the smooth function max(z, 0) + log(1 + e^-|z|) at 0 is right.
    """
    cotangents = Cotangents(graph, results, inputs, others)
    for result, seed in zip(results, seeds, strict=True):
        cotangents.add(result, seed)
    for node in reversed(cotangents.order):
        cotangents.propagate(node)
    return [cotangents.of(each) for each in inputs]


class Cotangents:
    """The cotangents of the nodes between inputs and results.

    Call `add` for the results, then `propagate` for each node of `order`, from last to first. To
    use another rule for a node, call `of` for the node's cotangent instead of `propagate`, then
    `add` for each argument of the node.
    """

    def __init__(
        self,
        graph: Graph,
        results: Sequence[Node],
        inputs: Sequence[Node],
        others: Sequence[Node] = (),
    ) -> None:
        self._graph = graph
        nodes, given = in_order(results), {id(each) for each in inputs}
        self._known, self._varying = (
            dependent(nodes, found) for found in (inputs, (*inputs, *others))
        )
        self.order = [each for each in nodes if self.matters(each) and id(each) not in given]
        self._sizes = {id(each.args[0]) for each in nodes if each.op == "abs"}
        self._found: dict[int, Node] = {}

    def matters(self, node: Node) -> bool:
        return id(node) in self._known

    def add(self, node: Node, part: Node) -> None:
        # `part` has the node's shape, or is broadcast to this shape.
        if self.matters(node):
            earlier = self._found.get(id(node))
            self._found[id(node)] = part if earlier is None else plus(self._graph, earlier, part)

    def of(self, node: Node) -> Node | None:
        found = self._found.get(id(node))
        return None if found is None else expanded(self._graph, found, node.shape)

    def propagate(self, node: Node) -> None:
        cotangent = self._found.get(id(node))
        if cotangent is None or not any(map(self.matters, node.args)):
            return
        inner, masks = cotangent, list[Mask]()
        while node.op not in RESHAPING and (mask := mask_of(inner)):
            inner = chosen(inner, mask)
            masks += [mask] if mask not in masks else []
        call = Call(self._graph, self._varying, self._sizes)
        arguments, rule = self._rule(node)
        parts = rule(call, inner, node, *arguments) if rule else []
        for argument, part in zip(arguments, parts, strict=False):
            if part is None or part.is_number(0) or not self.matters(argument):
                continue
            # Where `where` chose the other branch, the slope may be infinite, but the part is 0.
            for condition, is_first in reversed(masks):
                branches = (part, 0.0) if is_first else (0.0, part)
                part = call("where", condition, *branches)
            full = argument.shape if node.op in RESHAPING else node.shape
            self.add(argument, summed(self._graph, part, argument.shape, full))

    def _rule(self, node: Node) -> tuple[Sequence[Node], Rule | None]:
        if id(node) in self._graph.divisors:
            return self._graph.divisors[id(node)], lambda call, g, y, x, d: [call("divide", g, d)]
        return power_of(node) or (node.args, RULES.get(node.op))


def dependent(nodes: Sequence[Node], inputs: Sequence[Node]) -> set[int]:
    # `nodes` must be in order.
    found = {id(each) for each in inputs}
    for node in nodes:
        if node.kind == "float" and any(id(each) in found for each in node.args):
            found.add(id(node))
    return found


Mask: TypeAlias = tuple[Node, bool]


def mask_of(node: Node) -> Mask | None:
    if node.op == "where":
        condition, first, second = node.args
        if second.is_number(0):
            return condition, True
        if first.is_number(0):
            return condition, False
    return None


def plus(graph: Graph, a: Node, b: Node) -> Node:
    if a is b:
        return graph.call("multiply", a, graph.number(2.0))
    one, other = mask_of(a), mask_of(b)
    if one and other:
        x, y = chosen(a, one), chosen(b, other)
        if one[0] is other[0]:
            if one[1] == other[1]:  # else two branches of a `where`
                x, y = plus(graph, x, y), graph.number(0.0)
            return graph.call("where", one[0], *((x, y) if one[1] else (y, x)))
    if (total := sum_of_sums(graph, a, b)) is not None:
        return total
    parts = [*slices_of(a), *slices_of(b)]
    ranges = sorted(each.data for each, _ in parts)
    if not (slices_of(a) and slices_of(b)) or any(x[1] > y[0] for x, y in pairwise(ranges)):
        return graph.call("add", a, b)
    everywhere = sum(stop - start for start, stop in ranges) == parts[0][0].shape[0]
    result = parts.pop()[1] if everywhere else graph.number(0.0)
    for inside, part in reversed(parts):
        result = graph.call("where", inside, part, result)
    return result


def sum_of_sums(graph: Graph, a: Node, b: Node) -> Node | None:
    """Return a + b as sum(±x ± y) if a = ±sum(x), b = ±sum(y) and x.shape == y.shape, else None."""
    (sign, one), (other_sign, other) = signed(graph, a), signed(graph, b)
    x, y = base_of(one), base_of(other)
    alike = x.op == y.op and x.op in ("row_sum", "column_sum") and one.shape == other.shape
    if not alike or x.args[0].shape != y.args[0].shape:
        return None
    terms = (x.args[0], y.args[0]) if sign >= other_sign else (y.args[0], x.args[0])
    total = graph.call("add", *terms) if sign == other_sign else difference(graph, *terms)
    total = graph.node(x.op, total, shape=x.shape, kind=x.kind)
    total = reshaped(graph, total, one.shape)
    return graph.call("negative", total) if sign == other_sign == -1 else total


def difference(graph: Graph, a: Node, b: Node) -> Node:
    """Return a - b; if a = u * g, b = v * g, and u and v have a's shape, return (u - v) * g."""
    common = [each for each in a.args if each in b.args] if a.op == b.op == "multiply" else []
    for g in common:
        u, v = (each.args[each.args[0] is g] for each in (a, b))
        if u.shape == v.shape == a.shape:  # otherwise, u - v may need a separate loop
            return graph.call("multiply", graph.call("subtract", u, v), g)
    return graph.call("subtract", a, b)


def slices_of(node: Node) -> list[tuple[Node, Node]]:
    found = list[tuple[Node, Node]]()
    while node.op == "where" and node.args[0].op == "interval":
        found.append((node.args[0], node.args[1]))
        node = node.args[2]
    return found if node.is_number(0) else []


def chosen(node: Node, mask: Mask) -> Node:
    return node.args[1 if mask[1] else 2]


def summed(graph: Graph, part: Node, shape: Shape, full: Shape) -> Node:
    # Sum over the axes along which `shape` was broadcast to `full`. `part` and the result may have
    # other shapes that broadcast to these.
    before = (1,) * (len(full) - len(shape)) + shape
    given = (1,) * (len(full) - len(part.shape)) + part.shape
    added = [k for k, n in enumerate(full) if before[k] == 1 and n != 1]
    axes = [k for k in added if given[k] != 1]
    count = math.prod(full[k] for k in added if given[k] == 1)
    if axes:
        sign, part = signed(graph, part)
        if before[0] == 1:  # for a batch of one row, so that this is no sum over rows
            axes = sorted({0, *axes})
        part = reduced(graph, reshaped(graph, part, given), "sum", axes, keepdims=True)
        part = graph.call("negative", part) if sign < 0 else part
    if len(part.shape) > len(shape):
        part = reshaped(graph, part, part.shape[len(part.shape) - len(shape) :])
    return part if count == 1 else graph.call("multiply", part, graph.number(float(count)))


def signed(graph: Graph, node: Node) -> tuple[int, Node]:
    mask = mask_of(node)
    if mask and chosen(node, mask).op == "negative":
        (inner,) = chosen(node, mask).args
        zero = graph.number(0.0)
        return -1, graph.call("where", mask[0], *((inner, zero) if mask[1] else (zero, inner)))
    return (-1, node.args[0]) if node.op == "negative" else (1, node)


class Call:
    def __init__(self, graph: Graph, varying: set[int], sizes: set[int]) -> None:
        # The ids of nodes that aren't constant, and of nodes whose absolute values are computed.
        self.graph, self._varying, self._sizes = graph, varying, sizes

    def halves(self, a: Node, b: Node) -> bool:
        if {id(a), id(b)} <= self._varying:
            return True
        both = self("subtract", a, b), self("subtract", b, a)
        return any(id(each) in self._sizes for one in both for each in (one, self("negative", one)))

    def __call__(
        self, op: str, *operands: Node | float, kind: str = "float", data: str | None = None
    ) -> Node:
        nodes = [self.graph.number(x) if isinstance(x, int | float) else x for x in operands]
        return self.graph.call(op, *nodes, kind=kind, data=data)

    def view(self, node: Node, shape: Shape, reshape: Shape) -> Node:
        # A `where` stays outermost, so that `propagate` can apply the mask after the multiplication
        # by a slope: a masked 0 times an infinite slope would be NaN.
        if node.op == NUMBER:
            return node
        if mask_of(node):
            return self("where", *(self.view(each, shape, reshape) for each in node.args))
        return reshaped(self.graph, expanded(self.graph, node, shape), reshape)


Parts: TypeAlias = Sequence[Node | None]


def choice(call: Call, g: Node, a: Node, b: Node) -> Parts:
    """Return the cotangents of a and b, in this order, if the node is max(a, b).

    If the node is min(a, b), the same results are the cotangents of b and a, in this order.
    """

    def compared(op: str, *pair: Node) -> Node:
        return call(op, *pair, kind="bool", data=SLOPE)

    exceeds = "greater"
    if call.halves(a, b):
        if is_zero(g):  # this maximum only prevents overflow, as in a softmax of two arrays
            return []
        exceeds, half = "at_least", call("where", compared("equal", a, b), 0.5, 1.0)
        g = call("multiply", g, half)
    return [call("where", compared(exceeds, *pair), g, 0.0) for pair in ((a, b), (b, a))]


def extreme(call: Call, g: Node, y: Node, a: Node) -> Parts:
    """Divide the cotangent of a row's maximum or minimum evenly among elements that attain it."""
    if y.data == SLOPE:  # a function of one element, which `where` has chosen
        return row_sum(call, g, y, a)
    if is_zero(g):  # this maximum only prevents overflow, as in a softmax
        return [None]
    column = (y.shape[0], *(1 for _ in a.shape[1:]))
    is_extreme = call("equal", a, reshaped(call.graph, y, column), kind="bool")
    ones = call.graph.node("copy", is_extreme, shape=a.shape, kind="float")
    count = call.graph.node("row_sum", ones, shape=y.shape, kind="float")
    share = call.view(call("divide", g, count), y.shape, column)
    return [call("where", is_extreme, share, 0.0)]


def row_sum(call: Call, g: Node, y: Node, a: Node) -> Parts:
    return [call.view(g, y.shape, (y.shape[0], *(1 for _ in a.shape[1:])))]


def columns(call: Call, g: Node, y: Node, a: Node) -> Parts:
    width = a.shape[1:]
    inside = call.graph.node("interval", shape=width, kind="bool", data=y.data)
    if g.shape[-1:] not in ((), (1,)):  # otherwise all columns have the same cotangent
        whole = expanded(call.graph, g, y.shape)
        g = placed(call.graph, whole, y.data[0], *width)
    return [call("where", inside, g, 0.0)]


def of_placed(call: Call, g: Node, y: Node, a: Node) -> Parts:
    first, end = y.data, y.data + a.shape[1]
    while g.op == "where" and g.args[0].op == "interval":  # which is constant in these columns
        start, stop = g.args[0].data
        if start < end and first < stop and not start <= first < end <= stop:
            break
        g = g.args[1 if start <= first < stop else 2]
    whole = expanded(call.graph, g, y.shape)
    return [columns_of(call.graph, whole, first, end)]


def power_of(node: Node) -> tuple[tuple[Node, ...], Rule] | None:
    """Return ((x, c), rule) if a node is e^(c log x) = x^c with a number c."""
    if node.op == "exp" and node.args[0].op == "multiply":
        logarithm, exponent = node.args[0].args
        if logarithm.op == "log" and exponent.is_number():
            return (*logarithm.args, exponent), power
    return None


def power(call: Call, g: Node, y: Node, x: Node, exponent: Node) -> Parts:
    """Return [g * c * x^(c - 1)], the cotangent of x for y = x^c. `exponent` is c."""
    # g * c * y / x would be wrong for x = 0.
    rest = exponent.data - 1
    root = call("sqrt", x)
    lower = root if rest == 0.5 else call("exp", call("multiply", call("log", x), rest))
    return [call("multiply", g, call("multiply", lower, exponent))]


Rule: TypeAlias = Callable[..., Parts]
"""Returns the cotangents of a function's arguments. The parameters are `call`, the cotangent g of
the result, the result y, and the arguments."""

RULES: Mapping[str, Rule] = {
    "copy": lambda call, g, y, a: [g],
    "negative": lambda call, g, y, a: [call("negative", g)],
    "abs": lambda call, g, y, a: [call("multiply", g, call("sign", a, data=SLOPE))],
    "sqrt": lambda call, g, y, a: [call("divide", call("multiply", g, 0.5), y)],
    "exp": lambda call, g, y, a: [call("multiply", g, y)],
    "expm1": lambda call, g, y, a: [call("multiply", g, call("add", y, 1.0))],
    "log": lambda call, g, y, a: [call("divide", g, a)],
    "log1p": lambda call, g, y, a: [call("divide", g, call("add", a, 1.0))],
    "sin": lambda call, g, y, a: [call("multiply", g, call("cos", a))],
    "cos": lambda call, g, y, a: [call("negative", call("multiply", g, call("sin", a)))],
    "tanh": lambda call, g, y, a: [
        call("multiply", g, call("subtract", 1.0, call("multiply", y, y)))
    ],
    "sigmoid": lambda call, g, y, a: [
        call("multiply", g, call("subtract", y, call("multiply", y, y)))
    ],
    "softplus": lambda call, g, y, a: [call("multiply", g, call("sigmoid", a))],
    "tanh_softplus": lambda call, g, y, a: [
        call(
            "multiply",
            g,
            call("multiply", call("sigmoid", a), call("subtract", 1.0, call("multiply", y, y))),
        )
    ],
    "add": lambda call, g, y, a, b: [g, g],
    "subtract": lambda call, g, y, a, b: [g, call("negative", g)],
    "multiply": lambda call, g, y, a, b: (
        [call("multiply", call("multiply", g, a), 2.0)]
        if a is b
        else [call("multiply", g, b), call("multiply", g, a)]
    ),
    "divide": lambda call, g, y, a, b: [
        call("divide", g, b),
        call("negative", call("multiply", call("divide", g, b), y)),
    ],
    "maximum": lambda call, g, y, a, b: choice(call, g, a, b),
    "minimum": lambda call, g, y, a, b: choice(call, g, b, a),
    "where": lambda call, g, y, c, a, b: [
        None,
        call("where", c, g, 0.0),
        call("where", c, 0.0, g),
    ],
    "reshape": lambda call, g, y, a: [call.view(g, y.shape, a.shape)],
    "columns": columns,
    "placed": of_placed,
    "row_sum": row_sum,
    "row_maximum": extreme,
    "row_minimum": extreme,
    "column_sum": lambda call, g, y, a: [call.view(g, y.shape, y.shape)],
}
"""Rules by function. Functions without a rule, such as `floor`, have the derivative 0."""

RESHAPING = (*VIEWS, "row_sum", "row_maximum", "row_minimum", "column_sum")
"""Functions without broadcasting, whose rules return a cotangent in the argument's shape."""
