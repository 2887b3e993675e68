"""Optimizers: one kernel updates the vector of all parameters, including weight decay.

The rules are printed from the definitions in `gpunn.optimizers`. Each rule has three kernels. The
first kernel also counts the update. The second kernel also counts the update, and clips the
gradients. The third kernel runs after another kernel has counted the update, and changes nothing if
a flag is 0.

One thread of each block computes the numbers that all parameters share: the learning rate, and the
bias corrections of Adam. This computation costs no time, because the block waits for its parameters
from memory. A separate kernel, which computes the shared numbers once, would need another launch.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from gpunn.backends.cupy.kernels.functions import FUNCTIONS
from gpunn.backends.cupy.kernels.raw import NULL, Calls, raw_kernel
from gpunn.backends.cupy.kernels.sums import NORM, blocks_for, sum_of_squares
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.operations import Segment, Trained
from gpunn.backends.recording import Arguments

THREADS = 256
PER_THREAD = 4  # parameters of a thread, which loads all of them before it stores the first


@dataclass(frozen=True)
class Rule:
    """An optimizer's update rule in CUDA C++; its constants are kernel arguments of type T.

    `statements` update `value` and the slots of one parameter. Inputs are the parameter's gradient
    `g`, the learning rate `rate`, the constants, and the numbers in `once`. Each entry of `once` is
    the name and the expression of a number that is the same for all parameters. An expression may
    use the constants, `rate`, the integer `number` of the update (from 1), and earlier entries.
    `slots` are names in C++, in the order of the optimizer's slots.
    """

    name: str
    constants: tuple[str, ...]
    slots: tuple[str, ...]
    statements: str
    once: tuple[tuple[str, str], ...] = ()


def counted_update(op: Arguments, scratch: Scratch) -> None:
    (segment,) = merged_segments(op.trained)
    launch(COUNTED, (*op.counters, scratch.tickets(1)), op, segment)


def clipped_update(op: Arguments, scratch: Scratch) -> None:
    # The update's kernel computes the clipping factor from the norm's partial sums.
    (segment,) = merged_segments(op.trained)
    gradients = op.trained.gradients
    partials = sum_of_squares(gradients, scratch)
    limit = gradients.dtype.type(op.max_norm)
    arguments = *op.counters, scratch.tickets(1), partials, blocks_for(gradients.size), limit
    launch(CLIPPED, arguments, op, segment)


def updates(op: Arguments) -> Calls:
    arguments = getattr(op, "finite", NULL), op.learning_rate, op.step
    launched = partial(launch, CONDITIONAL, arguments, op)
    return [partial(launched, segment) for segment in merged_segments(op.trained)]


def counts(trained: Trained) -> bool:
    """Return whether a single launch updates all parameters. Such a launch can count updates.

    The learning rate's factor must be 1 for all parameters.
    """
    segments = merged_segments(trained)
    return len(segments) == 1 and segments[0].rate == 1


class MergedSegment(NamedTuple):
    """Parameters that one launch updates; the first `decayed` parameters have weight decay."""

    start: int
    stop: int
    rate: float
    decayed: int
    decay: float


def merged_segments(trained: Trained) -> list[MergedSegment]:
    merged: list[MergedSegment] = []
    for start, stop, rate, decay in trained.segments or [Segment(0, 0)]:
        last = merged[-1] if merged else None
        if last is not None and not decay and last.rate == rate:
            merged[-1] = last._replace(stop=stop)
        else:
            merged.append(MergedSegment(start, stop, rate, stop - start if decay else 0, decay))
    return merged


def launch(
    variant: Variant, arguments: tuple[Any, ...], op: Arguments, segment: MergedSegment
) -> None:
    """Launch an optimizer's kernel for a segment; each thread updates PER_THREAD values."""
    start, stop, factor, decayed, decay_factor = segment
    values, gradients, slots, _ = op.trained.part(start, stop)
    optimizer, (rule, constants) = op.optimizer, op.rule
    decay, size, T = optimizer.weight_decay, stop - start, values.dtype.type
    fixed = isinstance(decay, float)
    moving, number = (NULL, decay_factor * decay) if fixed else (decay, decay_factor)
    numbers = size, decayed if number else 0, T(factor), T(number), *map(T, constants)
    vectors = values, gradients, *(slots[name] for name in optimizer.slots), moving
    blocks = max(-(-size // (THREADS * PER_THREAD)), 1)  # a block counts even without parameters
    kernel = raw_kernel(*source(rule, variant), T=values.dtype)
    kernel((blocks,), (THREADS,), (*arguments, *vectors, *numbers))


@dataclass(frozen=True)
class Variant:
    """The parts of the C source that differ between the kernels of an optimizer.

    `rate` is a C expression for the learning rate, and `number` for the number of the update. Both
    expressions read the kernel's `parameters`. Each thread runs `first` before the update, `loaded`
    while the values arrive from memory, and `last` after the update. `clip` may change g, the
    gradient of value i. `gradients` is the C type of the gradients.
    """

    suffix: str
    parameters: str
    rate: str
    number: str
    first: str = ""
    last: str = ""
    loaded: str = ""
    clip: str = ""
    gradients: str = "const T*"


# Every block reads the counters, so only the last block may change them.
COUNTED = Variant(
    "",
    """const T* rates, long long* position, T* chosen_rate, long long* updates,
    const T* weight, const T* loss_sum, T* weight_sum, T* finite_steps, unsigned int* ticket""",
    "rates[position[0]]",
    "updates[0] + 1",
    last="""if (last_block(ticket, gridDim.x) && threadIdx.x == 0) {
    const long long at = position[0] + 1, count = updates[0] + 1;
    const T total = weight_sum[0] + weight[0], steps = finite_steps[0] + isfinite(loss_sum[0]);
    chosen_rate[0] = rate;
    position[0] = at;
    updates[0] = count;
    weight_sum[0] = total;
    finite_steps[0] = steps;
  }""",
)
# `sums` explains how each block gets the norm.
CLIPPED = replace(
    COUNTED,
    suffix="_clipped",
    parameters=COUNTED.parameters + ", const T* partials, long long parts, T limit",
    loaded=f"""{NORM}
  const bool clipped = norm > limit;  // false for NaN, which would stay in the padding
  const T shrink = limit / norm;""",
    clip="if (clipped) gradients[i] = g = product(g, shrink);",
    gradients="T*",
)
CONDITIONAL = Variant(
    "_if_finite",
    "const long long* finite, const T* learning_rate, const long long* step",
    "learning_rate[0]",
    "step[0]",
    first="if (finite && !finite[0]) return;",
)


@functools.cache
def source(rule: Rule, variant: Variant) -> tuple[str, str]:
    name = f"gpunn_{rule.name}{variant.suffix}"
    vectors = "".join(f", T* {slot}_slot" for slot in rule.slots)
    constants = "".join(f", T {constant}" for constant in rule.constants)
    weight_decay = "(moving_decay ? moving_decay[0] * decay : decay)"
    once = (("kept", f"1 - rate * {weight_decay}"), *rule.once)
    shared = "".join(
        f" const T {name} = {each}; once[{n}] = {name};" for n, (name, each) in enumerate(once, 1)
    )
    taken = "".join(f", {name} = once[{n}]" for n, (name, _) in enumerate(once, 1))
    held = "".join(f", old_{slot}[PER_THREAD]" for slot in rule.slots)
    loads = "".join(f" old_{slot}[k] = {slot}_slot[i];" for slot in rule.slots)
    state = "".join(f", {slot} = old_{slot}[k]" for slot in rule.slots)
    stores = "".join(f" {slot}_slot[i] = {slot};" for slot in rule.slots)
    text = f"""{FUNCTIONS}
enum {{ PER_THREAD = {PER_THREAD} }};
extern "C" __global__ void {name}(
    {variant.parameters},
    T* values, {variant.gradients} gradients{vectors},
    const T* moving_decay, long long size, long long decayed, T factor, T decay{constants}) {{
  __shared__ T once[{1 + len(once)}];
  {variant.first}
  const long long begin = (long long)blockIdx.x * PER_THREAD * blockDim.x + threadIdx.x;
  T old_g[PER_THREAD], old_value[PER_THREAD]{held};
  #pragma unroll
  for (int k = 0; k < PER_THREAD; ++k) {{
    const long long i = begin + k * blockDim.x;
    if (i < size) {{ old_g[k] = gradients[i]; old_value[k] = values[i];{loads} }}
  }}
  {variant.loaded}
  if (threadIdx.x == 0) {{
    const long long number = {variant.number};
    const T rate = factor * {variant.rate};
    once[0] = rate;{shared}
  }}
  __syncthreads();
  const T rate = once[0]{taken};
  #pragma unroll
  for (int k = 0; k < PER_THREAD; ++k) {{
    const long long i = begin + k * blockDim.x;
    if (i >= size) break;
    T g = old_g[k];
    {variant.clip}
    T value = old_value[k]{state};
    if (i < decayed) value *= kept;
    {rule.statements}
    values[i] = value;{stores}
  }}
  {variant.last}
}}
"""
    return name, text
