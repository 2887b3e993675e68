"""The steps of a loop: one for each node, except that some nodes are replaced or joined."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from gpunn.backends.numpy.compiled import interface
from gpunn.expressions import (
    ARRAY,
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

NUMBERS = {
    "copy": interface.COPY,
    "row_sum": interface.ROW_SUM,
    "row_maximum": interface.ROW_MAXIMUM,
    "row_minimum": interface.ROW_MINIMUM,
    "column_sum": interface.COLUMN_SUM,
    "sum": interface.SUM,
    "inverse": interface.INVERSE,
    graph.CONTRACTED: interface.CONTRACTION,
}


Pair: TypeAlias = tuple[str, str, int]
"""Two functions, and the position of the first one's result among the second one's arguments."""

JOINED: Mapping[Pair, str] = {
    **{
        (product, "add", position): "multiply_add"
        for product in ("multiply", "multiply_difference")
        for position in (0, 1)
    },
    ("multiply", "subtract", 0): "multiply_subtract",
    ("multiply", "subtract", 1): "subtract_product",
}
"""Functions that compute two functions together, and round once. Products of three factors aren't
joined with a sum, but in further products they are one factor. Products of differences are joined
only with additions."""

PRODUCTS = {"multiply": "multiply_product", "subtract": "multiply_difference"}
"""Products by the function of a factor that nothing else reads."""

ONE = Node(NUMBER, (), (), "float", 1.0)


@dataclass(frozen=True)
class Step:
    node: Node
    function: str
    args: tuple[Node, ...]
    once: bool
    """Whether the step runs once, before the loop over the elements: its result is one number."""

    @property
    def number(self) -> int:
        return NUMBERS["copy" if self.function in BY_INTEGERS else self.function]


WHOLE_CHUNKS = 32
"""Tiles are whole chunks if the number of columns is at most this many times a power of 2."""

SUM = "sum"
"""A sum of all elements, which the loop that computes the elements adds up, tile by tile."""


def with_sums(
    stages: Sequence[Stage], steps: Sequence[list[Step]], stored: set[int], outputs: set[int]
) -> tuple[list[Stage], list[list[Step]]]:
    """Move sums over all elements of a node into the loop that computes this node.

    A sum moves only if `has_whole_blocks` is true. Loops without steps are removed.
    """
    owners = {
        id(step.node): own
        for stage, own in zip(stages, steps, strict=True)
        for step in own
        if step.node.shape[:1] == (stage.rows,) and has_whole_blocks(stage, step)
    }
    for own in steps:
        for step in [each for each in own if each.function == "row_sum" and is_scalar(each.node)]:
            loop = owners.get(id(base_of(step.args[0])), own)
            if loop is not own:
                own.remove(step)
                loop.append(replace(step, function=SUM))
    for number, own in owners.items():
        others = [step for other in steps if other is not own for step in other]
        if number not in outputs | {id(used(each)) for step in others for each in step.args}:
            stored.discard(number)
    kept = [stage for stage, own in zip(stages, steps, strict=True) if own]
    return kept, [own for own in steps if own]


def has_whole_blocks(stage: Stage, step: Step) -> bool:
    """Return whether all tiles except the last have whole blocks. Then sums have a fixed order."""
    columns = stage.columns  # the rows of a tile are whole chunks of this many columns
    is_short = columns // math.gcd(columns, interface.CHUNK_BYTES // 8) <= WHOLE_CHUNKS
    are_whole = math.prod(step.node.shape[1:]) % math.gcd(columns, interface.CHUNK_BYTES // 4) == 0
    return is_short and are_whole and not step.once and step.function != "column_sum"


def steps_of_groups(stage: Stage, groups: Sequence[Sequence[Node]], stored: set[int]) -> list[Step]:
    """Return the steps of all groups, with a single step for each node.

    If several groups contain a node, the step of the first of these groups is kept.
    """
    found: dict[int, Step] = {}
    first = exact_nodes(groups[0])
    for group in groups:
        exact = exact_nodes(group)
        computed = (each for each in group if not is_source(each) and each.op not in DISCONTINUOUS)
        if any(id(each) in exact - first for each in computed):
            raise Untraceable("value and derivative round the same intermediate result differently")
        for step in steps_of(stage.only(group), stored, exact):
            found.setdefault(id(step.node), step)
    return list(found.values())


def steps_of(stage: Stage, stored: set[int], exact: set[int]) -> list[Step]:
    # `stored` and `exact` are the ids of nodes with arrays, and of `exact_nodes`.
    steps = [Step(node, node.op, node.args, True) for node in stage.once]
    steps += [Step(node, node.op, node.args, False) for node in stage.nodes]
    steps = with_inverses(without_copies(steps, stored), exact)
    return joined(steps, stored, exact)


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
        if step.function in (*REDUCTIONS, graph.JOINED, graph.CONTRACTED)
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
    """Return whether `argument` copies a slice, and the step can't read the slice directly."""
    kind = kind_of_input(argument.shape, domain_of(step.node, argument))
    is_slice = argument.op == "copy" and base_of(argument.args[0]).op == "columns"
    return is_slice and kind not in (interface.MATRIX, interface.ROW_VECTOR)


def with_inverses(steps: Sequence[Step], exact: set[int]) -> list[Step]:
    """Multiply by 1 / x instead of dividing by x, if x is a number known before the loop."""
    # If 1 / x is subnormal, the kernel stops treating subnormal numbers as zero.
    numbers = [step for step in steps if step.once]
    known = {id(step.node) for step in numbers}
    in_loop = {id(step.node) for step in steps if not step.once}
    inverses, others = dict[int, Node](), []
    for step in steps[len(numbers) :]:
        divisor = step.args[-1]
        # Numbers of earlier loops, but not the sum of an only row: short rows of other batches are
        # divided, too.
        is_given = id(divisor) in known or used(divisor).op == ARRAY
        shape = step.node.shape
        is_number = is_given or len(divisor.shape) < len(shape) or math.prod(shape[:1]) > 1
        is_known = is_number and is_scalar(divisor) and id(used(divisor)) not in in_loop
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


def joined(steps: Sequence[Step], stored: set[int], exact: set[int]) -> list[Step]:
    """Join two steps, such as p = x * y and p + z, if only the second step reads the result p.

    A second step whose node is in `exact` (ids) stays separate, since joining changes rounding.
    """
    uses = Counter(id(used(each)) for step in steps for each in step.args)
    result: dict[int, Step] = {}
    products = dict[int, str]()
    for step in steps:
        free = [
            first
            if (first := result.get(id(each))) is not None
            and first.once == step.once
            and uses[id(each)] == 1
            and id(each) not in stored
            and (first.once or math.prod(each.shape) == math.prod(step.node.shape))
            else None
            for each in step.args
        ]
        for position, first in enumerate(free if id(step.node) not in exact else ()):
            if first is None:
                continue
            name = products.get(id(first.node), first.function)
            if (function := JOINED.get((name, step.function, position))) is not None:
                result.pop(id(first.node))
                others = step.args[:position] + step.args[position + 1 :]
                step = replace(step, function=function, args=(*first.args, *others))
                break
        if step.function == "multiply":
            names = [products.get(id(one.node), one.function) for one in free if one]
            factors = [PRODUCTS[name] for name in names if name in PRODUCTS]
            products |= {id(step.node): factors[0]} if factors else {}
        result[id(step.node)] = step
    return list(result.values())


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
