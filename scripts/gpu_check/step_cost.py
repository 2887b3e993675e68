"""The operations of a training step, and the least that each needs: bytes moved and arithmetic."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from gpunn.activations import Identity
from gpunn.backends import Backend

BANDWIDTH = 3.3e12
"""Bytes a second of an H100 SXM's memory (NVIDIA, H100 Tensor Core GPU data sheet: 3.35 TB/s)."""

ARITHMETIC = {"float32": 60e12, "tf32": 494e12, "bfloat16": 989e12, "float16": 989e12}
"""Operations a second of products (the same data sheet: 67 TFLOP/s in float32, and of its tensor
cores half of what it gives for sparse matrices)."""


class Cost(NamedTuple):
    """Bytes to read and to write, each array once, and additions and multiplications."""

    bytes: int
    operations: int

    def least_seconds(self, precision: str = "float32") -> float:
        """Return the least time on an H100, products being computed in this precision."""
        return max(self.bytes / BANDWIDTH, self.operations / ARITHMETIC[precision])


def nbytes(*arrays: Any) -> int:
    """Return the bytes of arrays, each once; None has none."""
    return sum({id(each): each.nbytes for each in arrays if each is not None}.values())


# Each function has the parameters of the operation it is named after.


def next_batch(
    sources: Sequence[Any], order: Any, start: Any, outs: Sequence[Any], passes: Any
) -> Cost:
    rows = len(outs[0])
    read = sum(rows * math.prod(source.shape[1:]) * source.dtype.itemsize for source in sources)
    return Cost(read + nbytes(*outs, order[:rows]) + 2 * nbytes(start, passes), 0)


def dense(x: Any, weights: Any, bias: Any, activation: Any, z: Any, out: Any) -> Cost:
    return Cost(nbytes(x, weights, bias, z, out), 2 * len(x) * weights.size)


def dense_gradient(
    x: Any,
    weights: Any,
    activation: Any,
    z: Any,
    output: Any,
    gradient: Any,
    weight_gradient: Any,
    bias_gradient: Any,
    input_gradient: Any,
) -> Cost:
    product = 2 * len(x) * weights.size
    used = [x, gradient, weight_gradient, bias_gradient]
    if not isinstance(activation, Identity):
        used.append(output)
    if input_gradient is None:
        return Cost(nbytes(*used), product)
    return Cost(nbytes(*used, weights, input_gradient), 2 * product)


def loss(loss: Any, predictions: Any, targets: Any, *others: Any) -> Cost:
    *read_or_written, loss_sum = others
    return Cost(nbytes(predictions, targets, *read_or_written) + 2 * loss_sum.nbytes, 0)


def counted_update(
    rates: Any,
    position: Any,
    rate: Any,
    updates: Any,
    weight: Any,
    loss_sum: Any,
    weight_sum: Any,
    finite_steps: Any,
    optimizer: Any,
    values: Any,
    gradients: Any,
    slots: Any,
    decayed: int,
) -> Cost:
    changed = nbytes(position, updates, weight_sum, finite_steps, values, *slots.values())
    read, one_of_the_rates = nbytes(weight, loss_sum, gradients), rate.nbytes
    return Cost(2 * changed + read + one_of_the_rates + rate.nbytes, 0)


LEDGER: dict[str, Callable[..., Cost]] = {
    each.__name__: each for each in (next_batch, dense, dense_gradient, loss, counted_update)
}
"""What a step of `Dense` layers with SGD or Adam consists of."""


class Call(NamedTuple):
    """An operation of the ledger that a step asked for.

    Attributes
    ----------
    operation : str
    arguments : tuple
    cost : Cost
    again : callable
        Does it once more.
    """

    operation: str
    arguments: tuple[Any, ...]
    cost: Cost
    again: Callable[[], None]

    def rewind(self, backend: Backend) -> None:
        """Set what it counts by back to 0: the position in the order of rows, or in the rates."""
        counter = {"next_batch": 2, "counted_update": 1}.get(self.operation)
        if counter is not None:
            backend.fill(self.arguments[counter], 0)


@contextmanager
def recorded_calls(backend: Backend) -> Iterator[list[Call]]:
    """Note the calls of operations of the ledger."""
    calls: list[Call] = []

    def noted(name: str) -> Callable[..., None]:
        operation = getattr(backend, name)
        signature = inspect.signature(operation)

        def note(*given: Any, **named: Any) -> None:
            operation(*given, **named)
            arguments = signature.bind(*given, **named).args
            again = functools.partial(operation, *arguments)
            calls.append(Call(name, arguments, LEDGER[name](*arguments), again))

        return note

    with patch.multiple(backend, **{name: noted(name) for name in LEDGER}):
        yield calls


def calls_of_an_update(backend: Backend, fit: Callable[[], object]) -> list[Call]:
    """Return the calls of the first update that `fit` does."""
    with recorded_calls(backend) as calls:
        fit()
    names = [call.operation for call in calls]
    return calls[names.index("next_batch") : names.index("counted_update") + 1]
