"""Detect a loss, parameter or other state that is not finite (NaN or infinite)."""

import numpy as np

from gpunn.training.batches.epoch_cursor import EpochCursor
from gpunn.training.step.train_step import TrainStep

HINTS = (
    "A smaller learning_rate usually helps; so do a warm-up, max_norm (gradient clipping), and "
    "inputs scaled to about [-1, 1]"
)


def hints(step: TrainStep) -> str:
    return HINTS + step.loss_scale.hint


def find_fault(step: TrainStep, cursor: EpochCursor, finite: int, epoch: int) -> tuple[str, bool]:
    """Return (fault, repeatable); without a fault, the string `fault` is empty.

    `repeatable` is whether repeating the updates can find the cause of the fault.
    """
    if finite < cursor.unreported - cursor.left_out:
        first = cursor.reported + cursor.left_out + finite + 1
        return f"loss: not a finite number since epoch {epoch}, step {first}", True
    if step.loss_scale.exhausted(step.statistics.shown_loss_scale):
        return (
            f"gradient: not finite in step {cursor.done} of epoch {epoch}, even with the smallest "
            "loss scale, although the loss is finite",
            False,
        )
    if not step.statistics.state_finite and (fault := state_fault(step)):
        return f"{fault} after step {cursor.done} of epoch {epoch}", True
    return "", True


def is_finite(step: TrainStep, cursor: EpochCursor) -> bool:
    # Waits for the device, and changes nothing.
    with np.errstate(over="ignore", invalid="ignore"):
        step.check_state()
    finite_steps, state_finite = step.statistics.peek()
    if finite_steps != cursor.unreported - cursor.left_out:
        return False
    return state_finite or not state_fault(step)


def state_fault(step: TrainStep) -> str:
    """Describe the first non-finite array of the state, or return "". All ranks must call this."""
    parameters, ops = step.model.parameters, step.ops
    for name, value in parameters.to_host().items():
        if bad := not_finite(value):
            kind = "parameters" if parameters.specs[name].learned else "buffers"
            return f"{kind}: {name!r} is not finite ({bad})"
    for slot, array in step.slots.items():
        whole = step.to_host(f"optimizer.{slot}", array)
        if not_finite(whole):
            for name, view in parameters.views_into(ops.from_host(whole)).items():
                if bad := not_finite(ops.to_host(view)):
                    return f"optimizer: the state {slot!r} of {name!r} is not finite ({bad})"
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(np.add.reduce(ops.to_host(parameters.values)))
    return "" if finite else "parameters: the sum of all numbers is not finite"


def not_finite(values: np.ndarray) -> str:
    count = int(np.size(values) - np.count_nonzero(np.isfinite(values)))
    return f"{count:,} of {np.size(values):,} numbers" if count else ""
