"""Timing a training, the same way for every library.

The work: all data on the device, a new permutation of the rows every epoch drawn on the host, whole
batches, Adam, float32 products without TF32, the epoch's loss read back at its end. Of each epoch
two times are taken: the host's, and the device's between two CUDA events. The first epoch, in which
kernels are compiled and memory is allocated, is left out. Test accuracies are found between the
timed stretches.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import device
import report
from outcome import FAILED, PASSED, Outcome
from steps import work

EPOCHS = {128: 9, 1024: 4}
"""Epochs for each batch size, the first of which is not timed."""

if device.REHEARSAL:
    EPOCHS = {128: 3}


@dataclass(frozen=True)
class Epoch:
    """One epoch.

    Attributes
    ----------
    seconds : float
        By the host's clock, from before the permutation is drawn to after the loss is read.
    device_seconds : float or None
        Between CUDA events; None for a library that gives no access to its stream.
    loss, accuracy : float
        Mean training loss; accuracy on the test rows.
    """

    seconds: float
    device_seconds: float | None
    loss: float
    accuracy: float


Train = Callable[[work.Work, int], Iterator[Epoch]]
"""Trains on a work with a batch size, an epoch at a time."""


def measure(train: Train, peak_bytes: Callable[[], int | None], **figures: Any) -> Outcome:
    """Time a library.

    Parameters
    ----------
    train : callable
    peak_bytes : callable
        Returns the most bytes of device memory that the library's allocator has held.
    **figures
        What else is to be recorded.
    """
    data = work.load()
    rows: list[list[str]] = []
    said: list[str] = []
    measured: list[dict[str, Any]] = []
    for batch, epochs in EPOCHS.items():
        done = [epoch for epoch, _ in zip(train(data, batch), range(epochs), strict=False)]
        if not all(math.isfinite(epoch.loss) for epoch in done):
            return Outcome(FAILED, f"batch {batch}: the loss is not finite", figures)
        timed = timing(done, len(data.X) // batch, data.target)
        measured.append({"batch": batch, **timed, "losses": [epoch.loss for epoch in done]})
        rows.append([str(batch), *map(shown, timed.values())])
        said.append(f"{timed['steps per second']:,.0f} steps/s at batch {batch}")
    peak = peak_bytes()
    memory = "" if peak is None else f", peak {peak / 2**20:.0f} MiB"
    figures |= {"data": data.name, "target": data.target, "batches": measured, "peak bytes": peak}
    head = ["batch", *timed]
    text = f"{data.name}, {'-'.join(map(str, data.sizes))}, Adam, float32; target {data.target:.0%}"
    return Outcome(PASSED, ", ".join(said) + memory, figures, f"{text}\n{report.table(head, rows)}")


def timing(epochs: list[Epoch], steps: int, target: float) -> dict[str, float | None]:
    """Return the medians over all epochs but the first, and the time to the target.

    That time is the number of epochs to the first that reaches the target, times the median epoch:
    what it would have taken had the first not had to compile.
    """
    timed = epochs[1:]
    seconds = statistics.median(epoch.seconds for epoch in timed)
    on_device = [epoch.device_seconds for epoch in timed if epoch.device_seconds is not None]
    reached = next((n for n, epoch in enumerate(epochs, 1) if epoch.accuracy >= target), None)
    return {
        "steps per second": steps / seconds,
        "microseconds a step": 1e6 * seconds / steps,
        "device microseconds a step": (
            1e6 * statistics.median(on_device) / steps if on_device else None
        ),
        "epochs to target": reached,
        "seconds to target": None if reached is None else reached * seconds,
        "best accuracy": max(epoch.accuracy for epoch in epochs),
    }


def shown(value: float | None) -> str:
    """Return a figure for the table."""
    return "-" if value is None else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"


def permutation(epoch: int, rows: int) -> Any:
    """Return the order of an epoch's rows, for libraries other than gpunn."""
    import numpy as np

    return np.random.default_rng((work.SEED, epoch)).permutation(rows)
