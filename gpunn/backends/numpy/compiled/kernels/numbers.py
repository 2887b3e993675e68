"""Embeddings of numbers: periodic and piecewise linear."""

from __future__ import annotations

import math
from typing import Any

from gpunn.backends.numpy.compiled.kernels.blocks import (
    block_of,
    block_size,
    load,
    maximum,
    minimum,
    multiply_add,
    store,
)
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, partition, vector
from gpunn.backends.numpy.compiled.kernels.mathematics import cos_of_turns, sin_of_turns
from gpunn.backends.numpy.compiled.kernels.pointers import integers

TURNS = 1 / (2 * math.pi)
"""Radians times this number are turns."""


@compiled
def turns_at(dtype: Any, number: Any, frequencies: int, phases: int, at: int, left: int) -> Any:
    frequency = load(dtype, frequencies, at, left)
    if phases == 0:
        return number * frequency
    return multiply_add(number, frequency, load(dtype, phases, at, left) * block_of(dtype, TURNS))


@kernel
def periodic(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x_ptr, frequencies, phases, out, rows, columns, waves = integers(args, 0, 7)
    x = vector(dtype, x_ptr, rows * columns)
    outputs = waves if phases != 0 else 2 * waves
    lanes = block_size(dtype)
    begin, end = partition(rows, 1, thread, threads)
    for row in range(begin, end):
        for column in range(columns):
            number = block_of(dtype, x[row * columns + column])
            start = (row * columns + column) * outputs
            for wave in range(0, waves, lanes):
                left = waves - wave
                turns = turns_at(dtype, number, frequencies, phases, column * waves + wave, left)
                store(cos_of_turns(turns), out, start + wave, left)
                if phases == 0:
                    store(sin_of_turns(turns), out, start + waves + wave, left)


@kernel
def periodic_gradient(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x_ptr, frequencies, phases, gradient, out, phases_out = integers(args, 0, 6)
    rows, columns, waves = integers(args, 6, 3)
    x = vector(dtype, x_ptr, rows * columns)
    outputs = waves if phases != 0 else 2 * waves
    lanes = block_size(dtype)
    begin, end = partition(columns, 1, thread, threads)
    for column in range(begin, end):
        for wave in range(0, waves, lanes):
            left, at = waves - wave, column * waves + wave
            total, phases_total = block_of(dtype, 0), block_of(dtype, 0)
            for row in range(rows):
                number = block_of(dtype, x[row * columns + column])
                turns = turns_at(dtype, number, frequencies, phases, at, left)
                start = (row * columns + column) * outputs + wave
                # The gradient of the cosine's argument, with the opposite sign.
                slope = load(dtype, gradient, start, left) * sin_of_turns(turns)
                if phases == 0:
                    more = load(dtype, gradient, start + waves, left)
                    slope = slope - more * cos_of_turns(turns)
                total = multiply_add(slope, number, total)
                phases_total = phases_total + slope
            store(total * block_of(dtype, -1 / TURNS), out, at, left)
            if phases_out != 0:
                store(phases_total * block_of(dtype, -1), phases_out, at, left)


@kernel
def piecewise_linear(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x_ptr, starts, slopes, lowest, highest, out, rows, columns, bins = integers(args, 0, 9)
    x = vector(dtype, x_ptr, rows * columns)
    lanes = block_size(dtype)
    begin, end = partition(rows, 1, thread, threads)
    for row in range(begin, end):
        for column in range(columns):
            position = row * columns + column
            number = block_of(dtype, x[position])
            for t in range(0, bins, lanes):
                left, at = bins - t, column * bins + t
                distance = number - load(dtype, starts, at, left)
                line = distance * load(dtype, slopes, at, left)
                line = maximum(line, load(dtype, lowest, at, left))
                line = minimum(line, load(dtype, highest, at, left))
                store(line, out, position * bins + t, left)
