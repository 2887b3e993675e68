"""Feed a step with the rows, learning rates and other scheduled settings of an epoch."""

from collections.abc import Callable, Iterator

import numpy as np

from gpunn.data.batches import DeviceRows
from gpunn.training.batches.augmentation import Augmenter
from gpunn.training.batches.batch_stream import BatchStream
from gpunn.training.batches.dataset import HostRows, Subset
from gpunn.training.batches.epoch_cursor import EpochCursor
from gpunn.training.step.train_step import TrainStep


class Feed:
    """Loads the rows and scheduled settings of an epoch into a training step, chunk by chunk."""

    def __init__(
        self,
        step: TrainStep,
        training: Subset,
        order: np.ndarray | None,
        settings: np.ndarray,
        augmentation: Augmenter | None = None,
    ) -> None:
        self.training, self.order, self.settings = training, order, settings
        self.augmentation = augmentation
        self._chunk: DeviceRows | None = None
        self.rows_left = 0
        self._step = step
        self._chunks: Iterator[DeviceRows] | None = None
        self._totals: np.ndarray | None = None
        self._totals_from = 0

    def restart(self) -> None:
        self.rows_left, self._chunks = 0, None

    def close(self) -> None:
        """Stop preparing rows ahead."""

    def host_rows(self, cursor: EpochCursor) -> HostRows:
        start, members = cursor.rows_done, self._step.members
        stop = min(start + self._step.rows_per_update, cursor.plan.visited)
        order = np.arange(start, stop)
        if self.order is not None:
            order = self.order[start * members : stop * members]
        return self.training.host_rows(order)

    def load(
        self,
        cursor: EpochCursor,
        max_updates: int,
        agreed: Callable[[int], int] = lambda updates: updates,
    ) -> tuple[int, int]:
        # `agreed` makes the number of updates equal on all ranks.
        step = self._step
        left = cursor.plan.visited - cursor.rows_done
        rows = min(step.rows_per_update, left)
        if self.augmentation is not None:
            max_updates = 1
        local, times = step.local_rows(rows), min(left // rows, max_updates)
        if self._chunks is None:
            self._chunks = self._begin(cursor)
        if local and not self.rows_left:
            chunk = self._chunk = next(self._chunks)
            step.load(chunk)
            self._load_settings(cursor)
            self.rows_left = chunk.rows // step.members
        if local:
            times = min(times, self.rows_left // local)
        times = agreed(times)
        if self.augmentation is not None and self._chunk is not None:
            start = self._chunk.rows - self.rows_left * step.members
            rows_of_all = local * step.members
            step.load(self.augmentation.applied(self._chunk, start, rows_of_all, cursor.done))
        self.rows_left -= times * local
        return rows, times

    def _begin(self, cursor: EpochCursor) -> Iterator[DeviceRows]:
        step, training = self._step, self.training
        remaining = cursor.remaining(self.order)
        plan = cursor.plan
        left = plan.visited - cursor.rows_done
        positions = step.local_positions(left)
        if positions is not None:
            weights = training.weights(remaining)
            starts = np.arange(0, left, plan.rows_per_update)
            totals = None if weights is None else np.add.reduceat(weights[:left], starts)
            self._totals, self._totals_from = totals, cursor.done
            self._load_settings(cursor)
            remaining = positions if remaining is None else remaining[positions]
        together = step.local_rows(step.rows_per_update) * step.members
        return training.chunks(max(1, together), remaining)

    def _load_settings(self, cursor: EpochCursor) -> None:
        step = self._step
        step.load_settings(self.settings[cursor.done :])
        totals = self._totals
        step.load_totals(None if totals is None else totals[cursor.done - self._totals_from :])


class BatchFeed(Feed):
    def __init__(
        self,
        step: TrainStep,
        stream: BatchStream,
        epoch: int,
        settings: np.ndarray,
        augmentation: Augmenter | None = None,
    ) -> None:
        self.settings, self.augmentation = settings, augmentation
        self.order, self.rows_left = None, 0
        self._step, self._stream, self._epoch = step, stream, epoch
        self._chunks: Iterator[DeviceRows] | None = None
        self._totals = None

    def restart(self) -> None:
        self.close()

    def close(self) -> None:
        if self._chunks is not None:
            self._chunks.close()  # type: ignore[attr-defined]
        self._chunks = None

    def load(
        self,
        cursor: EpochCursor,
        max_updates: int,
        agreed: Callable[[int], int] = lambda updates: updates,
    ) -> tuple[int, int]:
        if self._chunks is None:
            self._chunks = self._stream.chunks_of(
                self._epoch,
                done=cursor.done,
                together=self._together,
                capacity=self._step.rows_per_update,
                inspect=self._stream.inspect,
            )
            self._load_settings(cursor)
        chunk = next(self._chunks)
        self._stream.inspect_sizes(chunk.batches or (chunk.rows,))
        if self.augmentation is not None:
            chunk = self.augmentation.applied(chunk, 0, chunk.rows, cursor.done)
        self._step.load(chunk)
        return chunk.rows, 1

    @property
    def _together(self) -> int:
        return self._step.recipe.accumulation

    def host_rows(self, cursor: EpochCursor) -> HostRows:
        return self._stream.host_rows(self._epoch, cursor.done, self._together)
