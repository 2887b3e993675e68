"""Run an epoch of training, or the rest of an epoch, by requests to the backend.

In outline::

    for each request of a few updates:
        do them on the next rows
        at a logging step, read the statistics, and recover if training has diverged
        call the callbacks
    validate
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np

from gpunn.errors import DivergenceError
from gpunn.monitor import TIMINGS
from gpunn.training.batches.batch_feed import BatchFeed, Feed
from gpunn.training.batches.batch_stream import BatchStream
from gpunn.training.batches.epoch_cursor import EpochCursor
from gpunn.training.callbacks import Callback
from gpunn.training.divergence.detection import HINTS, find_fault, hints
from gpunn.training.divergence.recovery import Recovery
from gpunn.training.session import TrainingSession
from gpunn.training.step.train_step import TrainStep
from gpunn.training.training_policy import TrainingPolicy


class EpochByRequests:
    def __init__(self, session: TrainingSession) -> None:
        self.session = session
        self.trainer = trainer = session.trainer
        self.progress = trainer.progress
        self.policy: TrainingPolicy = trainer.policy
        self.batching = UpdatesPerRequest(trainer.model.backend.synchronize)
        self.ranks = trainer.ranks
        self.recovery: Recovery | None = None
        self._recovers: TrainStep | None = None
        self._agreed_signal = 0

    def end(self) -> None:
        self.recovery = self._recovers = None

    def run(self) -> dict[str, float]:
        step, memory = self.session.step, self.session.memory
        feed, bar = self._begin_epoch()
        began = step.clock() - self.cursor.seconds
        # NumPy need not warn of an overflow: the loss shows it.
        with closing(feed), closing(bar), np.errstate(over="ignore", invalid="ignore"):
            self._report_if_due(feed, bar)
            while not self.cursor.finished:
                if self.interrupted and self._may_stop_here():
                    return {}
                self.batching.begin()
                recording = step.recording_seconds
                with memory:
                    maximum = self._updates_before_next_stop()
                    rows, times = feed.load(self.cursor, maximum, self._agreed)
                    step.update(rows, times)
                if step.recording_seconds > recording:
                    bar.unpause()  # so that the bar's rate excludes compilation
                if feed.rows_left:  # otherwise the host prepares rows instead of waiting
                    self.batching.end(times)
                self.cursor.done += times
                self.progress.updates += times
                self.cursor.seconds = step.clock() - began
                bar.update(rows * times)
                self._report_if_due(feed, bar)
                self._call_between_updates()
            seconds = step.clock() - began
            logs = self._training_logs() | self._validation_logs()
            bar.set_postfix(logs)
        timings = float(feed.settings[-1, 0]), seconds, self.cursor.plan.visited / seconds
        return {**logs, **dict(zip(TIMINGS, timings, strict=True))}

    @property
    def interrupted(self) -> bool:
        return bool(self._agreed_signal) or (
            self.ranks.alone and self.session.interruption.requested
        )

    def _agreed(self, updates: int) -> int:
        if self.ranks.alone:
            return updates
        interruption = self.session.interruption
        requests = self.ranks.gather((updates, interruption.signal), "the next updates")
        self._agreed_signal = max(signal for _, signal in requests)
        if self._agreed_signal:
            interruption.adopt(self._agreed_signal)
        agreed: int = min(updates for updates, _ in requests)
        return agreed

    @property
    def cursor(self) -> EpochCursor:
        cursor = self.progress.cursor
        assert cursor is not None
        return cursor

    def _begin_epoch(self) -> tuple[Feed, Any]:
        session, progress = self.session, self.progress
        plan = session.plan
        with session.memory:
            orders, settings = session.next_orders(), session.next_settings()
        augmentation = session.augmentation
        if augmentation is not None:
            augmentation.epoch = progress.epoch
        bar = session.progress_bar()
        if progress.cursor is None:
            session.step.statistics.reset()
            progress.cursor = EpochCursor(plan)
        if progress.cursor.done:
            bar.update(progress.cursor.rows_done)
        self._keep_good_state()
        step, training = session.step, session.training
        if isinstance(training, BatchStream):
            return BatchFeed(step, training, progress.epoch, settings, augmentation), bar
        order = None if orders is None else orders[0]
        return Feed(step, training, order, settings, augmentation), bar

    def _keep_good_state(self) -> None:
        step = self.session.step
        if self.policy.finds_causes and self._recovers is not step:
            self._recovers = step  # tried once, even if memory is too small for a recovery
            with self.session.memory:
                self.recovery = Recovery.prepared(step, self.progress, self.trainer.on_divergence)
        if self.recovery is not None:
            self.recovery.good.keep()

    def _report_if_due(self, feed: Feed, bar: Any) -> None:
        while self.cursor.logging_due(self.trainer.log_every):
            with self.session.memory:
                self._report(feed, bar)

    def _report(self, feed: Feed, bar: Any) -> None:
        cursor, step = self.cursor, self.session.step
        step.check_state()
        step.loss_scale.show(step.statistics.loss_scale)
        finite = step.statistics.collect()
        step.check_equal()
        fault, repeatable = find_fault(step, cursor, finite, self.progress.epoch + 1)
        if fault and repeatable and self.recovery is not None:
            self.recovery.recover(feed, fault)
            return
        if fault:
            self.policy.diverged(f"{fault}. {hints(step)}")
        cursor.reported, cursor.left_out = cursor.done, 0
        if self.recovery is not None:
            if finite:
                self.progress.recoveries = 0
            if not cursor.finished:  # the next epoch makes its own copy
                self.recovery.good.keep()
        bar.set_postfix(step.statistics.result(), refresh=False)

    def _may_stop_here(self) -> bool:
        # With "roll_back", training may return to the state at the last logging step. A checkpoint
        # does not contain that state, so it is possible only at logging steps.
        return not self.cursor.unreported or self.trainer.on_divergence != "roll_back"

    def _updates_before_next_stop(self) -> int:
        cursor, updates = self.cursor, self.progress.updates
        stops = [callback.every_updates for callback in self.session.callbacks]
        return min(
            self.batching.updates,
            max(1, self.trainer.log_every - cursor.unreported),
            *(every - updates % every for every in stops if every is not None),
            cursor.plan.updates,
        )

    def _call_between_updates(self) -> None:
        if self.cursor.finished:
            return

        def call(callback: Callback) -> None:
            every = callback.every_updates
            if every is None or self.progress.updates % every == 0:
                callback.on_updates_end(self.trainer)

        self.session.call(call, between_updates=True)

    def _training_logs(self) -> dict[str, float]:
        logs = self.session.step.statistics.result()
        if not logs:
            raise DivergenceError(
                f"loss: all updates of epoch {self.progress.epoch + 1} diverged and were skipped. "
                f"{HINTS}"
            )
        return logs

    def _validation_logs(self) -> dict[str, float]:
        trainer, validation = self.trainer, self.session.validation
        if validation is None:
            return {}
        outputs: list[np.ndarray] | None = [] if self.policy.validation_metrics else None
        with self.session.memory:
            size = self.session.step.batch_size
            logs = trainer.evaluator.evaluate(trainer, validation, size, outputs, self.ranks)
        if outputs is not None:
            logs |= self.policy.score(np.concatenate(outputs))
        if not math.isfinite(logs["loss"]):
            self.policy.diverged(
                f"val_loss: not a finite number after epoch {self.progress.epoch + 1}. {HINTS}"
            )
        return {f"val_{name}": value for name, value in logs.items()}


class UpdatesPerRequest:
    """Adapts the number of updates in a request, so that a request takes about `seconds`.

    The host shows progress and notices Ctrl-C only between two requests.
    """

    def __init__(self, wait: Callable[[], None], seconds: float = 0.1) -> None:
        self.seconds = seconds
        self.updates = 1
        self._wait = wait
        self._began = 0.0

    def begin(self) -> None:
        self._began = time.perf_counter()

    def end(self, updates: int) -> None:
        if updates < self.updates:
            return
        self._wait()  # since the host can be faster than the device
        took = time.perf_counter() - self._began
        if took > self.seconds:
            self.updates = max(1, self.updates // 2)
        elif took < self.seconds / 2:
            self.updates *= 2
