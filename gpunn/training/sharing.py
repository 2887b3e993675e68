"""Share recorded programs between the fits of equal networks, which use them in turn.

The first fit of a kind makes a program. If it has few epochs or a large network, the second fit
does, except within `sharing_programs`. A fit copies its state into the arrays of a program that no
other fit uses, runs some epochs, and copies the state back. Rows, keys of dropout masks and L2
penalty of a program can be replaced; learning rates are loaded before each epoch.
"""

import copy
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from gpunn.backends.recording import fields_of
from gpunn.backends.turns import TURNS
from gpunn.configurable import field_names, is_built_in
from gpunn.data.batches import Rows
from gpunn.errors import ArgumentError
from gpunn.expressions.keys import keys_of
from gpunn.expressions.objects import Snapshot
from gpunn.expressions.variables import value_of
from gpunn.forks import ForkableLock
from gpunn.layers.base import Layer, family
from gpunn.metrics import Metric
from gpunn.network import Sequential
from gpunn.optimizers import Optimizer
from gpunn.training.batches.dataset import Subset
from gpunn.training.epoch_program import EpochProgram
from gpunn.training.session import TrainingSession
from gpunn.training.state import new_step
from gpunn.training.step.train_step import BatchPass, PassRecipe


class ReplaceableFloat(float):
    """A number, such as an L2 penalty, that can be replaced in recorded operations.

    The recording identifies the number by `id`, not by value.
    """


class ReplaceableInt(int):
    pass


MAX_BYTES = 64 << 20
"""Maximum memory of the unused programs that are kept for later fits."""

MAX_KINDS = 256
"""Maximum number of kinds of networks whose time per epoch is kept for later fits."""

OBJECTS_BYTES = 400 << 10
"""A small network's program, besides arrays. Measured: 300 to 470 KiB for 2 to 7 layers."""

PLAIN = str, float, int, np.generic, type(None)

PASSES = frozenset(("forward", "backward"))
"""Methods that a user may replace in a network or layer."""

OWN = frozenset(("learning_rate", "l2_penalty", "edges"))
"""Settings that may differ among networks of a kind. (Edges are only initial values of buffers.)"""


def copied(source: Sequential) -> Sequential | None:
    """Copy a network; None if its custom layers now declare other parameters than before."""
    parts, values = copy.deepcopy(list(source.layers)), source.parameters.to_host()
    # A deep copy would also copy the schema, metadata and a user's attributes.
    arguments = source.input_shape, source.backend, source.seed, source.dtype, values
    try:
        model = Sequential(parts, *arguments)
    except ArgumentError:
        return None
    return model if repr(declared(model)) == repr(declared(source)) else None


class SharedProgram:
    def __init__(self, session: TrainingSession, epochs: int, model: Sequential) -> None:
        trainer, plan = session.trainer, session.plan
        optimizer = copy.copy(trainer.optimizer)
        # Learning rates are loaded. A user's schedule might not allow copies.
        vars(optimizer)["learning_rate"] = 0.0
        optimizer = copy.deepcopy(optimizer)
        # Setting the attribute would convert the number.
        vars(optimizer)["l2_penalty"] = ReplaceableFloat(optimizer.l2_penalty)
        layers = list(family(*model.layers))
        for layer in layers:
            layer.key = ReplaceableInt(layer.key)
        recipe = replace(
            session.recipe,
            model=model,
            loss=copy.deepcopy(trainer.loss),
            metrics=copy.deepcopy(list(trainer.metrics)),
            optimizer=optimizer,
        )
        held = 0 if session.validation is None else session.validation.rows
        passes = None
        if held:
            metrics = copy.deepcopy(trainer.every_metric)
            size = min(plan.batch_size, held)
            passes = BatchPass(
                PassRecipe(model=model, loss=recipe.loss, metrics=metrics, batch_size=size)
            )
        sizes = epochs * plan.visited * plan.members, epochs * held
        order, held_order = (model.backend.zeros((size,), "int64") for size in sizes)
        self.program = EpochProgram(session, new_step(recipe), passes, epochs, (order, held_order))
        training, validation = rows_of(session)
        training, validation = stand_ins(training), validation and stand_ins(validation)
        self._own = own_arguments(training, validation, layers, optimizer)
        self._replace: Callable[[Sequence[Any]], None] | None = None
        found = self.program.prepare(training, validation)
        if found and not self.program.step.workspace.derives_keys:
            self._replace = found.replacer(self._own)
        self.nbytes = self.program.nbytes + OBJECTS_BYTES

    def use_for(self, session: TrainingSession) -> EpochProgram | None:
        # None means that other networks can't use the program.
        if self._replace is None:
            return None
        model, optimizer = session.trainer.model, session.trainer.optimizer
        self._own = own_arguments(*rows_of(session), family(*model.layers), optimizer)
        self._replace(self._own)
        self._use_metrics(session.trainer.metrics, session.trainer.every_metric)
        # The state has the running averages among the buffers, but no frozen parameters.
        self.program.step.model.parameters.buffers[...] = model.parameters.buffers
        return self.program

    def _use_metrics(self, training: Sequence[Metric], validation: Sequence[Metric]) -> None:
        # The host computes results from sums. A user's metric might store results.
        self.program.step.statistics.metrics = training
        if self.program.passes is not None:
            self.program.passes.statistics.metrics = validation

    def release_arguments(self) -> None:
        self._own = []  # the program runs again only with other rows and metrics
        self._use_metrics((), ())

    def release(self) -> None:
        for each in (self.program.step, self.program.passes):
            if each is not None:
                each.workspace.release()


class SharedPrograms:
    def __init__(self) -> None:
        self._lock = ForkableLock()
        self._free: list[tuple[Hashable, SharedProgram]] = []
        self.seconds: dict[Hashable, float] = {}
        """Seconds per epoch, by kind; infinity if networks of the kind cannot share a program."""

    def observe_time(self, kind: Hashable, seconds: float) -> None:
        with self._lock:
            self.seconds[kind] = seconds
            while len(self.seconds) > MAX_KINDS:
                del self.seconds[next(iter(self.seconds))]

    @contextmanager
    def taken(
        self, kind: Hashable, session: TrainingSession, epochs: int
    ) -> Iterator[EpochProgram | None]:
        # The context yields None if networks of this kind cannot share a program.
        with self._lock:
            numbers = [n for n, (other, _) in enumerate(self._free) if other == kind]
            shared = self._free.pop(numbers[-1])[1] if numbers else None
        if shared is None:
            with TURNS:
                model = copied(session.trainer.model)
                shared = SharedProgram(session, epochs, model) if model else None
                # Code that changed during training, such as a replaced method, has another key.
                if shared and Kind(session).now() != kind:
                    shared.release()
                    shared = None
        program = shared.use_for(session) if shared else None
        yield program
        if shared is None:
            return
        if program is None:
            shared.release()
            return
        shared.release_arguments()
        with self._lock:  # not after an error: the program is then discarded
            self._free.append((kind, shared))
            while sum(each.nbytes for _, each in self._free) > MAX_BYTES:
                self._free.pop(0)[1].release()

    def forget(self, kind: Hashable) -> None:
        with self._lock:
            for pair in [pair for pair in self._free if pair[0] == kind]:
                self._free.remove(pair)
                pair[1].release()


def own_arguments(
    training: Rows, validation: Rows | None, layers: Iterable[Layer], optimizer: Optimizer
) -> list[Any]:
    """Return what differs between fits that share a program: rows, dropout keys, L2 penalty."""
    rows = [each for each in (*training, *(validation or ())) if each is not None]
    penalty = optimizer.l2_penalty
    own = penalty if isinstance(penalty, float) else float(penalty)
    return [*rows, *(layer.key for layer in layers), own]


def rows_of(session: TrainingSession) -> tuple[Rows, Rows | None]:
    training, validation = session.training, session.validation
    assert isinstance(training, Subset)
    held = validation.dataset.resident() if isinstance(validation, Subset) else None
    return training.dataset.resident(), held


def stand_ins(rows: Rows) -> Rows:
    """Return one row of zeros per array, to record a program that accepts any number of rows."""
    X, y, weights, others = (None if each is None else np.zeros_like(each[:1]) for each in rows)
    return X, y, weights, others


class Kind:
    """Computes a session's key: sessions with equal keys may share a recorded program.

    `now` returns the current key, or None if the session can't share a program.
    """

    def __init__(self, session: TrainingSession) -> None:
        self._session = session
        self._fields: list[tuple[object, str]] = []
        self._earlier = Snapshot(())
        self._key: Hashable = None

    def now(self) -> Hashable | None:
        trainer, model = self._session.trainer, self._session.trainer.model
        layers = [*family(*model.layers)]
        if any(PASSES & vars(each).keys() for each in (model, *layers)):
            return None
        parts = [*layers, trainer.loss, trainer.optimizer, *trainer.every_metric]
        backend = type(model.backend), getattr(model.backend, "threads", 1)
        others = [*parts, *backend, model.parameters.trained, trainer.log_every]
        if not self._earlier.equals([*others, *(value_of(*pair) for pair in self._fields)]):
            if self._key:  # most sessions need the key only once
                self._fields = fields_of(parts)
                self._earlier = Snapshot([*others, *(value_of(*pair) for pair in self._fields)])
            self._key = kind_of(self._session, parts, backend)
        return self._key


def kind_of(session: TrainingSession, parts: list[Any], backend: tuple[Any, ...]) -> Hashable:
    trainer, model = session.trainer, session.trainer.model
    if not is_built_in(type(model)):
        return None
    custom = list[Any]()
    described = [described_by(part, custom) for part in parts]
    keys = keys_of(custom)
    if keys is None:
        return None
    arrays = [
        None if each is None else (each.dtype.str, each.shape[1:])
        for rows in rows_of(session)
        for each in rows or ()
    ]
    held = 0 if session.validation is None else session.validation.rows
    penalty, scored = bool(trainer.optimizer.l2_penalty), bool(trainer.policy.validation_metrics)
    names = model.input_shape, model.dtype, backend, model.parameters.trained, scored
    more = held, trainer.log_every, session.recipe.batch_means, trainer.metric_names, penalty
    return repr((described, session.plan, arrays, declared(model), names, more)), *keys


def declared(model: Sequential) -> list[object]:
    return [
        (name, each.shape, each.decay, each.rate, each.trainable, each.frozen)
        for name, each in model.parameters.specs.items()
    ]


@cache
def names_of(cls: type) -> list[str]:
    return [name for name in field_names(cls) if name not in OWN]


def described_by(part: Any, custom: list[Any]) -> object:
    """Return a description of `part`; append the custom objects in `part` to `custom`.

    In the description, a number stands for each custom object: its position in `custom`, from 1.
    """
    if isinstance(part, PLAIN):
        return part
    if isinstance(part, tuple | list):
        return [described_by(each, custom) for each in part]
    if isinstance(part, dict):
        return [*part, *(described_by(each, custom) for each in part.values())]
    cls: type = type(part)
    if not is_built_in(cls):
        custom.append(part)
        return len(custom)
    values = (getattr(part, name) for name in names_of(cls))
    return cls, [v if isinstance(v, PLAIN) else described_by(v, custom) for v in values]


PROGRAMS = SharedPrograms()


class Contexts:
    def __init__(self) -> None:
        self.lock, self.number = ForkableLock(), 0


CONTEXTS = Contexts()


@contextmanager
def sharing_programs() -> Iterator[None]:
    """In this context, each fit uses one thread, and equal networks share a recorded program.

    The first fit of equal networks makes this program, even if the fit is short.
    """
    with CONTEXTS.lock:
        CONTEXTS.number += 1
    try:
        yield
    finally:
        with CONTEXTS.lock:
            CONTEXTS.number -= 1


def is_sharing() -> bool:
    return CONTEXTS.number > 0
