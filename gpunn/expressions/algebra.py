"""Recognize nodes that are zero, by algebra."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import product
from typing import TypeAlias

from gpunn.expressions.graph import NUMBER, Node, in_order

Factor: TypeAlias = tuple[Hashable, bool]
"""A factor of a product, and whether the factor is a row vector."""

Factors: TypeAlias = frozenset[tuple[Factor, int]]
"""A product: pairs of a factor and its power."""

Sum: TypeAlias = Mapping[Factors, float]
"""A sum of products: the coefficient of each product."""

LARGEST = 16


def is_zero(node: Node) -> bool:
    # If the result is False, the node may still be zero.
    sums: dict[int, Sum] = {}
    order = in_order([node])
    for each in order:
        sums[id(each)] = expanded(each, [sums[id(argument)] for argument in each.args])
    result = sums[id(node)]
    for each in reversed(order):
        if each.op == "divide":  # divisors within the divisor have been removed before
            result = without_divisor(result, factor_of(each.args[1]), sums[id(each.args[1])])
    return not result


def expanded(node: Node, args: Sequence[Sum]) -> Sum:
    if node.op == NUMBER:
        return total([(frozenset(), node.data)])
    if is_expanded(node):
        found = EXPANDED[node.op](node, *args)
        if found is not None and len(found) <= LARGEST:
            return found
    return {frozenset([(factor_of(node), 1)]): 1.0}


def factor_of(node: Node) -> Factor:
    return id(node), is_row_vector(node)


def is_expanded(node: Node) -> bool:
    if node.op == "reshape":
        return is_row_vector(node) and is_row_vector(node.args[0])
    args = (each for each in node.args if each.op != "interval")
    if any(len(each.shape) == 1 < min(each.shape[0], len(node.shape)) for each in args):
        return False
    return node.op in EXPANDED and (node.op != "copy" or is_row_vector(node.args[0]))


def is_row_vector(node: Node) -> bool:
    return math.prod(node.shape[1:]) == 1


def total(terms: Iterable[tuple[Factors, float]]) -> Sum:
    found: dict[Factors, float] = {}
    for factors, coefficient in terms:
        found[factors] = found.get(factors, 0.0) + coefficient
    return {factors: each for factors, each in found.items() if abs(each) > 1e-12}


def times(a: Factors, b: Factors) -> Factors:
    powers = dict(a)
    for factor, power in b:
        powers[factor] = powers.get(factor, 0) + power
    return frozenset((factor, power) for factor, power in powers.items() if power)


def multiplied(a: Sum, b: Sum) -> Sum:
    pairs = product(a.items(), b.items())
    return total((times(x, y), p * q) for (x, p), (y, q) in pairs)


def divided(node: Node, a: Sum, b: Sum) -> Sum:
    if len(b) != 1:
        return multiplied(a, {frozenset([(factor_of(node.args[1]), -1)]): 1.0})
    ((factors, coefficient),) = b.items()
    inverse = frozenset((factor, -power) for factor, power in factors)
    return multiplied(a, {inverse: 1 / coefficient})


def without_divisor(a: Sum, divisor: Factor, terms: Sum) -> Sum:
    """Multiply the sum `a` by `divisor` until no negative power of `divisor` remains.

    `terms` is `divisor` written as a sum. If the result may have too many terms, return `a`.
    """
    least = min((dict(factors).get(divisor, 0) for factors in a), default=0)
    if least >= 0 or len(a) * len(terms) ** -least > LARGEST**2:
        return a
    result = list[tuple[Factors, float]]()
    for factors, coefficient in a.items():
        powers = dict(factors)
        power = powers.pop(divisor, 0) - least
        product: Sum = {frozenset(powers.items()): coefficient}
        for _ in range(power):
            product = multiplied(product, terms)
        result += product.items()
    return total(result)


def summed(a: Sum, columns: int) -> Sum:
    terms = []
    for factors, coefficient in a.items():
        outer = frozenset((factor, power) for factor, power in factors if factor[1])
        inner = factors - outer
        ranges = [key for (key, _), _ in inner if isinstance(key, range)]
        if len(inner) > len(ranges[:1]):
            terms.append((times(outer, frozenset([((inner, True), 1)])), coefficient))
        else:  # the row's elements (in the range) are equal
            terms.append((outer, coefficient * (len(ranges[0]) if ranges else columns)))
    return total(terms)


def within(a: Sum, data: tuple[int, int]) -> Sum:
    """Return a sum that equals `a` in columns data[0] to data[1] - 1, and 0 in other columns."""
    return multiplied(a, {frozenset([((range(*data), False), 1)]): 1.0})


def subtracted(a: Sum, b: Sum) -> Sum:
    return total([*a.items(), *((x, -y) for x, y in b.items())])


def chosen(node: Node, condition: Sum, a: Sum, b: Sum) -> Sum | None:
    """Return where(condition, a, b) as a sum, or None if the condition is not supported.

    A condition that is an interval of columns is always supported. Other conditions are supported
    only if a or b is 0.
    """
    where = node.args[0]
    if where.op == "interval":
        return total(
            [*within(a, where.data).items(), *subtracted(b, within(b, where.data)).items()]
        )
    if a and b:
        return None
    mask = (frozenset(condition.items()), bool(a)), is_row_vector(where)
    return multiplied(a or b, {frozenset([(mask, 1)]): 1.0})


EXPANDED: Mapping[str, Callable[..., Sum | None]] = {
    "reshape": lambda node, a: a,
    "copy": lambda node, a: a,
    "negative": lambda node, a: subtracted({}, a),
    "add": lambda node, a, b: total([*a.items(), *b.items()]),
    "subtract": lambda node, a, b: subtracted(a, b),
    "multiply": lambda node, a, b: multiplied(a, b),
    "divide": divided,
    "where": chosen,
    "row_sum": lambda node, a: summed(a, math.prod(node.args[0].shape[1:])),
    "columns": lambda node, a: summed(within(a, node.data), 1) if is_row_vector(node) else None,
}
