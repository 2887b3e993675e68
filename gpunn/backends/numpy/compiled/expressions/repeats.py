"""Copies that chains make: one number for each row, repeated for all columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from gpunn.backends.numpy.compiled import interface
from gpunn.backends.numpy.compiled.expressions.steps import Step, kind_of_input
from gpunn.backends.numpy.compiled.interface import (
    BLOCK_BYTES,
    CHAINED,
    CHUNK_BYTES,
    OPERATION_BYTES,
    WORD_BYTES,
)
from gpunn.backends.numpy.compiled.library import loaded_library
from gpunn.expressions import ARRAY, Node, base_of, used
from gpunn.expressions.stages import domain_of
from gpunn.typing import Shape

LONGEST_VECTOR = BLOCK_BYTES // 2


def with_repeats(steps: Sequence[Step]) -> list[Step]:
    """Before chained steps, insert steps that repeat arguments with one number per row."""
    result, columns = list[Step](), dict[int, Node]()

    def copied(argument: Node, shape: Shape) -> Node:
        node = Node("copy", (argument,), shape, "float")
        result.append(Step(node, "copy", (argument,), False))
        return node

    def replaced(step: Step, argument: Node) -> Node:
        domain = domain_of(step.node, argument)
        if kind_of_input(argument.shape, domain) == interface.ROW_VECTOR and not is_plain(argument):
            if id(argument) not in columns:
                columns[id(argument)] = copied(argument, argument.shape)
            argument = columns[id(argument)]
        is_argument = step.function != "copy" and is_repeated(argument, domain)
        return copied(argument, domain) if is_argument else argument

    for step in steps:
        is_chained = step.function in CHAINED and not step.once
        args = [replaced(step, each) if is_chained else each for each in step.args]
        result.append(replace(step, args=tuple(args)))
    return result


def is_plain(argument: Node) -> bool:
    base = base_of(argument)
    return base is used(argument) and (base.op, base.kind) != (ARRAY, "int")


def is_repeated(argument: Node, domain: Shape) -> bool:
    """Return whether a chain repeats `argument` in all columns of `domain`."""
    return kind_of_input(argument.shape, domain) == interface.ROW_VECTOR and is_plain(argument)


def has_one_each(columns: int, itemsize: int) -> bool:
    return columns * itemsize % LONGEST_VECTOR == 0


@lru_cache(maxsize=256)
def table_of(rows: int, columns: int, itemsize: int) -> np.ndarray:
    """Return a table for repeating each of `rows` numbers `columns` times.

    The repeated numbers fill vectors, and the table has an entry for each vector. An entry begins
    with the index of the first word to read. Then, for each word of the vector, the entry has the
    distance from the first word to the word to read. If each vector repeats a single number,
    entries have no distances.
    """
    words, lanes = itemsize // WORD_BYTES, loaded_library().vectors.size // WORD_BYTES
    numbers = np.arange(rows).repeat(columns)[:, None]
    flat = (numbers * words + np.arange(words)).ravel()
    read = np.pad(flat, (0, -len(flat) % (CHUNK_BYTES // WORD_BYTES)), "edge").reshape(-1, lanes)
    begin = read.min(axis=1, keepdims=True)
    entries = [begin.view(np.uint8), (read - begin).astype(np.uint8)]
    found = np.hstack(entries[:1] if has_one_each(columns, itemsize) else entries).ravel()
    found = np.pad(found, (0, -len(found) % OPERATION_BYTES))
    return found.reshape(-1, OPERATION_BYTES).view(np.int64)
