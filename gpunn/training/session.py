"""Begin and end a call of `Trainer.fit`: checks, preparation, resuming and cleanup."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from gpunn.configurable import check_integer, is_built_in
from gpunn.errors import ArgumentError, DistributedError
from gpunn.expressions.objects import same
from gpunn.layers import Members
from gpunn.layers.base import family, synchronizing
from gpunn.network import Sequential
from gpunn.randomness import permutations
from gpunn.schedules import Schedule
from gpunn.training.batches.augmentation import Augment, Augmenter
from gpunn.training.batches.batch_stream import BatchStream
from gpunn.training.batches.data_warnings import check_batch_statistics
from gpunn.training.batches.dataset import DatasetBuilder, Subset
from gpunn.training.batches.epoch_cursor import EpochPlan
from gpunn.training.callbacks import Callback, EarlyStopping
from gpunn.training.changes_by_callbacks import Changes
from gpunn.training.checkpoints.checkpoint import Checkpoint, newest_checkpoint
from gpunn.training.checkpoints.restore import CallbackStates, restore_checkpoint
from gpunn.training.checkpoints.resume_checks import check_same_epoch, check_same_names
from gpunn.training.interruption import Interruption
from gpunn.training.out_of_memory import BufferMemory
from gpunn.training.progress_bar import progress_bar
from gpunn.training.step.train_step import StepRecipe
from gpunn.training.trainer_protocol import TrainerProtocol
from gpunn.version import __version__

LOG = logging.getLogger("gpunn")

SAMPLED = 1000
"""The number of rows that ranks compare, since comparing all rows of a large file would be slow."""


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    epochs: int
    batch_size: int
    shuffle: bool = True
    callbacks: Sequence[Callback] = ()
    progress: bool = True
    resume_from: str | Path | Checkpoint | None = None
    drop_last: bool = False
    shuffle_members: bool = False
    augment: Augment | None = None

    def plan(self, trainer: TrainerProtocol, training: Subset | BatchStream) -> EpochPlan:
        batch_size = min(self.batch_size, training.rows)
        return EpochPlan(
            rows=training.rows,
            batch_size=batch_size,
            rows_per_update=batch_size * trainer.gradient_accumulation,
            shuffle=self.shuffle and isinstance(training, Subset),
            metric_names=trainer.metric_names,
            drop_last=self.drop_last,
            members=number_of_independent_members(trainer.model) if self.shuffle_members else 1,
        )


class TrainingSession:
    def __init__(
        self,
        trainer: TrainerProtocol,
        training: Subset | BatchStream,
        validation: Subset | BatchStream | None,
        options: FitOptions,
    ) -> None:
        if isinstance(validation, Subset):
            validation = replace(validation, order_name="validation order")
        self.trainer, self.training, self.validation = trainer, training, validation
        self.options = options
        self.ranks = trainer.ranks
        fixed = "gradient_accumulation", "batch_norm"
        self._fixed = {name: getattr(trainer, name) for name in fixed}
        self.callbacks = sorted(options.callbacks, key=lambda callback: callback.saves)
        for callback in self.callbacks:
            if callback.every_updates is not None:
                check_integer(f"{type(callback).__name__}.every_updates", callback.every_updates)
        if not self.ranks.first:
            self.callbacks = []
        self.interruption = Interruption()
        self.augmentation: Augmenter | None = None
        divided = not self.ranks.shares.whole
        if options.augment is not None and divided:
            raise ArgumentError(
                "augment: can't be combined with several processes or shards, since each would "
                "draw the same random numbers for different rows; leave augment out"
            )
        if options.shuffle_members and not options.shuffle:
            raise ArgumentError(
                "shuffle_members: can't be combined with shuffle=False; leave one of them out"
            )
        if trainer.model.parameters.frozen and not trainer.model.parameters.trained:
            raise ArgumentError(
                "model: all layers with parameters are frozen, so there is nothing to train; set "
                "trainable = True for at least one of them"
            )
        if options.shuffle_members and divided:
            raise ArgumentError(
                "shuffle_members: can't be combined with several processes or shards; leave it out"
            )
        if divided and (isinstance(training, BatchStream) or isinstance(validation, BatchStream)):
            raise ArgumentError(
                "X: expected arrays, such as memory maps, since there are several processes or "
                "shards; got batches"
            )
        together = synchronizing(trainer.model.layers)
        if together and self.ranks.fixed_shards and trainer.batch_norm == "synchronized":
            raise ArgumentError(
                f"shards: the layer {together[0].name!r} normalizes over the rows of all ranks, "
                "which is impossible shard by shard; set batch_norm='local' or shards=0"
            )
        self.plan = plan = options.plan(trainer, training)
        if not plan.updates:
            raise ArgumentError(
                f"drop_last: an update needs {plan.rows_per_update} rows ({plan.batch_size} per "
                f"batch * gradient_accumulation={trainer.gradient_accumulation}), but an epoch has "
                f"only {plan.rows} rows; use drop_last=False, reduce gradient_accumulation, or "
                "give more rows"
            )
        synchronized = trainer.batch_norm == "synchronized"
        if options.epochs:
            shards = 1 if synchronized else self.ranks.shares.shards
            check_batch_statistics(trainer.model, plan, shards)
        self.memory = BufferMemory(trainer.model, trainer.optimizer, plan.batch_size)
        self.recipe = StepRecipe(
            model=trainer.model,
            loss=trainer.loss,
            optimizer=trainer.optimizer,
            metrics=list(trainer.metrics),
            batch_size=plan.batch_size,
            accumulation=plan.accumulation,
            separate_metric_weights=training.separate_metric_weights,
            members=plan.members,
            ranks=self.ranks,
            synchronized=synchronized,
            batch_means=trainer.policy.batch_means,
        )
        self._parts = self.parts

    @contextmanager
    def running(self) -> Iterator[None]:
        # If the options don't fit the trainer or the checkpoint, nothing changes.
        trainer, progress, callbacks = self.trainer, self.trainer.progress, self.callbacks
        if trainer.callbacks:
            raise ArgumentError(
                "fit: a callback can't call fit of the trainer that calls the callback; call fit "
                "after the running fit has returned, or train a copy (copy.deepcopy)"
            )
        self._check_same()
        resumed = self._resume()
        # Do this before the callbacks begin, which may delete files of an earlier run.
        learned = self._prepare()

        def begin(callback: Callback) -> None:
            callback.on_train_begin(trainer)
            if resumed is not None:
                resumed.restore(callback, trainer)

        with ExitStack() as ending:
            self._register_cleanup(ending)
            try:
                self.call(begin)
                rule = next(
                    (each.rule for each in callbacks if isinstance(each, EarlyStopping)), None
                )
                trainer.history.rule = self.ranks.agreement.of_first(rule, "the best epoch's rule")
                self.use_replaced_parts()
                if learned is not None:
                    trainer.model.set_adapted_values(learned)
                with trainer.model.backend.device_errors(), self.interruption:
                    if not trainer.model.started:
                        with self.memory:
                            self.training.start(trainer.model)
                    self._share_initial_parameters()
                    yield
            except BaseException as error:
                self.ranks.agreement.fail(error)
                progress.stop_reason = f"{type(error).__name__}: {error}"
                progress.interrupted = True
                progress.cursor = None
                raise
            finally:
                trainer.history.stopped = progress.stop_reason

    def _register_cleanup(self, ending: ExitStack) -> None:
        trainer, backend = self.trainer, self.trainer.model.backend
        ending.enter_context(backend.device_errors())  # the cleanup may also fail
        ending.callback(setattr, trainer, "callbacks", [])
        ending.callback(backend.release_memory)
        for subset in (self.training, self.validation):
            if subset is not None:
                ending.callback(subset.unload)
        ending.callback(self._end_callbacks)
        ending.callback(lambda: self.step.unload())  # a callback may replace the present step
        ending.callback(trainer.evaluator.unload)

    def _check_same(self) -> None:
        if self.ranks.alone:
            return
        trainer, model = self.trainer, self.trainer.model
        local = {
            "version": __version__,
            **self.settings(),
            "epoch": f"number {trainer.epoch + 1}",
            "shards": self.ranks.shares.shards,
            "batch_norm": trainer.batch_norm,
            "parameters": checksum(model.backend.to_host(model.parameters.values)),
        }
        gathered = self.ranks.gather(local, "the settings of the training run")
        for rank, actual in enumerate(gathered):
            for name, expected in gathered[0].items():
                if actual[name] != expected:
                    raise DistributedError(
                        f"{name}: rank {rank} has {actual[name]}, but rank 0 has {expected}; all "
                        "ranks must train the same network on the same data",
                        elsewhere=not self.ranks.first,
                    )

    def settings(self) -> dict[str, Any]:
        trainer, model = self.trainer, self.trainer.model
        return {
            "backend": model.backend.name.partition(":")[0],
            "backend's options": {
                name: value for name, value in model.backend.options.items() if name != "threads"
            },
            "network": repr(model.config()),
            "loss": repr(trainer.loss.config()),
            "metrics": repr([metric.config() for metric in trainer.metrics]),
            "optimizer": repr(trainer.optimizer.config()),
            "epochs": self.options.epochs,
            "batches": str(self.plan),
            "on_divergence": trainer.on_divergence,
            "report_every": trainer.log_every,  # the key in folders of earlier versions
            "data": checksum_of(self.training),
            "validation data": self.validation and checksum_of(self.validation),
        }

    def next_orders(self, epochs: int = 1) -> np.ndarray | None:
        trainer, plan, seed = self.trainer, self.plan, self.trainer.model.seed
        if plan.members > 1:
            # The order is row by row, and within a row member by member.
            numbers = range(trainer.epoch, trainer.epoch + epochs)
            each = [permutations(seed, n, plan.rows, plan.members) for n in numbers]
            return np.reshape(each, (epochs, -1))
        if not plan.shuffle:
            return None
        orders: np.ndarray = trainer.policy.orders(trainer, plan.rows, epochs)
        if not is_built_in(type(trainer.policy)):
            check_orders(orders, epochs, plan.rows)
        return orders

    def next_settings(self) -> np.ndarray:
        trainer, last = self.trainer, self.trainer.progress.last_epoch
        rates = trainer.policy.learning_rates(trainer, self.plan.updates, last)
        return self.step.scheduled.over_epoch(rates, trainer.epoch, last)

    @property
    def same_settings(self) -> bool:
        same: bool = self.trainer.policy.has_constant_rate(self.trainer)
        return same and not self.step.scheduled.settings

    def progress_bar(self) -> Any:
        title = f"Epoch {self.trainer.epoch + 1}/{self.trainer.progress.last_epoch}"
        return progress_bar(title, self.plan.visited, self.options.progress and self.ranks.first)

    def call(self, function: Callable[[Callback], None], between_updates: bool = False) -> None:
        # On rank 0 only; other ranks handle rank 0's requests. If `between_updates`, the callbacks
        # must not change the network.
        if not self.callbacks and self.ranks.alone:
            return

        def call() -> None:
            for callback in self.callbacks:
                function(callback)

        self._lead(call, vectors=not between_updates)

    def _end_callbacks(self) -> None:
        def end() -> None:
            with ExitStack() as stack:
                for callback in reversed(self.callbacks):
                    stack.callback(callback.on_train_end, self.trainer)

        self._lead(end, vectors=True)

    def _lead(self, function: Callable[[], None], vectors: bool) -> None:
        trainer, ranks = self.trainer, self.ranks
        if ranks.alone:
            function()
            return
        if ranks.agreement.ended:
            if ranks.first:
                with suppress(DistributedError):  # training ends with the original error
                    function()
            return
        changes = Changes(trainer, vectors)
        services = {**trainer.device_state.services, **trainer.services}
        stopped, changed = ranks.lead(
            function, services, lambda: (trainer.progress.stop_reason, changes.changed())
        )
        if not ranks.first:
            trainer.progress.stop_reason = stopped
            changes.apply(changed)

    def _share_initial_parameters(self) -> None:
        parameters, ops = self.trainer.model.parameters, self.trainer.model.backend
        if self.ranks.alone:
            return
        local = [ops.to_host(parameters.values), ops.to_host(parameters.buffers)]
        values, buffers = self.ranks.agreement.of_first(local, "initial parameters")
        ops.copy_from_host(values, parameters.values)
        ops.copy_from_host(buffers, parameters.buffers)

    def _resume(self) -> CallbackStates | None:
        trainer, progress = self.trainer, self.trainer.progress
        larger, names = trainer.larger_is_better, trainer.log_names_of(self.validation is not None)
        trainer.optimizer.schedule.check({name: larger[name] for name in names})
        states = None
        checkpoint = self.ranks.agreement.of_first(self._checkpoint(), "a checkpoint")
        if checkpoint is not None:
            check_same_epoch(checkpoint, self.plan, self.recipe)
            check_same_names(checkpoint, self.training.names)
            restore_checkpoint(trainer, checkpoint)
            states = CallbackStates(checkpoint.path, checkpoint.callback_states())
        trainer.resumed = states is not None
        trainer.log_names, trainer.history.stopped, trainer.history.rule = names, "", None
        progress.interrupted = False
        trainer.history.larger_is_better = larger
        if states is None:
            progress.first_epoch, progress.stop_reason = progress.epoch, ""
            if not progress.updates:
                trainer.optimizer.schedule.forget_logs()
            if progress.cursor is None:
                progress.recoveries = 0
            elif not self._can_continue_epoch():
                LOG.warning("The interrupted epoch starts again, since its data or batches changed")
                progress.cursor = None
        progress.last_epoch = progress.first_epoch + self.options.epochs
        return states

    def _checkpoint(self) -> Checkpoint | None:
        source = self.options.resume_from
        if source is None or not self.ranks.first:
            return None
        return source if isinstance(source, Checkpoint) else newest_checkpoint(source)

    def _can_continue_epoch(self) -> bool:
        trainer, cursor = self.trainer, self.trainer.progress.cursor
        weighted = self.recipe.has_metric_weight(trainer.state())
        return (
            cursor is not None
            and cursor.plan == self.plan
            and (self.recipe.separate_metric_weights or not weighted)
        )

    def _prepare(self) -> dict[str, np.ndarray] | None:
        trainer, model = self.trainer, self.trainer.model
        learned = None
        if not model.adapted:
            learned = self.training.adapted_values(model)
        with self.memory:
            within_epoch = trainer.progress.cursor is not None
            self.step = trainer.device_state.prepare(self.recipe, within_epoch)
            if self.options.augment is not None:
                capacity = self.recipe.rows_per_update * self.recipe.members
                self.augmentation = Augmenter(self.options.augment, model, capacity)
            trainer.policy.begin(trainer)
        self._remember_meaning()
        trainer.callbacks = self.callbacks
        return learned

    def _remember_meaning(self) -> None:
        names, loss = self.training.names, self.trainer.loss
        self.trainer.model.remember(names.features, names.targets, loss.output_activation)

    @property
    def parts(self) -> list[object]:
        trainer = self.trainer
        # Within an epoch, the metrics stay, since the epoch's statistics belong to them.
        metrics = trainer.metrics if trainer.progress.cursor is None else self.recipe.metrics
        loss, optimizer, others = trainer.loss, trainer.optimizer, trainer.validation_metrics
        parts: list[object] = [loss, optimizer, *metrics, None, *others]
        for name, value in vars(optimizer).items():
            if isinstance(value, Schedule) and name != "learning_rate":  # see `ScheduledSettings`
                parts += [name, value]
        return parts

    def use_replaced_parts(self) -> None:
        trainer, recipe = self.trainer, self.recipe
        for name, value in self._fixed.items():
            if getattr(trainer, name) != value:
                raise ArgumentError(
                    f"{name}: was {value!r} when fit was called, and is now "
                    f"{getattr(trainer, name)!r}; change it only between two calls of fit"
                )
        if same(self.parts, self._parts):
            return
        builder = DatasetBuilder(trainer.model, trainer.loss, trainer.every_metric)
        builder.check_network()
        for data in (self.training, self.validation):
            if data is not None:
                data.check_again(builder)
        self.step.unload()
        within_epoch = trainer.progress.cursor is not None
        metrics = recipe.metrics if within_epoch else list(trainer.metrics)
        self.plan = replace(self.plan, metric_names=["loss", *(each.name for each in metrics)])
        self.recipe = replace(
            recipe, loss=trainer.loss, optimizer=trainer.optimizer, metrics=metrics
        )
        self._parts = self.parts
        with self.memory:
            self.step = trainer.device_state.prepare(self.recipe, within_epoch)
        self._remember_meaning()
        trainer.log_names = trainer.log_names_of(self.validation is not None)
        trainer.history.larger_is_better |= trainer.larger_is_better


def number_of_independent_members(model: Sequential) -> int:
    members = [layer for layer in family(*model.layers) if isinstance(layer, Members)]
    if len(model.loss_shape) != 2 or len(members) != 1 or len(model.input_shape) != 1:
        raise ArgumentError(
            "shuffle_members: needs a network with vectors as inputs, one layer "
            "gpunn.layers.Members, and gpunn.layers.MeanOverMembers at its end"
        )
    return model.loss_shape[0]


def checksum_of(subset: Subset | BatchStream) -> str:
    if isinstance(subset, BatchStream):
        return f"batches of {subset.rows} rows"
    data, rows = subset.dataset, subset.rows
    sample = np.linspace(0, rows - 1, min(rows, SAMPLED), dtype=np.int64)
    indices = sample if subset.indices is None else np.sort(subset.indices[sample])
    parts = {"X": data.X, "y": data.y, "sample weights": data.weights}
    sums = (f"{n} {checksum(a[indices]):x}" for n, a in parts.items() if a is not None)
    return f"{rows} rows, checksums {', '.join(sums)}"


def checksum(array: np.ndarray) -> int:
    return crc32(np.ascontiguousarray(array).tobytes())


def check_orders(orders: np.ndarray, epochs: int, rows: int) -> None:
    shape, dtype = np.shape(orders), getattr(orders, "dtype", np.dtype(object))
    got = f"shape {shape} and dtype {dtype}"
    if shape == (epochs, rows) and dtype.kind in "iu":
        least, largest = int(np.min(orders)), int(np.max(orders))
        if least >= 0 and largest < rows:
            return
        got = f"numbers from {least} to {largest}"
    raise ArgumentError(
        f"policy: the method orders must return row numbers from 0 to {rows - 1} in an array of "
        f"shape {(epochs, rows)}; it returned {got}"
    )
