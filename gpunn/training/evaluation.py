"""Loss and metrics over a data set, with the network as it is."""

from __future__ import annotations

from contextlib import closing
from typing import Protocol

import numpy as np

from gpunn.distributed.ranks import Ranks
from gpunn.errors import ArgumentError
from gpunn.losses import Loss
from gpunn.metrics import Metric
from gpunn.network import Sequential
from gpunn.training.batches.batch_stream import BatchStream
from gpunn.training.batches.dataset import Subset
from gpunn.training.step.train_step import BatchPass, PassRecipe

__all__ = ["Evaluator"]

AT_ONCE = 16
"""Batches of an evaluation that are asked for at a time; between two requests Ctrl-C is heard."""


class Settings(Protocol):
    """What a trainer says of an evaluation."""

    model: Sequential
    loss: Loss
    report_every: int

    @property
    def every_metric(self) -> list[Metric]: ...


class Evaluator:
    """Evaluates networks; the buffers of the last evaluation serve the next one that is like it."""

    def __init__(self) -> None:
        self._pass: BatchPass | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers."""
        return 0 if self._pass is None else self._pass.workspace.nbytes

    def evaluate(
        self,
        settings: Settings,
        subset: Subset | BatchStream,
        batch_size: int,
        outputs: list[np.ndarray] | None = None,
        ranks: Ranks | None = None,
    ) -> dict[str, float]:
        """Return loss and metrics over all rows, by name.

        `outputs` takes the network's outputs, batch by batch. Several ranks each take a share of
        the rows; where one leads, it takes all shares.
        """
        batch_size = min(batch_size, subset.rows)
        batch_pass = self._prepared(settings, batch_size)
        every, statistics = settings.report_every, batch_pass.statistics
        if ranks is None or ranks.shares.whole or outputs is not None:
            run(batch_pass, subset, batch_size, every, outputs)
            return statistics.result()
        if not isinstance(subset, Subset):
            raise ArgumentError("X: several processes, or shards, take arrays, and not batches")
        totals = []
        for start, stop in ranks.present_shares.each(subset.rows):
            run(batch_pass, subset.part(start, stop), batch_size, every)
            totals.append(statistics.totals())
        found = np.stack(totals)
        if not ranks.leading:
            found = ranks.gather_rows(found, "an evaluation")
        statistics.combine(found)
        return statistics.result()

    def _prepared(self, settings: Settings, batch_size: int) -> BatchPass:
        """Return the pass of a batch, made anew if anything that it is made from is another one."""
        wanted = PassRecipe(
            model=settings.model,
            loss=settings.loss,
            metrics=settings.every_metric,
            batch_size=batch_size,
        )
        if self._pass is None or wanted != self._pass.recipe:
            self.unload()
            self._pass = BatchPass(wanted)
        return self._pass

    def unload(self) -> None:
        """Let go of the rows, whose memory may be large."""
        if self._pass is not None:
            self._pass.unload()


def run(
    batch_pass: BatchPass,
    subset: Subset | BatchStream,
    batch_size: int,
    report_every: int,
    outputs: list[np.ndarray] | None = None,
) -> None:
    """Put loss and metrics over some rows into the statistics of a pass."""
    statistics = batch_pass.statistics
    statistics.reset()
    done, most = 0, AT_ONCE if outputs is None else 1
    with closing(subset.chunks(batch_size)) as chunks:  # type: ignore[type-var]
        for chunk in chunks:
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
