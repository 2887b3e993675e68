"""The minimum cost of each operation of a training step: bytes moved and arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from unittest.mock import patch

from gpunn.activations import Identity
from gpunn.backends import Backend
from gpunn.backends.recording import Arguments, Operation, arguments_of

BANDWIDTH = 3.3e12
"""Bytes a second of an H100 SXM's memory (NVIDIA, H100 Tensor Core GPU data sheet: 3.35 TB/s)."""

ARITHMETIC = {"float32": 60e12, "tf32": 494e12, "bfloat16": 989e12, "float16": 989e12}
"""Operations a second of products. The same data sheet has 67 TFLOP/s in float32; for the tensor
cores these numbers are half of its values for sparse matrices."""


class Cost(NamedTuple):
    """Bytes to read and write, each array once, and the additions and multiplications."""

    bytes: int
    operations: int

    def minimum_seconds(self, precision: str = "float32") -> float:
        """Return the minimum time on an H100 with this precision of products."""
        return max(self.bytes / BANDWIDTH, self.operations / ARITHMETIC[precision])


def nbytes(*arrays: Any) -> int:
    """Return the bytes of distinct arrays; None counts as 0."""
    return sum({id(each): each.nbytes for each in arrays if each is not None}.values())


# Each function has the name of an operation and receives its arguments.


def next_batch(given: Any) -> Cost:
    rows = len(given.outs[0])
    read = sum(rows * source.nbytes // len(source) for source in given.sources)
    counted = 2 * nbytes(given.start, given.passes)
    return Cost(read + nbytes(*given.outs, given.order[:rows]) + counted, 0)


def dense(given: Any) -> Cost:
    moved = nbytes(given.x, given.weights, given.bias, given.z, given.out)
    return Cost(moved, 2 * len(given.x) * given.weights.size)


def dense_gradient(given: Any) -> Cost:
    product = 2 * len(given.x) * given.weights.size
    output = None if isinstance(given.activation, Identity) else given.output
    gradients = given.gradient, given.weight_gradient, given.bias_gradient
    moved = nbytes(given.x, output, *gradients)
    if given.input_gradient is None:
        return Cost(moved, product)
    return Cost(moved + nbytes(given.weights, given.input_gradient), 2 * product)


def loss(given: Any) -> Cost:
    read = nbytes(given.predictions, given.targets, given.weights, given.normalizer)
    return Cost(read + nbytes(given.gradient) + 2 * nbytes(given.loss_sum), 0)


def counted_update(given: Any) -> Cost:
    counters = given.position, given.updates, given.weight_sum, given.finite_steps
    changed = nbytes(*counters, given.values, *given.slots.values())
    rates = 2 * nbytes(given.rate)  # read from the table, and written to the rate
    return Cost(2 * changed + rates + nbytes(given.weight, given.loss_sum, given.gradients), 0)


LEDGER: dict[str, Callable[[Any], Cost]] = {
    each.__name__: each for each in (next_batch, dense, dense_gradient, loss, counted_update)
}
"""The operations of a step of `Dense` layers with SGD or Adam."""


class Call(NamedTuple):
    """An operation of a step, its arguments as a namespace, and its cost."""

    operation: Operation
    given: Arguments
    cost: Cost

    def rewind(self, backend: Backend) -> None:
        """Reset the operation's position in the order of rows, or in the learning rates, to 0."""
        for counter in ("start", "position"):
            if hasattr(self.given, counter):
                backend.fill(getattr(self.given, counter), 0)


def calls_of_an_update(backend: Backend, fit: Callable[[], object]) -> list[Call]:
    """Return the operations of an update, as `fit` records them."""
    with patch.object(backend, "lower", wraps=backend.lower) as lower:
        fit()
    calls = []
    for operation in lower.call_args.args[0]:
        given = arguments_of(backend, operation)
        for group in [*vars(given).values()]:  # named tuples of counters and trained vectors
            vars(given).update(getattr(group, "_asdict", dict)())
        calls.append(Call(operation, given, LEDGER[operation.name](given)))
    return calls
