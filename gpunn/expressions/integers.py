"""Quotients and remainders of integers, such as the number of an update.

Engines may represent integers as float32, which is exact only up to 2^24. So engines use 64-bit
integers to compute the quotients and remainders of arrays. Other quotients and remainders are
computed from these remainders, which are small.
"""

from __future__ import annotations

from gpunn.expressions.graph import ARRAY, NUMBER, Graph, Node, Untraceable

BY_INTEGERS = ("quotient", "remainder")
"""Functions of an array of integers and a number."""

LARGEST = 1 << 20
"""The largest divisor, product of divisors, and constant in a dividend."""


def quotient(graph: Graph, a: Node, divisor: int) -> Node:
    if divisor == 1:
        return a
    if is_array(a):
        return graph.node("quotient", a, graph.number(divisor), shape=a.shape, kind="int")
    if a.op in ("add", "subtract") and a.args[1].op == NUMBER:  # of q divisor + r + c
        x, c = a.args
        small(c)
        rest = graph.call(a.op, remainder(graph, x, divisor), c, kind="int")
        parts = quotient(graph, x, divisor), of_small(graph, rest, divisor)
        return graph.call("add", *parts, kind="int")
    return of_small(graph, small(a), divisor)


def remainder(graph: Graph, a: Node, divisor: int) -> Node:
    if divisor == 1:
        return graph.call("multiply", a, graph.number(0), kind="int")
    if is_array(a):
        return graph.node("remainder", a, graph.number(divisor), shape=a.shape, kind="int")
    a = congruent(graph, a, divisor)
    whole = graph.call("multiply", of_small(graph, a, divisor), graph.number(divisor), kind="int")
    return graph.call("subtract", a, whole, kind="int")


def congruent(graph: Graph, a: Node, divisor: int) -> Node:
    """Return a node of small integers, each congruent to the integer in `a` modulo `divisor`."""
    if is_array(a):
        return remainder(graph, a, divisor)
    if a.op == NUMBER:
        return graph.number(int(a.data) % divisor)
    if a.op in ("add", "subtract"):
        args = (congruent(graph, each, divisor) for each in a.args)
        return graph.call(a.op, *args, kind="int")
    if a.op == "quotient" and (product := int(a.args[1].data) * divisor) <= LARGEST:
        return of_small(graph, remainder(graph, a.args[0], product), int(a.args[1].data))
    return small(a)


def is_array(a: Node) -> bool:
    return (a.args[0] if a.op == "reshape" else a).op == ARRAY


def small(a: Node) -> Node:
    base = a.args[0] if a.op == "reshape" else a
    is_conversion = base.op == "copy" and base.args[0].kind == "float"
    is_listed = base.op in ("constants", "range") and max(map(abs, base.data)) <= LARGEST
    is_number = base.op == NUMBER and abs(base.data) <= LARGEST
    if is_conversion or is_listed or is_number or base.op == "remainder":
        return a
    raise Untraceable(
        "// and % do not support products of integers, results of most functions, or numbers above "
        f"{LARGEST:,}"
    )


def of_small(graph: Graph, a: Node, divisor: int) -> Node:
    """Return a // divisor for small integers a, as floor((a + 1/2) / divisor) in floating point."""
    number = graph.node("copy", a, shape=a.shape, kind="float")
    scaled = graph.call("multiply", number, graph.number(1 / divisor))
    floor = graph.call("floor", graph.call("add", scaled, graph.number(0.5 / divisor)))
    return graph.node("copy", floor, shape=a.shape, kind="int")
