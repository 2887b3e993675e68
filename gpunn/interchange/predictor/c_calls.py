"""The steps of a network as C function calls, and the buffers between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from gpunn.interchange.expressions.loops import is_in_place
from gpunn.interchange.expressions.names import Printed
from gpunn.interchange.predictor.c_text import Functions, number_source
from gpunn.interchange.steps import SAME, ArrayName, Step, Steps, image_sizes

VIEWS, JOINS = ("flatten", SAME), ("concatenate", "stack")
COPIES = ("columns", *JOINS)


def calls_one_of(step: Step, functions: Sequence[str]) -> bool:
    return step.expression is None and step.function in functions


def may_overwrite(step: Step) -> bool:
    if step.expression is not None:
        return is_in_place(step.expression)
    return step.kind.c_sizes is None and step.function not in COPIES


def store_sizes(steps: Steps) -> None:
    for number, step in enumerate(steps.steps):
        steps.label = step.label
        arguments = [
            steps.array("sizes", np.ravel(image_sizes(each)), "int32")
            if isinstance(each, tuple)
            else each
            for each in step.arguments
        ]
        steps.steps[number] = replace(step, arguments=tuple(arguments))


@dataclass(frozen=True)
class CNetwork:
    arrays: Mapping[str, np.ndarray]
    functions: Sequence[str]
    calls: Sequence[str]
    buffers: Sequence[int]
    element: str
    local_numbers: int = 0
    """Maximum number of elements of a function's local arrays."""


@dataclass
class Value:
    size: int
    last_use: int
    buffer: int | None = None


@dataclass
class Buffers:
    sizes: list[int]
    free: list[int]

    def take(self, size: int) -> int:
        if not self.free:
            self.sizes.append(size)
            return len(self.sizes) - 1
        # Use the smallest buffer that is large enough; if there is none, enlarge the largest.
        large = [number for number in self.free if self.sizes[number] >= size]
        smallest = min(large, key=lambda number: self.sizes[number], default=None)
        chosen = max(self.free, key=lambda n: self.sizes[n]) if smallest is None else smallest
        self.free.remove(chosen)
        self.sizes[chosen] = max(size, self.sizes[chosen])
        return chosen


def calls_of(
    steps: Steps, names: Mapping[str, str], functions: Functions, printed: Printed
) -> tuple[list[str], list[int]]:
    sequence = [step for step in steps.steps if not calls_one_of(step, VIEWS)]
    values, reads, last = values_of(steps)
    buffers = Buffers([], [])
    lines: list[str] = []
    for number, step in enumerate(sequence):
        inputs, output = [values[each] for each in reads[number]], values[number + 1]
        dying = {value.buffer for value in inputs if value.last_use == number} - {None}
        first = inputs[0].buffer
        if may_overwrite(step) and first is not None and first in dying:
            output.buffer = first
            buffers.sizes[first] = max(output.size, buffers.sizes[first])
        else:
            output.buffer = buffers.take(output.size)
        lines += call_lines(step, inputs, f"b{output.buffer}", names, functions, printed)
        buffers.free += [each for each in dying if each is not None and each != output.buffer]
    lines.append(f"{functions.name('copy')}({location_of(last)}, {last.size}, output);")
    return lines, buffers.sizes


def values_of(steps: Steps) -> tuple[list[Value], list[list[int]], Value]:
    first = steps.steps[0].input_shape if steps.steps else steps.shapes["x"]
    values = [Value(math.prod(first), -1)]
    current, reads = {"x": 0}, list[list[int]]()
    for step in steps.steps:
        used = [current[each] for each in step.inputs]
        if calls_one_of(step, VIEWS):
            current[step.output] = used[0]
            continue
        for each in used:
            values[each].last_use = len(reads)
        reads.append(used)
        values.append(Value(math.prod(step.output_shape), -1))
        current[step.output] = len(values) - 1
    last = values[current["x"]]
    last.last_use = len(reads)
    return values, reads, last


def location_of(value: Value) -> str:
    return "input" if value.buffer is None else f"b{value.buffer}"


def call_lines(
    step: Step,
    values: Sequence[Value],
    output: str,
    names: Mapping[str, str],
    functions: Functions,
    printed: Printed,
) -> list[str]:
    inputs = [location_of(value) for value in values]
    size = math.prod(step.output_shape)
    if calls_one_of(step, ["columns"]):
        start = step.arguments[0]
        return [f"{functions.name('copy')}({inputs[0]} + {start}, {size}, {output});"]
    if calls_one_of(step, JOINS):
        count, width = math.prod(step.input_shape[:-1]), step.output_shape[-1]
        starts = accumulate((value.size // count for value in values), initial=0)
        copies = [
            (location, value.size // count, f"{output} + {start}")
            for location, value, start in zip(inputs, values, starts, strict=False)
        ]
        name = functions.name("copy")
        if count == 1:
            return [f"{name}({location}, {n}, {to});" for location, n, to in copies]
        loop = f"for (int k = 0; k < {count}; k++)"
        return [
            f"{loop} {name}({location} + {n} * k, {n}, {to} + {width} * k);"
            for location, n, to in copies
        ]
    arguments = [
        names[each.name] if isinstance(each, ArrayName) else number_source(each, functions.real)
        for each in step.arguments
        if not isinstance(each, tuple)  # `store_sizes` has replaced them
    ]
    sizes = (size,) if step.kind.c_sizes is None else step.kind.c_sizes(step)
    every = ", ".join([*inputs, *map(str, sizes), *arguments, output])
    if step.expression is not None:
        name = printed.name(step.function, step.expression)
        return [f"{functions.prefix}_{name}({every});"]
    return [f"{functions.name(step.function)}({every});"]
