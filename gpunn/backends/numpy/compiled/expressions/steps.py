"""The steps of a loop: one for each node, except that some nodes are replaced or joined."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from gpunn.backends.numpy.compiled import interface
from gpunn.expressions import (
    DISCONTINUOUS,
    NUMBER,
    REDUCTIONS,
    Node,
    Stage,
    Untraceable,
    base_of,
    exact_nodes,
    graph,
    is_source,
    used,
)
from gpunn.expressions.graph import is_scalar
from gpunn.expressions.integers import BY_INTEGERS
from gpunn.expressions.stages import domain_of
from gpunn.typing import Shape

NUMBERS = {name: k for k, name in enumerate(interface.EXPRESSION_FUNCTIONS)} | {
    "row_sum": interface.ROW_SUM,
    "row_maximum": interface.ROW_MAXIMUM,
    "row_minimum": interface.ROW_MINIMUM,
    "column_sum": interface.COLUMN_SUM,
}


Pair: TypeAlias = tuple[str, str, int]
"""Two functions, and the position of the first one's result among the second one's arguments."""

BY_ROOTS: Mapping[Pair, str] = {
    ("sqrt", "add", 0): "add_to_root",
    ("add_to_root", "divide", 1): "divide_by_root",
    ("divide_by_root", "subtract", 1): "subtract_quotient_by_root",
    ("multiply", "divide_by_root", 2): "divide_product_by_root",
    ("divide_product_by_root", "subtract", 1): "subtract_by_root",
    **{
        ("multiply", "divide_product_by_root", position): "divide_products_by_root"
        for position in (0, 1)
    },
    ("multiply", "divide_product_by_root", 2): "divide_product_by_scaled_root",
    ("multiply", "divide_products_by_root", 3): "divide_by_scaled_root",
    ("divide_products_by_root", "subtract", 1): "subtract_products_by_root",
    ("divide_product_by_scaled_root", "subtract", 1): "subtract_product_by_scaled_root",
    ("divide_by_scaled_root", "subtract", 1): "subtract_by_scaled_root",
}
"""Functions with a root that compute two functions together."""

EXACT: Mapping[Pair, str] = {
    **{("multiply", "add", position): "add_rounded_product" for position in (0, 1)},
    ("multiply", "add_rounded_product", 2): "add_rounded_products",
}
"""Functions that compute two functions together, and round each product first. The argument of a
discontinuous function must be rounded like this."""

JOINED: Mapping[Pair, str] = {
    **BY_ROOTS,
    **{("multiply", "add", position): "multiply_add" for position in (0, 1)},
    ("multiply", "subtract", 0): "multiply_subtract",
    ("multiply", "subtract", 1): "subtract_product",
    **{("multiply", "multiply", position): "multiply_product" for position in (0, 1)},
    **{("subtract", "multiply", position): "multiply_difference" for position in (0, 1)},
    ("add", "divide", 1): "divide_by_sum",
    ("maximum", "minimum", 0): "clip",
    ("greater", "where", 0): "where_greater",
    ("at_least", "where", 0): "where_at_least",
    **{("multiply_difference", "add", position): "add_scaled_difference" for position in (0, 1)},
    ("multiply", "multiply_add", 2): "add_products",
    ("multiply_product", "multiply_add", 2): "add_triple_product",
}
"""All functions that compute two functions together. Those with a root are first, since `joined`
uses the first match."""

ONE, MINUS_ZERO = (Node(NUMBER, (), (), "float", number) for number in (1.0, -0.0))

WITH_ONE: Mapping[str, tuple[str, tuple[int | None, ...]]] = {
    "add_rounded_product": ("add_rounded_products", (2, None, 0, 1)),
    "divide_by_root": ("divide_by_scaled_root", (0, None, 2, None, None, 1)),
    "divide_product_by_root": ("divide_by_scaled_root", (2, None, 0, 1, None, 3)),
    "divide_products_by_root": ("divide_by_scaled_root", (3, None, 0, 1, 2, 4)),
    "divide_product_by_scaled_root": ("divide_by_scaled_root", (0, 1, 2, 3, None, 4)),
    "subtract_quotient_by_root": ("subtract_by_scaled_root", (0, None, 2, None, None, 1, 3)),
    "subtract_by_root": ("subtract_by_scaled_root", (2, None, 0, 1, None, 3, 4)),
    "subtract_products_by_root": ("subtract_by_scaled_root", (3, None, 0, 1, 2, 4, 5)),
    "subtract_product_by_scaled_root": ("subtract_by_scaled_root", (0, 1, 2, 3, None, 4, 5)),
}
"""Functions that the kernel computes as a function of more arguments: its name, and the position of
each of its arguments, or None for the number 1."""

ROUNDED_ONCE = (
    *("multiply_add", "multiply_subtract", "subtract_product", "add_products"),
    *("add_scaled_difference", "add_triple_product"),
)
"""Functions that round the sum with a product only once."""


@dataclass(frozen=True)
class Step:
    node: Node
    function: str
    args: tuple[Node, ...]
    once: bool
    """Whether the step runs once, before the loop, because its result is one number."""
    attached: tuple[Step, ...] = ()
    """Preceding steps, which the kernel computes while it waits for roots and quotients."""

    @property
    def number(self) -> int:
        return NUMBERS["copy" if self.function in BY_INTEGERS else self.function]


def steps_of_groups(stage: Stage, groups: Sequence[Sequence[Node]], stored: set[int]) -> list[Step]:
    """Return the steps of all groups; a node of several groups has the first group's step.

    Raises an `Untraceable` if a later group needs exact results that the first group may round.
    """
    found: dict[int, Step] = {}
    first = exact_nodes(groups[0])
    for group in groups:
        exact = exact_nodes(group)
        computed = (each for each in group if not is_source(each) and each.op not in DISCONTINUOUS)
        if any(id(each) in exact - first for each in computed):
            raise Untraceable("a derivative needs results that the value rounds differently")
        for step in steps_of(stage.only(group), stored, exact):
            found.setdefault(id(step.node), step)
    return list(found.values())


def steps_of(stage: Stage, stored: set[int], exact: set[int]) -> list[Step]:
    # `stored` and `exact` are the ids of nodes with arrays, and of `exact_nodes`.
    steps = [Step(node, node.op, node.args, True) for node in stage.once]
    steps += [Step(node, node.op, node.args, False) for node in stage.nodes]
    steps = with_inverses(without_copies(steps, stored), exact)
    steps = with_sums_of_roots(steps, stored)
    for rules in (BY_ROOTS, JOINED):
        steps = joined(steps, stored, exact, rules)
    return with_attached([with_one(step) for step in steps])


def with_one(step: Step) -> Step:
    if step.function not in WITH_ONE:
        return step
    function, positions = WITH_ONE[step.function]
    args = tuple(ONE if k is None else step.args[k] for k in positions)
    return replace(step, function=function, args=args)


def with_attached(steps: Sequence[Step]) -> list[Step]:
    """Attach an earlier mean, and an earlier mean of squares, to each step with a root.

    Roots and quotients use only one of the processor's units; the others compute the means.
    """
    result, attached = list[Step](), set[int]()
    for step in steps:
        means, needed = dict[str, Step](), set[int]()  # what the steps after a mean need
        is_attaching = step.function in interface.ATTACHING and not step.once
        for one in reversed(result if is_attaching else []):
            is_free = one.node.shape == step.node.shape and id(one.node) not in needed | attached
            if is_free and (mean := as_mean(one)) is not None:
                means.setdefault(one.function, mean)
            needed |= {id(used(each)) for each in one.args}
        own = [means[function] for function in interface.MEANS if function in means]
        attached |= {id(one.node) for one in own}
        result = [one for one in result if all(one.node is not each.node for each in own)]
        result += [*own, replace(step, attached=tuple(own))]
    return result


def as_mean(step: Step) -> Step | None:
    """Return a step x b + y c with arguments (y, c, x, b), or x b + c y y with (y, c, y, x, b).

    b and c must be numbers, and x and y arrays. Return None for other steps.
    """
    if step.once or step.function not in interface.MEANS:
        return None
    *first, x, b = step.args
    arrays, numbers = ([y for y in first if is_scalar(y) is kind] for kind in (False, True))
    if is_scalar(x) or not is_scalar(b) or len(numbers) != 1 or arrays[1:] not in ([], arrays[:1]):
        return None
    y, c = arrays[0], numbers[0]
    return replace(step, args=(y, c, *arrays[1:], x, b))


def without_copies(steps: Sequence[Step], stored: set[int]) -> list[Step]:
    needed = stored | {
        id(used(each))
        for step in steps
        for each in step.args
        if used(each) is not each or repeats_slice(step, each)
    }
    computed = {id(step.node) for step in steps}
    whole = {
        id(used(each))
        for step in steps
        if step.function in (*REDUCTIONS, graph.JOINED)
        for each in step.args
    }
    result, sources = [], dict[int, Node]()
    for step in steps:
        args = tuple(sources.get(id(each), each) for each in step.args)
        source = args[0]
        same = source.shape == step.node.shape or source.op == NUMBER
        # These can't repeat a number or convert integers, but Booleans are numbers here.
        if id(step.node) in whole and id(source) not in computed:
            same = False
        if step.function == "copy" and id(step.node) not in needed and same:
            sources[id(step.node)] = source
        else:
            result.append(replace(step, args=args))
    return result


def repeats_slice(step: Step, argument: Node) -> bool:
    """Return whether a step reads a copy of a slice, but can't read the slice directly."""
    kind = kind_of_input(argument.shape, domain_of(step.node, argument))
    is_slice = argument.op == "copy" and base_of(argument.args[0]).op == "columns"
    return is_slice and kind not in (interface.MATRIX, interface.ROW_VECTOR)


def with_inverses(steps: Sequence[Step], exact: set[int]) -> list[Step]:
    """Multiply by 1 / x instead of dividing by x, if x is a number known before the loop."""
    # If 1 / x is subnormal, the kernel stops treating subnormal numbers as zero.
    numbers = [step for step in steps if step.once]
    in_loop = {id(step.node) for step in steps if not step.once}
    inverses, others = dict[int, Node](), []
    for step in steps[len(numbers) :]:
        divisor = step.args[-1]
        is_known = is_scalar(divisor) and id(used(divisor)) not in in_loop
        if step.function == "divide" and is_known and id(step.node) not in exact:
            a, x = step.args
            inverse = inverses.setdefault(id(x), Node("inverse", (x,), x.shape, "float"))
            step = replace(step, function="multiply", args=(a, inverse))
        others.append(step)
    return [
        *numbers,
        *(Step(each, each.op, each.args, True) for each in inverses.values()),
        *others,
    ]


def with_sums_of_roots(steps: Sequence[Step], stored: set[int]) -> list[Step]:
    """Replace a / sqrt(x) by a / (sqrt(x) + -0), which `joined` can compute by one function."""
    uses = Counter(id(used(each)) for step in steps for each in step.args)
    divisors = {id(step.args[1]) for step in steps if step.function == "divide"}
    return [
        replace(step, function="add_to_root", args=(*step.args, MINUS_ZERO))
        if step.function == "sqrt"
        and not step.once
        and id(step.node) in divisors - stored
        and uses[id(step.node)] == 1
        else step
        for step in steps
    ]


def joined(
    steps: Sequence[Step], stored: set[int], exact: set[int], rules: Mapping[Pair, str]
) -> list[Step]:
    """Join two steps if only the second step uses the first step's result."""
    uses = Counter(id(used(each)) for step in steps for each in step.args)
    result: dict[int, Step] = {}
    for step in steps:
        while (found := joinable(step, result, uses, stored, exact, rules)) is not None:
            function, position = found
            first = result.pop(id(step.args[position]))
            others = step.args[:position] + step.args[position + 1 :]
            step = replace(step, function=function, args=(*first.args, *others))
        result[id(step.node)] = step
    return list(result.values())


def joinable(
    step: Step,
    earlier: Mapping[int, Step],
    uses: Mapping[int, int],
    stored: set[int],
    exact: set[int],
    rules: Mapping[Pair, str],
) -> tuple[str, int] | None:
    """Return the joined function, and which argument of the step is the joined step's result."""
    for position, argument in enumerate(step.args):
        first = earlier.get(id(argument))
        if first is None or first.once != step.once or uses[id(argument)] > 1:
            continue
        pair = first.function, step.function, position
        function = rules.get(pair)
        if id(step.node) in exact and (pair in EXACT or function in ROUNDED_ONCE):
            function = EXACT.get(pair)
        alike = first.once or math.prod(first.node.shape) == math.prod(step.node.shape)
        if function is not None and id(argument) not in stored and alike:
            return function, position
    return None


def kind_of_input(shape: Shape, whole: Shape) -> int:
    if math.prod(shape) == 1:
        return interface.SCALAR
    padded = (1,) * (len(whole) - len(shape)) + shape
    if padded == whole:
        return interface.MATRIX
    if padded[0] == 1 and padded[1:] == whole[1:]:
        return interface.COLUMN_VECTOR
    if padded[0] == whole[0] and math.prod(padded[1:]) == 1:
        return interface.ROW_VECTOR
    raise Untraceable(f"broadcasting {shape} to {whole} is not supported")
