"""What a training step asks of a GPU: its operations, as it asks for them, and what each costs.

The operations are written down while a real training step runs, either on the CUDA backend, to be
timed, or on one that computes nothing, to be counted on paper. From their arrays follow the kernels
that they take, the bytes these have to read and write, their arithmetic, and the least time of
each on an H100.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import array_api_compat.numpy
import numpy as np

import gpunn
from gpunn.activations import Identity, ReLU
from gpunn.backends import Backend
from gpunn.configurable import resolve
from gpunn.data.batches import DeviceRows
from gpunn.training.step import TrainStep

BANDWIDTH = 3.3e12
"""Bytes a second of an H100 SXM's memory (NVIDIA, H100 Tensor Core GPU data sheet: 3.35 TB/s)."""

ARITHMETIC = {"float32": 60e12, "tf32": 494e12, "bfloat16": 989e12, "float16": 989e12}
"""Operations a second of products (the same data sheet: 67 TFLOP/s in float32, and of its tensor
cores half of what it gives for sparse matrices)."""

MULTIPROCESSORS = 132
"""Of an H100 SXM."""

EAGER, IN_A_GRAPH = 2.5e-6, 1e-6
"""Seconds from one kernel's beginning to the next one's, at the least, for kernels that do nothing:
launched by the host from C, and within a graph. Python adds to the first."""

TILE_SIDES = (128, 64)
"""Rows, or columns, of a product that a block of threads does, where it has so many."""

SMALLEST_SPLIT = 64
"""Terms of a product's sums that a block does at the least, where blocks share them."""


# -------------------------------------------------------------------- what a step asks for


@dataclass(frozen=True)
class Call:
    """An operation that a step asked for.

    Attributes
    ----------
    operation : str
    given : mapping
        Its arguments, by the names of its parameters.
    again : callable
        Does it once more.
    """

    operation: str
    given: Mapping[str, Any]
    again: Callable[[], Any]


TRANSFERS = {"copy_from_host", "copy_to_host", "release_memory", "synchronize"}
NOT_COMPUTING = TRANSFERS | {"restore_algorithms"}

OPERATIONS = sorted(
    name
    for name, method in vars(Backend).items()
    if not name.startswith("_")
    and callable(method)
    and inspect.signature(method).return_annotation == "None"
    and name not in NOT_COMPUTING
)
"""Those of the interface: what gives nothing back, but works on arrays of the device."""

FUSED_PRODUCT = "_fused_product"
"""What the CUDA backend's `dense` and `dense_gradient` ask cuBLASLt by."""


@contextmanager
def recorded_calls(backend: Backend) -> Iterator[list[Call]]:
    """Write down the operations asked of a backend, of those that consist of others only these."""
    calls: list[Call] = []

    def watched(name: str) -> Callable[..., Any]:
        operation = getattr(backend, name)
        signature = inspect.signature(operation)

        def watch(*arguments: Any, **options: Any) -> Any:
            before = len(calls)
            result = operation(*arguments, **options)
            # A fused product gives False where it was refused.
            if len(calls) == before and result is not False:
                given = signature.bind(*arguments, **options).arguments
                again = functools.partial(operation, *arguments, **options)
                calls.append(Call(name.lstrip("_"), given, again))
            return result

        return watch

    names = [*OPERATIONS, *([FUSED_PRODUCT] if hasattr(backend, FUSED_PRODUCT) else [])]
    own = {name: vars(backend)[name] for name in names if name in vars(backend)}
    watches = {name: watched(name) for name in names}
    vars(backend).update(watches)
    try:
        yield calls
    finally:
        for name in watches:
            del vars(backend)[name]
        vars(backend).update(own)


class Paper(Backend):
    """A backend that computes nothing, and asks itself for what the CUDA backend would."""

    def __init__(self) -> None:
        super().__init__(array_api_compat.numpy, None, "paper")
        for name in OPERATIONS:
            if name not in vars(Paper):
                setattr(self, name, silent(getattr(self, name)))

    def _fused_product(
        self,
        a: Any,
        b: Any,
        out: Any,
        epilogue: str,
        vector: Any = None,
        *,
        transpose_a: bool = False,
    ) -> bool:
        return True

    def dense(self, x: Any, weights: Any, bias: Any, activation: Any, z: Any, out: Any) -> None:
        if isinstance(activation, Identity | ReLU):
            self._fused_product(x, weights, out, "bias", bias)
        else:
            super().dense(x, weights, bias, activation, z, out)

    def dense_gradient(
        self,
        x: Any,
        weights: Any,
        activation: Any,
        z: Any,
        output: Any,
        gradient: Any,
        weight_gradient: Any,
        bias_gradient: Any,
        input_gradient: Any,
    ) -> None:
        if isinstance(activation, Identity) and bias_gradient is not None:
            self._fused_product(
                x, gradient, weight_gradient, "bias gradient", bias_gradient, transpose_a=True
            )
            if input_gradient is not None:
                self.matmul(gradient, weights, input_gradient, transpose_b=True)
        else:
            given = x, weights, activation, z, output, gradient
            super().dense_gradient(*given, weight_gradient, bias_gradient, input_gradient)


def silent(operation: Callable[..., None]) -> Callable[..., None]:
    """Return a function with the same parameters that does nothing."""

    @functools.wraps(operation)
    def nothing(*arguments: Any, **options: Any) -> None:
        pass

    return nothing


@dataclass
class Rehearsed:
    """A training step of a ReLU network, that may be done again and again.

    Parameters
    ----------
    backend : Backend
    sizes : sequence of int
        Widths of all layers, inputs and outputs included.
    batch : int
    optimizer : Optimizer or str
    times : int
        How many steps may follow each other before `rewind`.
    X, y : ndarray
        Rows to train on, at least `batch`; zeros if not given.
    """

    backend: Backend
    sizes: Sequence[int]
    batch: int
    optimizer: Any = "adam"
    times: int = 1
    X: np.ndarray | None = None
    y: np.ndarray | None = None

    def __post_init__(self) -> None:
        ops, batch = self.backend, self.batch
        hidden = [gpunn.layers.Dense(units, "relu") for units in self.sizes[1:-1]]
        layers = [*hidden, gpunn.layers.Dense(self.sizes[-1])]
        model = gpunn.Sequential(layers, self.sizes[0], ops, seed=0)
        loss = gpunn.losses.SoftmaxCrossEntropy()
        optimizer = resolve(gpunn.optimizers.Optimizer, self.optimizer, "optimizer")
        self.step = TrainStep(model, loss, optimizer, [], batch)
        X = np.zeros((batch, self.sizes[0]), np.float32) if self.X is None else self.X
        y = np.zeros(batch, np.int64) if self.y is None else self.y
        order = np.arange(batch * self.times) % len(X)
        on_device = ops.from_host(X), ops.from_host(y), None, ops.from_host(order)
        self._rows = DeviceRows(*on_device, len(order))
        self.rewind()

    def rewind(self) -> None:
        """Begin with the first of the rows again."""
        self.step.load(self._rows)
        self.step.load_rates(np.full(self.times, 1e-3, np.float32))

    def calls(self) -> list[Call]:
        """Do a step, and return the operations that it asked for."""
        with recorded_calls(self.backend) as calls:
            self.step.update(self.batch)
        return calls


# ------------------------------------------------------------------------- what they cost


@dataclass(frozen=True)
class Kernel:
    """One launch.

    Attributes
    ----------
    operation : str
    bytes : int
        To read and to write, if each array came from memory once.
    shape : tuple of int or None
        Rows, columns and terms of a product.
    """

    operation: str
    bytes: int
    shape: tuple[int, int, int] | None = None

    @property
    def operations(self) -> int:
        """Additions and multiplications of a product."""
        return 0 if self.shape is None else 2 * math.prod(self.shape)

    def least_seconds(self, precision: str = "float32") -> float:
        """Return the least time between two others in a graph."""
        work = self.bytes / BANDWIDTH
        if self.shape is not None:
            work = max(work, product_seconds(self.shape, precision))
        return IN_A_GRAPH + work


def product_seconds(shape: tuple[int, int, int], precision: str = "float32") -> float:
    """Return the least time of a product in the best of some ways to divide it into blocks.

    A block does a tile of the result on one multiprocessor, and all blocks take equally long. Where
    they don't fill the multiprocessors, several can share the terms of a tile; another kernel then
    adds up what they found.
    """
    rows, columns, terms = shape
    found = []
    for height in sides(rows):
        for width in sides(columns):
            tiles = math.ceil(rows / height) * math.ceil(columns / width)
            split = 1
            while split == 1 or terms / split >= SMALLEST_SPLIT:
                waves = math.ceil(tiles * split / MULTIPROCESSORS)
                operations = 2 * height * width * math.ceil(terms / split)
                seconds = waves * operations * MULTIPROCESSORS / ARITHMETIC[precision]
                found.append(seconds + (IN_A_GRAPH if split > 1 else 0))
                split += 1
    return min(found)


def sides(length: int) -> tuple[int, ...]:
    """Return sides of tiles: powers of 2, and no larger ones than are needed."""
    enough = 1 << (length - 1).bit_length()
    return tuple(sorted({min(side, enough) for side in TILE_SIDES}))


def nbytes(*arrays: Any) -> int:
    return sum(array.nbytes for array in arrays if array is not None)


def next_batch(
    sources: Sequence[Any], order: Any, start: Any, outs: Sequence[Any], passes: Any
) -> list[Kernel]:
    rows = outs[0].shape[0]
    each = sum(math.prod(source.shape[1:]) * source.dtype.itemsize for source in sources)
    counted = 2 * nbytes(start, passes)
    return [Kernel("next_batch", rows * each + nbytes(*outs, order[:rows]) + counted)]


def fused_product(
    a: Any, b: Any, out: Any, epilogue: Any, vector: Any = None, transpose_a: bool = False
) -> list[Kernel]:
    return [product(a, b, out, transpose_a, vector)]


def matmul(
    a: Any, b: Any, out: Any, transpose_a: bool = False, transpose_b: bool = False
) -> list[Kernel]:
    return [product(a, b, out, transpose_a)]


def product(a: Any, b: Any, out: Any, transpose_a: bool, vector: Any = None) -> Kernel:
    terms = a.shape[0 if transpose_a else 1]
    return Kernel("matmul", nbytes(a, b, out, vector), (*out.shape, terms))


def activation_gradient(
    activation: Any, z: Any, output: Any, gradient: Any, bias_gradient: Any
) -> list[Kernel]:
    # ReLU's derivative needs z or the output, which are one array.
    return [Kernel("activation_gradient", nbytes(output, gradient, gradient, bias_gradient))]


def loss(
    loss: Any,
    predictions: Any,
    targets: Any,
    weights: Any,
    normalizer: Any,
    gradient: Any,
    loss_sum: Any,
) -> list[Kernel]:
    given = nbytes(predictions, targets, weights, normalizer, gradient)
    return [Kernel("loss", given + 2 * loss_sum.nbytes)]


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
    slots: Mapping[str, Any],
    decayed: int,
) -> list[Kernel]:
    changed = nbytes(position, updates, weight_sum, finite_steps, values, *slots.values())
    one_of_the_rates = rate.nbytes
    given = nbytes(rate, weight, loss_sum, gradients) + one_of_the_rates
    return [Kernel("counted_update", given + 2 * changed)]


COSTS: dict[str, Callable[..., list[Kernel]]] = {
    each.__name__: each
    for each in (
        *(next_batch, fused_product, matmul),
        *(activation_gradient, loss, counted_update),
    )
}


def kernels_of(call: Call) -> list[Kernel]:
    """Return the launches of an operation."""
    if call.operation not in COSTS:
        raise LookupError(f"no cost is known of {call.operation!r}; add it to {__file__}")
    return COSTS[call.operation](**call.given)


def kernels_of_a_step(sizes: Sequence[int], batch: int, optimizer: Any = "adam") -> list[Kernel]:
    """Return the launches of a step of a ReLU network with softmax cross-entropy."""
    calls = Rehearsed(Paper(), sizes, batch, optimizer).calls()
    return [kernel for call in calls for kernel in kernels_of(call)]
