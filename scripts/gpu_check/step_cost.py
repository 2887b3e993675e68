"""The operations of a training step, and the minimum cost of some: bytes and arithmetic."""

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
    return sum({id(each): each.nbytes for each in arrays if each is not None}.values())


# Each function has the name of an operation and receives its arguments.


def next_batch(arguments: Any) -> Cost:
    rows = len(arguments.outs[0])
    read = sum(rows * source.nbytes // len(source) for source in arguments.sources)
    counted = 2 * nbytes(arguments.start, arguments.passes)
    return Cost(read + nbytes(*arguments.outs, arguments.order[:rows]) + counted, 0)


def dense(arguments: Any) -> Cost:
    moved = nbytes(arguments.x, arguments.weights, arguments.bias, arguments.z, arguments.out)
    return Cost(moved, 2 * len(arguments.x) * arguments.weights.size)


def dense_gradient(arguments: Any) -> Cost:
    product = 2 * len(arguments.x) * arguments.weights.size
    output = None if isinstance(arguments.activation, Identity) else arguments.output
    gradients = arguments.gradient, arguments.weight_gradient, arguments.bias_gradient
    moved = nbytes(arguments.x, output, *gradients)
    if arguments.input_gradient is None:
        return Cost(moved, product)
    return Cost(moved + nbytes(arguments.weights, arguments.input_gradient), 2 * product)


def matmul(arguments: Any) -> Cost:
    moved = nbytes(arguments.a, arguments.b, arguments.out)
    return Cost(moved, 2 * arguments.a.size * arguments.out.shape[1])


def activation_gradient(arguments: Any) -> Cost:
    read = nbytes(arguments.output, arguments.gradient)
    return Cost(read + nbytes(arguments.gradient, arguments.bias_gradient), 0)


def loss(arguments: Any) -> Cost:
    read = nbytes(arguments.predictions, arguments.targets, arguments.weights, arguments.normalizer)
    return Cost(read + nbytes(arguments.gradient) + 2 * nbytes(arguments.loss_sum), 0)


def counted_update(arguments: Any) -> Cost:
    counters = arguments.position, arguments.updates, arguments.weight_sum, arguments.finite_steps
    changed = nbytes(*counters, arguments.values, *arguments.slots.values())
    rates = 2 * nbytes(arguments.rate)  # read from the table, and written to the rate
    read = nbytes(arguments.weight, arguments.loss_sum, arguments.gradients)
    return Cost(2 * changed + rates + read, 0)


def clipped_update(arguments: Any) -> Cost:
    clipped = counted_update(arguments)  # the norm needs the gradients once more
    return clipped._replace(bytes=clipped.bytes + nbytes(arguments.gradients))


LEDGER: dict[str, Callable[[Any], Cost]] = {
    each.__name__: each
    for each in (next_batch, dense, dense_gradient, matmul, activation_gradient, loss)
} | {"counted_update": counted_update, "clipped_update": clipped_update}
"""The operations of a step of `Dense` layers with SGD or Adam. Others have no known cost."""


class Call(NamedTuple):
    operation: Operation
    arguments: Arguments
    cost: Cost | None

    def rewind(self, backend: Backend) -> None:
        """Reset the operation's position in the order of rows, or in the learning rates, to 0."""
        for counter in ("start", "position"):
            if hasattr(self.arguments, counter):
                backend.fill(getattr(self.arguments, counter), 0)


def calls_of_an_update(backend: Backend, fit: Callable[[], object]) -> list[Call]:
    with patch.object(backend, "lower", wraps=backend.lower) as lower:
        fit()
    calls = []
    trace = lower.call_args.args[0]
    for operation in getattr(backend, "fused", list)(trace):
        arguments = arguments_of(backend, operation)
        for group in [*vars(arguments).values()]:  # named tuples of counters and trained vectors
            vars(arguments).update(getattr(group, "_asdict", dict)())
        cost = LEDGER.get(operation.name)
        calls.append(Call(operation, arguments, cost and cost(arguments)))
    return calls
