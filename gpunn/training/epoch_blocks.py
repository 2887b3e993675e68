"""Train a small network for some epochs (a block) at a time, as one program.

To learn how long an epoch takes, the first fit of a kind measures one update of the program that
later fits will share. If the fit can't share a program, has few epochs or a large network, requests
train the first epoch instead (`EpochByRequests`).

If a rule ends training at an epoch of a block, the state after this epoch is restored. If a number
is not finite, the state before its epoch is restored, and requests train the remaining epochs.
"""

import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property

import numpy as np

from gpunn.backends.turns import TURNS
from gpunn.configurable import is_built_in
from gpunn.expressions.objects import same
from gpunn.schedules import Schedule
from gpunn.training.batches.dataset import Subset
from gpunn.training.epoch_program import EpochProgram, rows_in, state_arrays
from gpunn.training.session import TrainingSession
from gpunn.training.sharing import PROGRAMS, Kind, is_sharing, rows_of
from gpunn.training.training_policy import TrainingPolicy
from gpunn.typing import Array

SECONDS = 0.02
"""Seconds that a block should take. Ctrl-C has an effect after a block, so blocks are short."""

MAX_SECONDS = 0.05
"""If an epoch takes longer, requests train the network; Ctrl-C has an effect between requests."""

MAX_BYTES = 4 << 20
"""Maximum memory of a block's row orders and states, so that they stay in the cache."""

MAX_EPOCH_BYTES = 8 << 20
"""Networks with a larger state train by requests: a block stores the state of each epoch."""

MAX_SINGLE_EPOCHS = 200
"""A fit outside `sharing_programs` with more blocks of one epoch shares nothing: each block copies
the state into the shared program and back, so recording takes less time."""

MAX_WORK, MAX_WORK_OF_UPDATE = 1 << 29, 1 << 19
"""Maximum numbers of rows times parameters, in an epoch (of about 40 ms) and in an update. With
more, epochs may be too long for a program, or several threads may share the updates."""

MIN_EPOCHS, MAX_EPOCHS = 4, 64
"""For up to `MIN_EPOCHS` epochs, requests take less time than recording a block."""


EndEpochs = Callable[[Iterable[dict[str, float]]], None]
"""A function that receives the logs of one epoch or more, until an epoch ends training."""


class EpochBlocks:
    def __init__(self, session: TrainingSession) -> None:
        self.session, self.trainer = session, session.trainer
        self._own: EpochProgram | None = None
        self._kinds = Kind(session)
        self._kind: Hashable | None = None
        self._shares = False
        self._begun: list[object] | None = None
        self._seconds, self._limit, self._ended = 0.0, MAX_EPOCHS, False
        self._done = 0

    def _begin(self) -> None:
        left = self.trainer.progress.last_epoch - self.trainer.progress.epoch
        self._begun = self._attributes()
        self._epochs = self._max_epochs() if left > 0 and self._possible() else 0
        self._ended = not self._epochs
        if self._ended:
            return
        few = left <= MAX_SINGLE_EPOCHS or not self._single_epochs
        kind = self._kinds.now() if few or is_sharing() else None
        at_once = is_sharing() or (left > MIN_EPOCHS and self._is_small)
        if kind and at_once and kind not in PROGRAMS.seconds:
            self._measure(kind)
        seconds = PROGRAMS.seconds.get(kind) if kind else math.inf
        self._kind = kind if seconds != math.inf else None
        if self._kind and seconds is not None:
            self._seconds, self._shares = seconds, True
        elif left > MIN_EPOCHS:
            self._epochs = min(self._epochs, left - 1)
            self._orders = self._reserve()
        else:
            self._ended = True

    def _measure(self, kind: Hashable) -> None:
        session, seconds = self.session, 0.0
        with session.memory, PROGRAMS.taken(kind, session, self._epochs) as program:
            if program is not None:
                restore(program.state, state_arrays(session.step))
                assert isinstance(session.training, Subset)
                indices = session.training.indices
                row = 0 if indices is None else int(indices[0])
                seconds = program.measure_epoch(row, MAX_SECONDS)
        PROGRAMS.observe_time(kind, seconds or math.inf)
        if seconds >= MAX_SECONDS:  # requests will train the network, in other memory
            PROGRAMS.forget(kind)

    def look_again(self) -> None:
        # A callback may have changed a setting that decides which networks share a program.
        if self._begun is None:
            self._begin()
        elif self._shares:
            kind = self._kinds.now()
            if kind is None or (not is_sharing() and kind != self._kind):
                self._shares, self._kind, self._orders = False, None, self._reserve()
            else:
                self._kind = kind

    def _reserve(self) -> tuple[Array, Array]:
        # Requests also use these arrays, since a recorded block works only with the same arrays.
        session, plan, epochs = self.session, self.session.plan, self._epochs
        training, validation, step = session.training, session.validation, session.step
        assert isinstance(training, Subset)
        step.load_settings(np.zeros((epochs * plan.updates, 1 + len(step.scheduled.settings))))
        order = training.dataset.reserve(training.order_name, epochs * plan.visited * plan.members)
        if not isinstance(validation, Subset):
            return order, step.ops.zeros((0,), "int64")
        return order, validation.dataset.reserve(validation.order_name, epochs * validation.rows)

    def end(self) -> None:
        if self._own is not None:
            self._own.unload()
        self._own, self._ended = None, True

    def _own_program(self) -> EpochProgram | None:
        session, plan, step = self.session, self.session.plan, self.session.step
        if self._own is None:
            with TURNS:
                step.load(rows_in(rows_of(session)[0], self._orders[0]))
                update = step.recorded_update(min(plan.rows_per_update, plan.visited))
                if step.ops.sequence([(update, 1)]) is None:
                    return None
            passes = None
            if isinstance(session.validation, Subset):
                size = min(plan.batch_size, session.validation.rows)
                passes = self.trainer.evaluator.prepared(self.trainer, size)
            self._own = EpochProgram(session, step, passes, self._epochs, self._orders)
        return self._own if self._own.prepare(*rows_of(session)) else None

    @contextmanager
    def _program(self) -> Iterator[EpochProgram | None]:
        if self.session.callbacks or not is_built_in(type(self.trainer.policy)):
            self.look_again()
        if not self._shares:
            yield self._own_program()
            return
        with PROGRAMS.taken(self._kind, self.session, self._epochs) as program:
            yield program

    def _possible(self) -> bool:
        # For example, the session must run in a single process, on arrays. The orders of rows in
        # future epochs must be known.
        session, ranks = self.session, self.session.ranks
        rows, policy = (session.training, session.validation), type(self.trainer.policy)
        own_order = policy.orders is not TrainingPolicy.orders
        return (
            session.step.ops.joins_recordings
            and ranks.alone
            and ranks.shares.whole
            and session.augmentation is None
            and not session.step.loss_scale.state
            and not (own_order and policy.mark_orders is TrainingPolicy.mark_orders)
            and all(callback.every_updates is None for callback in session.callbacks)
            and all(
                each is None or (isinstance(each, Subset) and not each.dataset.stream)
                for each in rows
            )
        )

    @property
    def _single_epochs(self) -> bool:
        # `reads_only` holds only for the class itself, not for subclasses.
        return not all(vars(type(each)).get("reads_only") for each in self.session.callbacks)

    @property
    def _is_small(self) -> bool:
        model, plan = self.trainer.model, self.session.plan
        positions = max(math.prod(shape[:-1]) for shape in model.shapes)  # of a convolution
        work: int = model.parameters.count * positions
        update = min(plan.rows_per_update, plan.visited) * work
        return plan.visited * work <= MAX_WORK and update <= MAX_WORK_OF_UPDATE

    def _max_epochs(self) -> int:
        plan, validation = self.session.plan, self.session.validation
        held = 0 if validation is None else validation.rows
        state: int = sum(array.nbytes for array in state_arrays(self.session.step))
        size = state + 8 * (plan.visited * plan.members + held + plan.updates)
        if size > MAX_EPOCH_BYTES:
            return 0
        return min(MAX_EPOCHS, max(1, MAX_BYTES // size))

    def observe_time(self, seconds: float) -> None:
        self._seconds = seconds
        if self._kind is not None:
            PROGRAMS.observe_time(self._kind, seconds)

    def ready(self) -> bool:
        between = self.trainer.progress.cursor is None
        possible = not self._ended and 0 < self._seconds < MAX_SECONDS and between
        return possible and same(self._attributes(), self._begun or ())

    def _attributes(self) -> list[object]:
        return [self.trainer.log_every, *self.session.parts]

    def run(self, until: int, end_epochs: EndEpochs) -> None:
        with self._program() as program:
            self._ended = program is None
            if program is None:
                self.observe_time(math.inf)
                self._kind = None
            else:
                with self.session.memory, np.errstate(over="ignore", invalid="ignore"):
                    self._run(program, until, end_epochs)

    def _run(self, program: EpochProgram, until: int, end_epochs: EndEpochs) -> None:
        session, progress = self.session, self.trainer.progress
        wanted = int(SECONDS / self._seconds), self._limit, program.epochs
        epochs = max(1, min(until - progress.epoch, *wanted))
        if self._single_epochs:
            epochs = 1
        state = state_arrays(session.step)
        shared = program.step is not session.step
        if shared:
            restore(program.state, state)
        before = state if shared else [np.array(array) for array in state]
        settings = self._load(program, epochs)
        epochs = len(settings)
        began = time.perf_counter()
        program.run(epochs)
        self.observe_time((time.perf_counter() - began) / epochs)
        if shared:  # a callback may read `last_gradients`
            restore([session.step.gradients], [program.step.gradients])
        try:
            results = program.logs(epochs)
        except Exception:
            results = []  # training by requests finds the epoch in which a metric fails
        self._done = 0
        try:
            end_epochs(self._completed(program, results, settings))
            if self._done == len(results) < epochs and not progress.stop_reason:
                self._ended = True  # training by requests finds the cause
        finally:
            done = self._done
            if done < epochs:
                restore(state, program.state_after(done - 1) if done else before)
                self.trainer.policy.undo_orders(epochs - done)
        self._limit = self._limit * 2 if done == epochs else max(1, self._limit // 2)

    def _load(self, program: EpochProgram, epochs: int) -> np.ndarray:
        session, training = self.session, self.session.training
        assert isinstance(training, Subset)
        settings = self._next_settings(epochs)
        self.trainer.policy.mark_orders()
        orders, visited = session.next_orders(len(settings)), session.plan.visited
        if orders is None:
            orders = np.tile(np.arange(visited), (len(settings), 1))
        orders = orders[:, : visited * session.plan.members]
        if training.indices is not None:
            orders = training.indices[orders]
        program.load(orders, settings.reshape(-1, settings.shape[2]), self._held)
        return settings

    def _next_settings(self, epochs: int) -> np.ndarray:  # (epochs, updates, settings)
        session, progress = self.session, self.trainer.progress
        if session.same_settings:
            return np.repeat(session.next_settings()[None], epochs, axis=0)
        settings: list[np.ndarray] = []
        first = progress.epoch
        try:
            for progress.epoch in range(first, first + epochs):  # rules read `progress.epoch`
                settings.append(session.next_settings())
        except Exception:
            if not settings:
                raise  # otherwise raised again when this epoch begins
        finally:
            progress.epoch = first
        return np.stack(settings)

    @cached_property
    def _held(self) -> np.ndarray:
        validation = self.session.validation
        if not isinstance(validation, Subset):
            return np.arange(0)
        return np.arange(validation.rows) if validation.indices is None else validation.indices

    def _completed(
        self,
        program: EpochProgram,
        results: Sequence[dict[str, float]],
        settings: np.ndarray,
    ) -> Iterator[dict[str, float]]:
        session, policy, progress = self.session, self.trainer.policy, self.trainer.progress
        visited, updates, seconds = session.plan.visited, session.plan.updates, self._seconds
        scored, rates = self._held.size and policy.validation_metrics, settings[:, -1, 0].tolist()
        own_rates = type(policy).learning_rates is not TrainingPolicy.learning_rates
        observes = type(self.trainer.optimizer.schedule).observe is not Schedule.observe
        changing = (own_rates or observes) and not session.same_settings
        # A rule or callback may read the state after an epoch, or change it.
        reads = type(policy).observe is not TrainingPolicy.observe and policy.reads_state
        observed, shared = bool(session.callbacks) or reads, program.step is not session.step
        state = state_arrays(session.step)
        for number, logs in enumerate(results):
            if number and changing and (session.next_settings() != settings[number]).any():
                return
            self._done = number + 1
            if observed or (shared and self._done == len(settings)):
                restore(state, program.state_after(number))
            progress.updates += updates
            if scored:
                scores = policy.score(program.outputs(number))
                logs |= {f"val_{name}": value for name, value in scores.items()}
            if session.options.progress:
                self._show(logs)
            logs["learning_rate"], logs["seconds"] = rates[number], seconds
            logs["samples_per_second"] = visited / seconds
            yield logs

    def _show(self, logs: dict[str, float]) -> None:
        with closing(self.session.progress_bar()) as bar:
            bar.update(self.session.plan.visited)
            bar.set_postfix(logs)


def restore(arrays: Sequence[Array], values: Sequence[Array]) -> None:
    for array, value in zip(arrays, values, strict=True):
        array[...] = value
