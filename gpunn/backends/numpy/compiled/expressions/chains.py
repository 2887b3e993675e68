"""Chains: successive steps that the kernel computes for one chunk of numbers before the next chunk.

An operation gets the previous operation's result in registers, so the order of steps matters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product

from gpunn.backends.numpy.compiled.expressions.steps import SUM, Step
from gpunn.backends.numpy.compiled.interface import (
    ANY,
    KEPT,
    LAST,
    ONE_NUMBER,
    OPERATIONS,
    SYMMETRIC,
)
from gpunn.expressions import Node, base_of, used
from gpunn.expressions.graph import is_scalar
from gpunn.expressions.integers import BY_INTEGERS

COPIES = ("copy", *BY_INTEGERS)
"""Functions that copy numbers. Quotients and remainders are computed when integers are read."""

INDICES = {operation: index for index, operation in enumerate(OPERATIONS)}


def in_chains(steps: Sequence[Step], stored: set[int]) -> list[Step]:
    """Reorder steps, so that most steps read the result of the previous step."""
    uses = Counter(id(used(each)) for step in steps for each in step.args)
    left = {id(step.node): step for step in steps if not step.once}
    heights, slow, sums = dict[int, int](), set[int](), dict[int, list[int]]()
    for number, step in left.items():
        read = [id(used(each)) for each in step.args]
        heights[number] = 1 + max(heights.get(each, 0) for each in read)
        if step.function == SUM:
            sums.setdefault(id(base_of(step.args[0])), []).append(number)
        if step.function in ("sqrt", "divide") or not slow.isdisjoint(read):
            slow.add(number)

    def order(number: int) -> tuple[bool, bool, int]:
        # While the processor divides or takes roots, it can compute what does not depend on these.
        return number in slow, number in stored or uses[number] > 1, -heights[number]

    result = [step for step in steps if step.once]
    waiting = [number for number in left if number in stored or not uses[number]][::-1]
    waiting.sort(key=slow.__contains__)  # the last one is computed first
    while waiting:
        args = left[waiting[-1]].args if waiting[-1] in left else ()
        before = [one for one in dict.fromkeys(id(used(each)) for each in args) if one in left]
        # The first one is computed last: the longest of those that no other step reads.
        waiting += sorted(before, key=order)
        if not before and (number := waiting.pop()) in left:
            result.append(left.pop(number))
            result += [left.pop(each) for each in sums.get(number, ())]  # from registers
    return result


def readers_of(steps: Sequence[Step]) -> dict[int, list[int]]:
    """Map each node's id to the indices of the steps that read the node; x * x is one read."""
    result = dict[int, list[int]]()
    for k, step in enumerate(steps):
        for each in step.args[: 1 if is_square(step) else None]:
            result.setdefault(id(used(each)), []).append(k)
    return result


def is_square(step: Step) -> bool:
    return step.function == "multiply" and step.args[0] is step.args[1]


def operations_of(
    step: Step, last: Node | None, kept: Node | None
) -> list[tuple[int, Sequence[Node]]]:
    """Return the operations that compute a step, each as (index in OPERATIONS, arguments to load).

    The values of `last` and `kept` are already in registers.
    """

    def is_in(each: Node, registers: Node | None) -> bool:
        return used(each) is registers and base_of(each) is registers

    function, args = step.function, list(step.args)
    if function in COPIES:
        function, args = "copy", args[:1]
    elif is_square(step):
        function, args = "square", args[:1]
    is_last = [is_in(each, last) for each in args]
    if function in SYMMETRIC and not is_last[0] and (is_last[1] or is_scalar(args[0])):
        args[:2], is_last[:2] = args[1::-1], is_last[1::-1]
    kinds: list[tuple[str, ...]] = [
        (KEPT, ANY) if is_in(each, kept) else (ONE_NUMBER, ANY) if is_scalar(each) else (ANY,)
        for each in args
    ]
    if any(is_last):
        kinds[is_last.index(True)] = (LAST,)
    result, found = list[tuple[int, Sequence[Node]]](), found_kinds(function, kinds)
    if not found:
        result.append((INDICES["copy", ANY], args[:1]))
        found = found_kinds(function, [(LAST,), *kinds[1:]])
    read = [each for each, kind in zip(args, found, strict=True) if kind not in (LAST, KEPT)]
    return [*result, (INDICES[function, found], read)]


def found_kinds(function: str, kinds: Sequence[Sequence[str]]) -> str:
    """Return one kind for each argument, as a string, such that OPERATIONS has the function.

    `kinds` lists the possible kinds of each argument. If no combination fits, the result is "".
    """
    return next((each for each in map("".join, product(*kinds)) if (function, each) in INDICES), "")
