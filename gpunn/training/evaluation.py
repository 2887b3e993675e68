"""Compute loss and metrics over a data set, without changing the network."""

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

BATCHES_PER_REQUEST = 16
"""Batches per request to the backend. Ctrl-C takes effect between two requests."""


class Settings(Protocol):
    model: Sequential
    loss: Loss
    log_every: int

    @property
    def every_metric(self) -> list[Metric]: ...


class Evaluator:
    def __init__(self) -> None:
        self._pass: BatchPass | None = None

    @property
    def nbytes(self) -> int:
        return 0 if self._pass is None else self._pass.workspace.nbytes

    def evaluate(
        self,
        settings: Settings,
        subset: Subset | BatchStream,
        batch_size: int,
        outputs: list[np.ndarray] | None = None,
        ranks: Ranks | None = None,
    ) -> dict[str, float]:
        # Outputs are appended to the list `outputs`, batch by batch. Each rank evaluates its share
        # of the rows, but in callbacks, rank 0 evaluates all shares.
        batch_size = min(batch_size, subset.rows)
        batch_pass = self.prepared(settings, batch_size)
        every, statistics = settings.log_every, batch_pass.statistics
        if ranks is None or ranks.shares.whole or outputs is not None:
            add_to_statistics(batch_pass, subset, batch_size, every, outputs)
            return statistics.result()
        if not isinstance(subset, Subset):
            raise ArgumentError(
                "X: expected arrays, such as memory maps, since there are several processes or "
                "shards; got batches"
            )
        totals = []
        for start, stop in ranks.present_shares.each(subset.rows):
            add_to_statistics(batch_pass, subset.part(start, stop), batch_size, every)
            totals.append(statistics.totals())
        rows = np.stack(totals)
        if not ranks.leading:
            rows = ranks.gather_rows(rows, "an evaluation")
        statistics.combine(rows)
        return statistics.result()

    def prepared(self, settings: Settings, batch_size: int) -> BatchPass:
        recipe = PassRecipe(
            model=settings.model,
            loss=settings.loss,
            metrics=settings.every_metric,
            batch_size=batch_size,
        )
        if self._pass is None or recipe != self._pass.recipe:
            self.unload()
            self._pass = BatchPass(recipe)
        return self._pass

    def unload(self) -> None:
        if self._pass is not None:
            self._pass.unload()


def add_to_statistics(
    batch_pass: BatchPass,
    subset: Subset | BatchStream,
    batch_size: int,
    log_every: int,
    outputs: list[np.ndarray] | None = None,
) -> None:
    statistics = batch_pass.statistics
    statistics.reset()
    done, maximum = 0, BATCHES_PER_REQUEST if outputs is None else 1
    with closing(subset.chunks(batch_size)) as chunks:  # type: ignore[type-var]
        for chunk in chunks:
            batch_pass.load(chunk)
            left = chunk.rows
            while left:
                rows = min(batch_size, left)
                times = min(left // rows, maximum, log_every - done % log_every)
                batch = batch_pass.evaluate(rows, times)
                if outputs is not None:
                    outputs.append(batch_pass.ops.to_host(batch))
                left -= times * rows
                done += times
                if done % log_every == 0:
                    statistics.collect()
    statistics.collect()
