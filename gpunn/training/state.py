"""The state of training: counters on the host, and the step, optimizer and sums on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from gpunn.distributed.ranks import Ranks
from gpunn.errors import ArgumentError
from gpunn.network import Sequential
from gpunn.optimizers import Optimizer
from gpunn.training.batches.epoch_cursor import EpochCursor
from gpunn.training.step.batch_means_step import BatchMeansStep
from gpunn.training.step.distributed_step import DistributedStep
from gpunn.training.step.scheduled_settings import scheduled_settings
from gpunn.training.step.statistics import with_metric_weight
from gpunn.training.step.train_step import StepRecipe, TrainStep
from gpunn.typing import Array

T = TypeVar("T")


@dataclass
class Progress:
    """The progress of training. Resuming continues only a training that was `interrupted`."""

    epoch: int = 0
    updates: int = 0
    first_epoch: int = 0
    last_epoch: int = 0
    cursor: EpochCursor | None = None
    recoveries: int = 0
    stop_reason: str = ""
    interrupted: bool = False

    def copy(self) -> Progress:
        return replace(self, cursor=copy(self.cursor))


class ProgressAttribute(Generic[T]):
    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, trainer: Any, owner: type) -> T:
        if trainer is None:
            return self  # type: ignore[return-value]  # accessed on the class
        value: T = getattr(trainer.progress, self._name)
        return value

    def __set__(self, trainer: Any, value: T) -> None:
        setattr(trainer.progress, self._name, value)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A copy, on the device, of the parameters and this rank's part of the optimizer's state."""

    number: int
    arrays: Mapping[str, Array]
    trained: tuple[str, ...]
    optimizer: type[Optimizer]


class TrainingState:
    """A trainer's state on the device. `step` is None until training begins or resumes.

    The state belongs to an optimizer object and to a set of trained layers. If either has changed,
    all of the optimizer's arrays are replaced by zeros. If only the arrays of newly trained
    parameters were zeros, Adam, for example, would regard the parameters' past gradients as small.
    """

    def __init__(self, model: Sequential, optimizer: Optimizer, ranks: Ranks) -> None:
        self.step: TrainStep | None = None
        self.optimizer = optimizer
        self._model, self._ranks = model, ranks
        self._owner: tuple[Optimizer, tuple[str, ...]] | None = None
        self._made_from: tuple[object, ...] = ()
        self._pending: dict[str, np.ndarray] = {}
        self._count = 0
        self._snapshots: WeakValueDictionary[int, Snapshot] = WeakValueDictionary()
        self._kept: dict[int, Snapshot] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_snapshots": {}, "_kept": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _snapshots=WeakValueDictionary())

    def started_step(self) -> TrainStep:
        # After layers were frozen or unfrozen, the old step's arrays have another layout than the
        # network's arrays.
        if self.step is None:
            raise ArgumentError("trainer: training has not begun; call fit first")
        if self._owner is not None and self._owner[1] != self._model.parameters.trained:
            raise ArgumentError(
                "trainer: layers were frozen or unfrozen since the last call of fit, so the "
                "optimizer's state does not match the trained layers. Set trainable of these "
                "layers to the earlier values, or call fit"
            )
        return self.step

    def _outdated(self, optimizer: Optimizer) -> bool:
        trained = self._model.parameters.trained
        return self._owner is not None and (
            self._owner[0] is not optimizer or self._owner[1] != trained
        )

    def prepare(self, recipe: StepRecipe, within_epoch: bool) -> TrainStep:
        parameters = recipe.model.parameters
        made_from = recipe, recipe.optimizer.config(), parameters
        if self.step is not None and not self._pending and self._made_from == made_from:
            scheduled = scheduled_settings(recipe.model.layers, recipe.loss, recipe.optimizer)
            if scheduled == self.step.scheduled.settings:
                return self.step
        outdated = self._outdated(recipe.optimizer)
        state = self._of(recipe.optimizer, self._read(within_epoch), outdated)
        if within_epoch and recipe.separate_metric_weights and not recipe.has_metric_weight(state):
            state = with_metric_weight(state)
        self.step, self._made_from, self._pending = new_step(recipe), made_from, {}
        self._owner = recipe.optimizer, parameters.trained
        self._write(self.step, state)
        return self.step

    def arrays(self, within_epoch: bool) -> dict[str, np.ndarray]:
        # `within_epoch` adds the sums over the epoch's updates so far.
        if self.step is not None:
            self._ranks.join("arrays", within_epoch)
        state = self._read(within_epoch)
        return self._of(self.optimizer, state, self._outdated(self.optimizer))

    def _of(
        self, optimizer: Optimizer, state: dict[str, np.ndarray], outdated: bool
    ) -> dict[str, np.ndarray]:
        if not state:
            return state
        size, dtype = self._model.parameters.values.shape, self._model.dtype
        new = {f"optimizer.{slot}": np.zeros(size, dtype) for slot in optimizer.slots}
        new["updates"] = np.zeros(1, np.int64)
        old = {} if outdated else state
        others = {name: a for name, a in state.items() if not belongs_to_optimizer(name)}
        return {**{name: old.get(name, array) for name, array in new.items()}, **others}

    def _read(self, within_epoch: bool) -> dict[str, np.ndarray]:
        step = self.step
        if step is None or self._pending:  # the state of an optimizer that has no step yet
            # The sums of an epoch that has ended or starts again are discarded.
            ended = () if within_epoch else ("statistics.",)
            return {n: a for n, a in self._pending.items() if not n.startswith(ended)}
        totals = {"statistics.totals": step.statistics.totals()} if within_epoch else {}
        arrays = on_device(step, within_epoch)
        state = {name: step.to_host(name, array) for name, array in arrays.items()}
        return {**state, **totals}

    def load(self, state: Mapping[str, np.ndarray], outdated: bool | None = None) -> None:
        # Arrays are restored now or when training begins. Arrays that `state` lacks stay unchanged.
        # Only rank 0 knows an optimizer that a callback has just set. The other ranks get this
        # optimizer after the callback, and then its state is not outdated.
        trained = self._model.parameters.trained
        owner = (self.optimizer, trained) if outdated is None else None
        if outdated is None:
            outdated = self._outdated(self.optimizer)
        self._ranks.join("load", dict(state), outdated)
        if self.step is None or outdated or self._pending:
            self._pending = {**self._of(self.optimizer, self._read(True), outdated), **state}
            if self._owner is not None and self._owner[1] != trained:
                self.step = None  # whose arrays have another layout
            self._owner = owner
        else:
            self._write(self.step, state)

    def _write(self, step: TrainStep, state: Mapping[str, np.ndarray]) -> None:
        sums = "statistics.totals" in state
        if sums:
            step.statistics.set_totals(state["statistics.totals"])
        arrays = on_device(step, sums)
        for name in arrays.keys() & state.keys():
            step.from_host(name, state[name], arrays[name])

    def replace(self, state: Mapping[str, np.ndarray]) -> None:
        self.step, self._made_from, self._pending = None, (), dict(state)
        self._owner = self.optimizer, self._model.parameters.trained

    def snapshot(self) -> Snapshot:
        # If the ranks divide an array, each rank copies its own part.
        self.started_step()
        self._ranks.join("keep_snapshot", self._count + 1, sorted(self._snapshots))
        return self._new_snapshot(self._count + 1)

    def keep_snapshot(self, number: int, wanted: Sequence[int]) -> None:
        """Store rank 0's snapshot `number` on this rank; delete earlier ones not in `wanted`."""
        self._kept = {n: each for n, each in self._kept.items() if n in wanted}
        self._kept[number] = self._new_snapshot(number)  # the only reference on this rank

    def _new_snapshot(self, number: int) -> Snapshot:
        step = self.started_step()
        self._count = number
        copies = {name: step.ops.copy(array) for name, array in trained_arrays(step).items()}
        snapshot = Snapshot(number, copies, step.model.parameters.trained, type(step.optimizer))
        self._snapshots[number] = snapshot
        return snapshot

    def restore(self, snapshot: Snapshot | int) -> None:
        # With one process, the snapshot may be of an equal trainer. The same layers must be trained
        # as when it was taken.
        snapshot = self._numbered(snapshot)
        if self.step is not None and snapshot.trained != self.step.model.parameters.trained:
            raise ArgumentError(
                "snapshot: layers were frozen or unfrozen since it was taken; first set "
                "trainable of these layers to the values from that time"
            )
        step = self.started_step()
        self._ranks.join("restore", snapshot.number)
        arrays = trained_arrays(step)
        for name, saved in arrays_for(step, snapshot).items():
            arrays[name][...] = saved

    def _numbered(self, snapshot: Snapshot | int) -> Snapshot:
        if isinstance(snapshot, int):
            return self._snapshots[snapshot]
        if not self._ranks.alone and self._snapshots.get(snapshot.number) is not snapshot:
            raise ArgumentError(
                "snapshot: belongs to another trainer, and each process has only a part of the "
                "snapshot; use a snapshot() of this trainer"
            )
        return snapshot

    def snapshot_to_host(self, snapshot: Snapshot | int) -> dict[str, np.ndarray]:
        snapshot, step = self._numbered(snapshot), self.started_step()
        self._ranks.join("snapshot_to_host", snapshot.number)
        arrays = arrays_for(step, snapshot)
        host = {name: step.to_host(name, array) for name, array in arrays.items()}
        slots = [name for name in host if name.startswith("optimizer.")]
        other = slots != [f"optimizer.{slot}" for slot in self.optimizer.slots]
        other |= snapshot.optimizer is not type(self.optimizer)
        return self._of(self.optimizer, host, outdated=other)

    def snapshot_from_host(self, arrays: Mapping[str, np.ndarray]) -> Snapshot:
        step, snapshot = self.started_step(), self.snapshot()  # `snapshot` allocates the arrays
        size = tuple(step.model.parameters.values.shape)
        for name, array in snapshot.arrays.items():
            shape = size if name.startswith("optimizer.") else tuple(array.shape)
            if name.startswith("loss_scale.") and name not in arrays:
                continue  # the backend decides whether the loss is scaled
            value = arrays.get(name)
            if not isinstance(value, np.ndarray):
                raise ArgumentError(f"{name}: expected numbers of shape {shape}; got no array")
            if value.shape != shape or value.dtype.kind not in "fiu":
                actual = f"{value.dtype} of shape {value.shape}"
                raise ArgumentError(f"{name}: expected numbers of shape {shape}; got {actual}")
            if not np.isfinite(value).all():
                raise ArgumentError(f"{name}: contains NaN or infinity")
        self.fill_snapshot(snapshot.number, dict(arrays))
        return snapshot

    def fill_snapshot(self, number: int, arrays: Mapping[str, np.ndarray]) -> None:
        self._ranks.join("fill_snapshot", number, arrays)
        step = self.started_step()
        for name, array in self._snapshots[number].arrays.items():
            if name in arrays:
                step.from_host(name, arrays[name], array)

    @property
    def services(self) -> dict[str, Callable[..., object]]:
        methods: tuple[Callable[..., object], ...] = (
            self.arrays,
            self.load,
            self.keep_snapshot,
            self.restore,
            self.snapshot_to_host,
            self.fill_snapshot,
        )
        return {method.__name__: method for method in methods}


def new_step(recipe: StepRecipe) -> TrainStep:
    ranks = recipe.ranks
    if ranks is None or ranks.shares.whole:
        return (BatchMeansStep if recipe.batch_means else TrainStep)(recipe)
    return DistributedStep(recipe)


def belongs_to_optimizer(name: str) -> bool:
    return name.startswith("optimizer.") or name == "updates"


def trained_arrays(step: TrainStep) -> dict[str, Array]:
    parameters = step.model.parameters
    return {
        "values": parameters.values,
        "statistics": parameters.running,
        "updates": step.updates,
        **{f"optimizer.{name}": slot for name, slot in step.slots.items()},
        **{f"loss_scale.{name}": array for name, array in step.loss_scale.state.items()},
    }


def arrays_for(step: TrainStep, snapshot: Snapshot) -> Mapping[str, Array]:
    """Return a snapshot's arrays, with zeros for the state of an optimizer of another class."""
    arrays = trained_arrays(step)
    same = snapshot.optimizer is type(step.optimizer)
    if same and arrays.keys() == snapshot.arrays.keys():
        return snapshot.arrays
    return {
        name: step.ops.zeros(array.shape, step.ops.dtype_name(array))
        if belongs_to_optimizer(name)
        else snapshot.arrays[name]
        for name, array in arrays.items()
    }


def on_device(step: TrainStep, sums: bool) -> dict[str, Array]:
    return {
        **{f"optimizer.{name}": slot for name, slot in step.slots.items()},
        "updates": step.updates,
        "passes": step.workspace.passes,
        **step.loss_scale.state,
        **({"statistics.vector": step.statistics.vector} if sums else {}),
    }
