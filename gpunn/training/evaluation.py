"""Loss and metrics over a data set, with the network as it is."""

from __future__ import annotations

import numpy as np

from gpunn.losses import Loss
from gpunn.metrics import Metric
from gpunn.network import Sequential
from gpunn.training.dataset import Subset
from gpunn.training.step import BatchPass

__all__ = ["Evaluator"]

AT_ONCE = 16
"""Batches of an evaluation that are asked for at a time; between two requests Ctrl-C is heard."""


class Evaluator:
    """Evaluates networks; the buffers of the last evaluation serve the next one that is like it."""

    def __init__(self) -> None:
        self._pass: BatchPass | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers."""
        return 0 if self._pass is None else self._pass.workspace.nbytes

    def prepare(
        self, model: Sequential, loss: Loss, metrics: list[Metric], batch_size: int
    ) -> BatchPass:
        """Return the pass of a batch, which is made anew if one of these is another one now."""
        current = self._pass
        if current is None or (model, loss, metrics, batch_size) != (
            current.model,
            current.loss,
            current.metrics,
            current.batch_size,
        ):
            self.unload()
            current = self._pass = BatchPass(model, loss, metrics, batch_size, training=False)
        return current

    def unload(self) -> None:
        """Let go of the rows, whose memory may be large."""
        if self._pass is not None:
            self._pass.unload()


def evaluate(
    batch_pass: BatchPass,
    subset: Subset,
    report_every: int,
    outputs: list[np.ndarray] | None = None,
) -> dict[str, float]:
    """Return loss and metrics over all rows, by name.

    Parameters
    ----------
    batch_pass : BatchPass
        What `Evaluator.prepare` has returned.
    subset : Subset
    report_every : int
        Batches after which the sums are taken from the device.
    outputs : list or None
        Takes the network's outputs, batch by batch.
    """
    statistics, batch_size = batch_pass.statistics, batch_pass.batch_size
    statistics.reset()
    done, most = 0, AT_ONCE if outputs is None else 1
    for chunk in subset.chunks(batch_size):
        batch_pass.load(chunk)
        left = chunk.rows
        while left:
            rows = min(batch_size, left)
            times = min(left // rows, most, report_every - done % report_every)
            batch = batch_pass.evaluate(rows, times)
            if outputs is not None:
                outputs.append(batch_pass.ops.to_host(batch))
            left -= times * rows
            done += times
            if done % report_every == 0:
                statistics.collect()
    statistics.collect()
    return statistics.result()
