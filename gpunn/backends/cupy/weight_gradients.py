"""Compute gradients of weights on a second branch (lane) of a training step's graph.

A later operation waits for the lane only if it may read or write an array that the lane writes, or
write an array that the lane reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpunn.backends.base import Backend
from gpunn.backends.collective import Lane
from gpunn.backends.cupy.branches import Branch, JoinedBranch
from gpunn.backends.cupy.kernels.raw import Calls
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.recording import Operation, Trace, arguments_of, arrays_in
from gpunn.typing import Array

NORMALIZED = ("normalized", "inverse_std", "scale")
LAYER = ("x", "weights", "z", "output")

READ_ONLY = {
    "accumulate": ("values",),
    "activation_gradient": ("z", "output"),
    "activation_scale_gradient": ("z", "output", "x", "factors"),
    "assign": ("values",),
    "average_pool": ("x",),
    "average_pool_gradient": ("gradient",),
    "batch_norm_gradient": ("x", "mean", "inverse_std", "scale"),
    "compute": ("inputs",),
    "convolution_inputs": ("gradient", "weights"),
    "convolution_weights": ("x", "gradient"),
    "copy_columns": ("source",),
    "dense_gradient": LAYER,
    "dropout": ("x",),
    "dropout_activation_gradient": ("z", "output"),
    "dropout_activation_scale_gradient": ("z", "output", "x", "factors"),
    "group_matmul": ("a", "b"),
    "layer_norm_activation_gradient": ("z", "output", *NORMALIZED),
    "layer_norm_gradient": NORMALIZED,
    "matmul": ("a", "b"),
    "max_pool_gradient": ("x", "output", "gradient"),
    "multiply_channels": ("x", "factors"),
    "parametric_activation_gradient": ("x", "alpha"),
    "scale_gradient": ("x", "factors", "gradient"),
}
"""Operations that may run concurrently with the lane, and the arguments that they only read."""


class WeightGradient:
    def __init__(
        self, call: Callable[[], object], reads: Sequence[Array], writes: Sequence[Array]
    ) -> None:
        self._call, self.reads, self.writes = call, [*reads], [*writes]

    def __call__(self) -> None:
        self._call()


def with_branch(
    trace: Trace, backend: Backend, lowered: Callable[[Operation], Calls], scratch: Scratch
) -> Calls:
    # A gradient without concurrent operations stays outside the branch.
    lane, calls = Lane(), list[Callable[[], object]]()
    pending: list[WeightGradient] = []
    for one, following in zip(trace, [*trace[1:], None], strict=True):
        own = lowered(one)
        if rescales(one, backend, pending):
            calls.append(Branch(lane, own, scratch))
            continue
        if pending and not independent(one, backend, pending):
            calls.append(JoinedBranch(lane))
            pending.clear()
        for call in own:
            if (
                isinstance(call, WeightGradient)
                and one.name in READ_ONLY
                and (
                    independent(following, backend, [call])
                    if call is own[-1]
                    else keeps_operands(one, backend, call)
                )
            ):
                pending.append(call)
                calls.append(Branch(lane, [call], scratch))
            else:
                calls.append(call)
    if pending:
        calls.append(JoinedBranch(lane))
    return calls


def keeps_operands(one: Operation, backend: Backend, call: WeightGradient) -> bool:
    input_gradient = arguments_of(backend, one).input_gradient
    return not any(backend.overlap(input_gradient, operand) for operand in call.reads)


def rescales(one: Operation, backend: Backend, pending: Sequence[WeightGradient]) -> bool:
    written = {id(array) for product in pending for array in product.writes}
    used = {id(array) for array in arrays_in((one.args, one.kwargs))}
    return one.name == "rescale" and backend.is_builtin(one) and used <= written


def independent(one: Operation | None, backend: Backend, pending: Sequence[WeightGradient]) -> bool:
    if one is None or one.name not in READ_ONLY or not backend.is_builtin(one):
        return False
    for name, value in vars(arguments_of(backend, one)).items():
        for product in pending:
            used = product.writes if name in READ_ONLY[one.name] else product.reads + product.writes
            if any(backend.overlap(own, other) for own in arrays_in(value) for other in used):
                return False
    return True
