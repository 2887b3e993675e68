"""A training step on several processes, or on one process with several shards.

Each process computes its shards of every batch, and then updates its block of the parameters::

    gradients of local shards → all to all → sum of the local block → update → all gather

So the optimizer's state is divided among the processes (Rajbhandari et al. 2020, "ZeRO", stage 1).
If the optimizer uses norms of parameters, each process updates all parameters::

    gradients of local shards → all to all → sum of the local block → all gather → update

The sum over shards has a fixed order, a tree that depends only on the number of shards. So for a
given number of shards, results are bitwise identical on any number of processes that divides this
number.
"""

from typing import Any
from zlib import crc32

import numpy as np

from gpunn.backends.operations import Segment, Trained
from gpunn.distributed.collectives import Collectives
from gpunn.distributed.ranks import Ranks
from gpunn.distributed.shares import Block, batches, block_of
from gpunn.errors import DistributedError
from gpunn.layers.base import synchronizing
from gpunn.training.step.gradient_clipping import DistributedClipping
from gpunn.training.step.gradient_overlap import OverlappedGradients
from gpunn.training.step.statistics import Statistics
from gpunn.training.step.train_step import StepRecipe, TrainStep
from gpunn.typing import Array


class DistributedStep(TrainStep):
    """The `TrainStep` of one rank. Arguments called `rows` count the rows of all ranks."""

    def __init__(self, recipe: StepRecipe) -> None:
        self.ranks = ranks = recipe.ranks or Ranks()
        self.shares, synchronized = ranks.shares, recipe.synchronized
        size, shards = int(recipe.model.parameters.values.shape[0]), ranks.shares.shards
        self.block = block_of(size, ranks.rank, ranks.size, shards)
        self._updates_all = recipe.optimizer.by_parameter and not ranks.alone
        super().__init__(recipe)
        ops, parameters = self.ops, self.model.parameters
        dtype, count = self.model.dtype, self.shares.count
        piece = block_of(size, 0, shards).length
        self._pieces = [
            (max(start, self.block.start), min(start + piece, self.block.stop))
            for start in range(self.block.start, self.block.start + self.block.length, piece)
        ]
        self._collectives = Collectives(ops, ranks.agreement)
        self._layers = synchronizing(self.model.layers)
        if synchronized and not ranks.alone:
            self.workspace.collectives = self._collectives
        buffers = parameters.running
        self._has_averages = bool(self._layers) and not synchronized and not ranks.alone
        length = buffers.shape[0] if self._has_averages else 0
        self._buffers = ops.zeros((ranks.size, length), dtype)
        padded = self.block.length * ranks.size
        direct = count == 1 and recipe.accumulation == 1
        in_place = parameters.padded("gradients", padded) if direct else None
        self._parts = ops.zeros((count, padded), dtype) if in_place is None else in_place[None, :]
        self._direct = in_place is not None
        self._values = None if self._updates_all else parameters.padded("values", padded)
        self._gathered = ops.zeros((padded,), dtype) if self._values is None else self._values
        self._overlapped = self._overlapped_gradients()
        received = 1 if self._overlapped is not None else ranks.size
        self._received = ops.zeros((received, self.block.length), dtype)
        self.gradients = self._received[0][: self.block.stop - self.block.start]
        self._clipping = DistributedClipping(ops, self._collectives, self.shares, ranks.size, dtype)
        self._finite = ops.zeros((ranks.size, 1), "int64")
        self._totals, self._weighted = ops.zeros((0,), dtype), False
        if not self._updates_all:
            self._segments = within_block(self._segments, self.block)

    def _overlapped_gradients(self) -> OverlappedGradients | None:
        if not (self._direct and self._collectives.overlaps):
            return None
        if self._layers and self.workspace.collectives is not None:
            return None  # layers exchange other arrays during the backward pass
        overlapped = OverlappedGradients(self.model, self._collectives, self.block.length)
        if not overlapped.useful:
            return None
        self.workspace.passed = overlapped.passed
        return overlapped

    def slot_length(self) -> int:
        if self._updates_all:
            return super().slot_length()
        return self.block.stop - self.block.start

    def make_statistics(self, **options: Any) -> Statistics:
        options |= {"shards": self.shares.count, "gather": self.ranks.gather_rows}
        return super().make_statistics(**options)

    def to_host(self, name: str, array: Array) -> np.ndarray:
        """Return the whole array from the ranks' parts. All ranks must call `to_host`."""
        host = self.ops.to_host(array)
        if name.startswith("optimizer.") and not self._updates_all:
            return self.ranks.gather_rows(host, name)
        if name == "statistics.vector":
            return self.statistics.without_copies(self.ranks.gather_rows(host, name))
        return host

    def from_host(self, name: str, host: np.ndarray, array: Array) -> None:
        if name.startswith("optimizer.") and not self._updates_all:
            host = host[self.block.slice]
        elif name == "statistics.vector":
            host = self.statistics.part_of(host, self.shares.first, self.shares.shards)
        self.ops.copy_from_host(host, array)

    def whole_gradients(self) -> Array:
        whole = self.ops.zeros(self.model.parameters.values.shape, self.model.dtype)
        host = self.ranks.gather_rows(self.ops.to_host(self.gradients), "gradients")
        self.ops.copy_from_host(host, whole)
        return whole

    def check_state(self) -> None:
        self.ops.sum(self.model.parameters.values, self.statistics.parameter_sum)
        super().check_state()

    def check_equal(self) -> None:
        if not self.statistics.parameters_differ:
            return
        # If ranks have different numbers of threads, their sums may differ only by rounding.
        values = self.ops.to_host(self.model.parameters.values)
        checksums = self.ranks.gather(crc32(values.tobytes()), "parameters")
        different = [rank for rank, each in enumerate(checksums) if each != checksums[0]]
        if different:
            raise DistributedError(
                f"rank {different[0]} and rank 0 have different parameters. Change "
                "parameters and settings of the training on all ranks, never on only one",
                elsewhere=not self.ranks.first,
            )

    def load_totals(self, totals: np.ndarray | None) -> None:
        # Call this after `load_settings`. None means that all rows have weight 1.
        self._weighted = totals is not None
        if totals is None:
            return
        if self._totals.shape[0] < len(totals):
            self._totals = self.ops.zeros((len(totals),), self.model.dtype)
            self._recordings.clear()
        self.ops.copy_from_host(totals, self._totals[: len(totals)])

    def update(self, rows: int, times: int = 1) -> None:
        with self.ranks.agreement.step():
            super().update(rows, times)
            if not self.ranks.alone:
                self.ops.synchronize()

    def max_rows(self) -> int:
        return -(-self.batch_size // self.shares.shards)

    def local_positions(self, rows: int) -> np.ndarray | None:
        return self.shares.positions(rows, self.batch_size, self.rows_per_update)

    def local_rows(self, rows: int) -> int:
        return self.shares.rows_of(rows, self.batch_size)

    @property
    def weighted(self) -> bool:
        return self._weighted  # a rank without rows must also return it

    def sum_weights(self, weights: Array, total: Array) -> None:
        self.ops.take(self._totals, self.scheduled.position, total)

    def _gradients(self, rows: int, weights: Array, normalizer: Array) -> Array:
        ops, workspace = self.ops, self.workspace
        if self._overlapped is not None:
            self._overlapped.begin(self.gradients)
        filled, done = [False] * self.shares.count, 0
        for batch in batches(rows, self.batch_size):
            passed = False
            for shard, (start, stop) in enumerate(self.shares.each(batch)):
                self.statistics.select(shard)
                workspace.set_position(start, stop - start, self.shares.first + shard)
                if start == stop:
                    self._without_rows()
                    continue
                if passed:  # all shards of a batch share one pass number
                    ops.increment(workspace.passes, -1)
                shard_weights = weights[done : done + stop - start]
                self._backpropagate(stop - start, shard_weights, normalizer)
                self._add_gradients(shard, filled[shard])
                done, passed, filled[shard] = done + stop - start, True, True
            if not passed:
                ops.increment(workspace.passes, 1)
        for shard, has_rows in enumerate(filled):
            if not has_rows:
                ops.fill(self._parts[shard], 0.0)
        return self._summed_over_shards()

    def _without_rows(self) -> None:
        """Take part in the exchanges between ranks during a pass over a shard without rows."""
        if self.workspace.collectives is None:
            return
        for layer in self._layers:
            layer.forward_without_rows(self.workspace)
        for layer in reversed(self._layers):
            layer.backward_without_rows(self.workspace)

    def _add_gradients(self, shard: int, more: bool) -> None:
        if self._direct:
            return
        gradients = self.model.parameters.gradients
        part = self._parts[shard][: gradients.shape[0]]
        if more:
            self.ops.accumulate(gradients, part)
        else:
            self.ops.assign(gradients, part)

    def _summed_over_shards(self) -> Array:
        if self._overlapped is not None:
            self._overlapped.finish()
            return self.gradients
        total = self._collectives.sum_in_tree(self._parts)
        xp, shape = self.ops.xp, self._received.shape
        self._collectives.all_to_all(xp.reshape(total, shape), self._received)
        self._collectives.sum_in_tree(self._received)
        return self.gradients

    def _apply(self, gradients: Array, total: Array) -> None:
        ops, statistics, values = self.ops, self.statistics, self.model.parameters.values
        finite = self.loss_scale.unscale(gradients)
        if finite is not None:
            self._collectives.all_gather(finite, self._finite)
            ops.call(lambda: finite.__setitem__(..., ops.xp.min(self._finite, axis=0)))
        optimizer, begin = self.optimizer, self.block.start
        for shard, (start, stop) in enumerate(self._pieces):
            stop = min(stop, self._decayed)
            if optimizer.l2_penalty and start < stop:
                statistics.select(shard)
                part, sums = gradients[start - begin : stop - begin], statistics.loss_sum
                ops.l2_penalty(values[start:stop], part, total, optimizer.l2_penalty, sums)
        pieces = [(start - begin, stop - begin) for start, stop in self._pieces]
        self._clipping.clip(gradients, pieces, optimizer.max_norm)
        for shard in range(1, self.shares.count):
            statistics.select(shard)
            ops.count_finite(statistics.loss_sum, statistics.finite_steps)
        statistics.select(0)
        counters = self._counters(total)
        if self._updates_all:
            trained = Trained(values, self._all(gradients), self.slots, self._segments)
        else:
            trained = Trained(values[self.block.slice], gradients, self.slots, self._segments)
        if self._segments:
            self.loss_scale.update(counters, self.scheduled.present(optimizer), trained)
        else:  # this rank has no parameters to update
            self.loss_scale.count(counters)
        self._share_values()
        if self._has_averages:  # all ranks use the averages of the first shard
            buffers = self.model.parameters.running
            self._collectives.all_gather(buffers, self._buffers)
            ops.assign(self._buffers[0], buffers)

    def _all(self, gradients: Array) -> Array:
        rows = self.ops.xp.reshape(self._gathered, (self.ranks.size, self.block.length))
        if gradients.shape[0]:
            self.ops.assign(gradients, rows[self.ranks.rank][: gradients.shape[0]])
        self._collectives.all_gather(rows[self.ranks.rank], rows)
        return self._gathered[: self.model.parameters.values.shape[0]]

    def _share_values(self) -> None:
        if self.ranks.alone or self._updates_all:
            return
        values, block = self.model.parameters.values, self.block
        rows = self.ops.xp.reshape(self._gathered, (self.ranks.size, block.length))
        if self._values is None:
            local = rows[self.ranks.rank][: block.stop - block.start]
            self.ops.assign(values[block.slice], local)
        self._collectives.all_gather(rows[self.ranks.rank], rows)
        if self._values is None:
            self.ops.assign(self._gathered[: values.shape[0]], values)


def within_block(segments: list[Segment], block: Block) -> list[Segment]:
    parts = []
    for segment in segments:
        start, stop = max(segment.start, block.start), min(segment.stop, block.stop)
        if start < stop:
            start, stop = start - block.start, stop - block.start
            parts.append(segment._replace(start=start, stop=stop))
    return parts
