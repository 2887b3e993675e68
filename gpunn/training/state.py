"""What training changes: counters on the host; parameters, optimizer and sums on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from gpunn.distributed.ranks import Ranks
from gpunn.errors import ArgumentError
from gpunn.training.batches.epoch_cursor import EpochCursor
from gpunn.training.step.batch_means_step import BatchMeansStep
from gpunn.training.step.distributed_step import DistributedStep
from gpunn.training.step.scheduled_settings import scheduled_settings
from gpunn.training.step.statistics import with_metric_weight
from gpunn.training.step.train_step import StepRecipe, TrainStep
from gpunn.typing import Array

__all__ = [
    "Progress",
    "ProgressAttribute",
    "Snapshot",
    "TrainingState",
    "new_step",
    "on_device",
]


T = TypeVar("T")


@dataclass
class Progress:
    """How far training has come; other attributes are described in `Trainer`.

    Training is `interrupted` if `stop_reason` is a signal or an error. When it is resumed, it goes
    on then; one that ended because it was decided so, as by early stopping, does not.
    """

    epoch: int = 0
    updates: int = 0
    first_epoch: int = 0
    cursor: EpochCursor | None = None
    recoveries: int = 0
    stop_reason: str = ""
    interrupted: bool = False

    def copy(self) -> Progress:
        """Return a copy that stays as it is when training goes on."""
        return replace(self, cursor=copy(self.cursor))


class ProgressAttribute(Generic[T]):
    """An attribute of a trainer that is one of its `progress`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, trainer: Any, owner: type) -> T:
        if trainer is None:
            return self  # type: ignore[return-value]  # of the class itself
        value: T = getattr(trainer.progress, self._name)
        return value

    def __set__(self, trainer: Any, value: T) -> None:
        setattr(trainer.progress, self._name, value)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A copy, on the device, of parameters and optimizer.

    Of the optimizer's state it is this rank's part. All ranks call it by the same number. Its
    arrays have the names that they have in checkpoints; `trained` names the network's arrays that
    are trained.
    """

    number: int
    arrays: Mapping[str, Array]
    trained: tuple[str, ...]


class TrainingState:
    """The state on the device, and the step that works on it.

    There is no step until training begins, and after a checkpoint was loaded. `trained` names the
    arrays that the optimizer's state is of, if it is known.
    """

    trained: tuple[str, ...] | None = None

    def __init__(self, ranks: Ranks | None = None) -> None:
        self.step: TrainStep | None = None
        self._ranks = ranks or Ranks()
        self._made_from: tuple[object, ...] = ()
        self._pending: dict[str, np.ndarray] = {}
        self._count = 0
        self._snapshots: WeakValueDictionary[int, Snapshot] = WeakValueDictionary()
        self._kept: dict[int, Snapshot] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle is made from: no snapshots, which nobody there has."""
        return {**vars(self), "_snapshots": {}, "_kept": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # An earlier release has pickled less.
        missing = {"_ranks": Ranks(), "_count": 0, "_kept": {}}
        vars(self).update({**missing, **state}, _snapshots=WeakValueDictionary())

    def started_step(self) -> TrainStep:
        """Return the step, or raise an ArgumentError if there is none that goes with the network.

        Before training there is none. After layers were frozen, or are trained again, the arrays of
        the last one are laid out otherwise than those of the network.
        """
        if self.step is None:
            raise ArgumentError("trainer: training has not begun, so there is no state to keep")
        if self._outdated:
            raise ArgumentError(
                "trainer: layers have been frozen, or are trained again, since the last call of "
                "fit; the optimizer's state begins anew with the next one. Set trainable as it was "
                "then, or call fit first"
            )
        return self.step

    @property
    def _outdated(self) -> bool:
        """Whether other layers are trained than when the step was made."""
        return self.step is not None and self.trained != self.step.model.parameters.trained

    def prepare(self, recipe: StepRecipe, within_epoch: bool) -> TrainStep:
        """Return a step made from these, with the state that training has come to.

        A step is used again as long as nothing that it was made from has been changed. The state
        belongs to the optimizer object, and to what it trains: another optimizer starts with a new
        one, and so does the same one when layers have been frozen or are trained again. Averages of
        parameters that are new to it would be zeros, which Adam would take for small gradients.
        """
        scheduled = scheduled_settings(recipe.model.layers, recipe.loss, recipe.optimizer)
        parameters = recipe.model.parameters
        made_from = recipe, recipe.optimizer.config(), scheduled, parameters
        if self.step is not None and self._made_from == made_from:
            return self.step
        state = self.arrays(within_epoch)
        if not within_epoch:  # what is left of an epoch that begins anew
            state = {name: a for name, a in state.items() if not name.startswith("statistics.")}
        elif recipe.separate_metric_weights and not recipe.has_metric_weight(state):
            state = with_metric_weight(state)
        other = self.step is not None and self.step.optimizer is not recipe.optimizer
        if other or self.trained not in (None, parameters.trained):
            state = {name: array for name, array in state.items() if not of_optimizer(name)}
        self.step, self._made_from, self._pending = new_step(recipe), made_from, {}
        self.trained = parameters.trained
        self.load(state)
        return self.step

    def arrays(self, within_epoch: bool) -> dict[str, np.ndarray]:
        """Return the optimizer's state and the device's counters as host arrays, by name.

        Within an epoch the sums over its updates so far are among them. After layers were frozen,
        or are trained again, the optimizer's state is that of a new beginning.
        """
        step = self.step
        if step is None:
            return self._pending
        self._ranks.join("arrays", within_epoch)
        totals = {"statistics.totals": step.statistics.totals()} if within_epoch else {}
        arrays = on_device(step, within_epoch)
        found = {name: step.to_host(name, array) for name, array in arrays.items()}
        if self._outdated:
            size = step.model.parameters.values.shape
            for name in (name for name in found if of_optimizer(name)):
                shape = found[name].shape if name == "updates" else size
                found[name] = np.zeros(shape, found[name].dtype)
        return {**found, **totals}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `arrays` returned, now or when training begins.

        What is missing stays as it is, and what the optimizer does not have is left out.
        """
        self._ranks.join("load", dict(state))
        step = self.step
        if step is None:
            self._pending = dict(state)
            return
        if self._outdated:
            self.replace(state, step.model.parameters.trained)
            return
        sums = "statistics.totals" in state
        if sums:
            step.statistics.set_totals(state["statistics.totals"])
        arrays = on_device(step, sums)
        for name in arrays.keys() & state.keys():
            step.from_host(name, state[name], arrays[name])

    def replace(self, state: Mapping[str, np.ndarray], trained: tuple[str, ...]) -> None:
        """Begin with this state, of these trained arrays, once training begins."""
        self.step, self._made_from, self._pending = None, (), dict(state)
        self.trained = trained

    # ------------------------------------------------------------------------------- snapshots

    def snapshot(self) -> Snapshot:
        """Return a copy, on the device, of the parameters and the optimizer's state.

        Of what is divided among ranks, each keeps its part, under the same number.
        """
        self.started_step()
        self._ranks.join("keep_snapshot", self._count + 1, sorted(self._snapshots))
        return self._taken(self._count + 1)

    def keep_snapshot(self, number: int, wanted: Sequence[int]) -> None:
        """Take a snapshot as rank 0 does, and forget those that it wants no more."""
        self._kept = {n: each for n, each in self._kept.items() if n in wanted}
        self._kept[number] = self._taken(number)  # nobody else here holds on to it

    def _taken(self, number: int) -> Snapshot:
        step = self.started_step()
        self._count = number
        copies = {name: step.ops.copy(array) for name, array in trained_arrays(step).items()}
        taken = self._snapshots[number] = Snapshot(number, copies, step.model.parameters.trained)
        return taken

    def restore(self, snapshot: Snapshot | int) -> None:
        """Restore what `snapshot` returned, here or, of one process, in a trainer alike.

        Raise an ArgumentError if it is of other trained layers.
        """
        snapshot = self._numbered(snapshot)
        if self.step is not None and snapshot.trained != self.step.model.parameters.trained:
            raise ArgumentError(
                "snapshot: layers have been frozen, or are trained again, since it was taken; set "
                "trainable as it was then"
            )
        arrays = trained_arrays(self.started_step())
        self._ranks.join("restore", snapshot.number)
        for name, kept in snapshot.arrays.items():
            arrays[name][...] = kept

    def _numbered(self, snapshot: Snapshot | int) -> Snapshot:
        """Return a snapshot, or the one with this number.

        Raise an ArgumentError if other ranks don't have it.
        """
        if isinstance(snapshot, int):
            return self._snapshots[snapshot]
        if not self._ranks.alone and self._snapshots.get(snapshot.number) is not snapshot:
            raise ArgumentError(
                "snapshot: is not one of this trainer, and of several processes each has a part of "
                "it; take it by this trainer's snapshot()"
            )
        return snapshot

    def snapshot_to_host(self, snapshot: Snapshot | int) -> dict[str, np.ndarray]:
        """Return a snapshot as host arrays, for a checkpoint."""
        snapshot, step = self._numbered(snapshot), self.started_step()
        self._ranks.join("snapshot_to_host", snapshot.number)
        return {name: step.to_host(name, array) for name, array in snapshot.arrays.items()}

    def snapshot_from_host(self, arrays: Mapping[str, np.ndarray]) -> Snapshot:
        """Return the snapshot of which these are the arrays; an ArgumentError if they don't fit."""
        step, snapshot = self.started_step(), self.snapshot()  # for its arrays
        size = tuple(step.model.parameters.values.shape)
        for name, array in snapshot.arrays.items():
            shape = size if name.startswith("optimizer.") else tuple(array.shape)
            if name.startswith("loss_scale.") and name not in arrays:
                continue  # whether the loss is scaled is a matter of the backend
            given = arrays.get(name)
            if (
                not isinstance(given, np.ndarray)
                or given.shape != shape
                or given.dtype.kind not in "fiu"
            ):
                found = (
                    f"{given.dtype} of shape {given.shape}"
                    if isinstance(given, np.ndarray)
                    else "no array"
                )
                raise ArgumentError(f"{name}: expected numbers of shape {shape}; got {found}")
            if not np.isfinite(given).all():
                raise ArgumentError(f"{name}: holds numbers that are not finite")
        self.fill_snapshot(snapshot.number, dict(arrays))
        return snapshot

    def fill_snapshot(self, number: int, given: Mapping[str, np.ndarray]) -> None:
        """Put host arrays into the snapshot with this number."""
        self._ranks.join("fill_snapshot", number, given)
        step = self.started_step()
        for name, array in self._snapshots[number].arrays.items():
            if name in given:
                step.from_host(name, given[name], array)

    @property
    def services(self) -> dict[str, Callable[..., object]]:
        """What rank 0 may ask the others to do with it, by name."""
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
    """Return a new step of the kind that the recipe needs."""
    ranks = recipe.ranks
    if ranks is None or ranks.shares.whole:
        return (BatchMeansStep if recipe.batch_means else TrainStep)(recipe)
    return DistributedStep(recipe)


def of_optimizer(name: str) -> bool:
    """Return whether an array of this name in a checkpoint begins anew with another optimizer."""
    return name.startswith("optimizer.") or name == "updates"


def trained_arrays(step: TrainStep) -> dict[str, Array]:
    """Return the parameters and the optimizer's state, by the names that snapshots have."""
    parameters = step.model.parameters
    return {
        "values": parameters.values,
        "statistics": parameters.running,
        "updates": step.updates,
        **{f"optimizer.{name}": slot for name, slot in step.slots.items()},
        **{f"loss_scale.{name}": array for name, array in step.loss_scale.state.items()},
    }


def on_device(step: TrainStep, sums: bool) -> dict[str, Array]:
    """Return what changes beside the parameters, by the names in checkpoints.

    With `sums`, the sums over an epoch's updates are among it.
    """
    return {
        **{f"optimizer.{name}": slot for name, slot in step.slots.items()},
        "updates": step.updates,
        "passes": step.workspace.passes,
        **step.loss_scale.state,
        **({"statistics.vector": step.statistics.vector} if sums else {}),
    }
