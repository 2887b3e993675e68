"""Batches that a function or an iterable gives, one after the other, instead of arrays."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from contextlib import closing
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from gpunn.backends.staging import Stager
from gpunn.data.batches import DeviceRows
from gpunn.data.checks import check_largest_weight
from gpunn.data.frames import difference
from gpunn.data.prefetch import Prefetch
from gpunn.errors import ArgumentError, ArgumentTypeError, DataError
from gpunn.network import Sequential
from gpunn.training.batches.data_warnings import warn_of_single_row
from gpunn.training.batches.dataset import CheckedData, DatasetBuilder, HostRows, Names
from gpunn.typing import HostArray

__all__ = ["BatchStream", "Batches", "is_batches", "refuse_iterator", "steps_of"]

Batch: TypeAlias = tuple[HostArray, ...]
"""(X, y) or (X, y, sample_weight)."""

Batches: TypeAlias = Callable[[int], Iterable[Batch]] | Iterable[Batch]
"""A function of the epoch's number that returns batches, or batches that begin anew each time."""

UNBOUNDED = 2**62
"""Stands for a number of rows that is not known."""


def is_batches(data: Any) -> bool:
    """Return whether data without targets of their own are batches: no arrays, nor several."""
    if callable(data):
        return True
    if isinstance(data, list):
        return bool(data) and all(isinstance(batch, tuple) for batch in data)
    arrays = isinstance(data, tuple | str | bytes | Mapping) or any(
        hasattr(data, name) for name in ("shape", "__array__", "columns")
    )
    return isinstance(data, Iterable) and not arrays


def refuse_iterator(source: object, argument: str) -> None:
    """Raise an ArgumentError for an iterator, such as a generator."""
    if isinstance(source, Iterator):
        raise ArgumentError(
            f"{argument}: {type(source).__name__} can be gone through only once, and each epoch "
            "has to begin with its first batch; give the function that makes it, such as batches "
            "in 'def batches(epoch): ... yield X, y', or a list"
        )


class BatchStream:
    """Batches of an epoch, checked on the host and put on the device one after the other.

    The source is a function of the epoch's number that returns an iterable of batches, or an
    iterable whose batches are the same ones, or others, each time. A batch is (X, y) or (X, y,
    sample_weight), of `batch_size` rows at most. An epoch has `steps` of them, or all that there
    are; those of `ahead` updates are made ahead. Messages call the source `argument`.

    Raise an ArgumentError or an ArgumentTypeError if the source is of another kind, or can be gone
    through only once.

    Attributes
    ----------
    names : Names
        Of the columns, as soon as they are known.
    validation_names : Names
        Those of validation data, which the first batch must have in the same order.
    """

    indices = None

    def __init__(
        self,
        builder: DatasetBuilder,
        source: Any,
        epoch: Callable[[], int],
        steps: int | None = None,
        batch_size: int | None = None,
        *,
        ahead: int = 2,
        argument: str = "X",
    ) -> None:
        refuse_iterator(source, argument)
        if not callable(source) and not isinstance(source, Iterable):
            raise ArgumentTypeError(
                f"{argument}: expected a function of the epoch, or an iterable, that gives batches "
                f"(X, y) or (X, y, sample_weight); got {type(source).__name__}"
            )
        builder.check_network()
        self._builder, self._source, self._epoch = builder, source, epoch
        self.steps, self._batch_size, self._ahead = steps, batch_size, ahead
        self._argument = argument
        self.names = Names(builder.model.feature_names, builder.model.target_names)
        self.validation_names = Names()
        self.separate_metric_weights = False
        self._kind: tuple[object, ...] | None = None
        self._looked_at = self._warned = False
        self._untrained = builder.model.output_activation is None  # training begins by setting it
        self._stager: Stager | None = None

    @property
    def rows(self) -> int:
        """How many rows an epoch has at most."""
        if self.steps is None or self._batch_size is None:
            return UNBOUNDED
        return self.steps * self._batch_size

    # ----------------------------------------------------------------------------- on the host

    def _given(self, epoch: int) -> Generator[tuple[str, Any]]:
        """Yield the batches of an epoch as they are given, each with what messages call it."""
        found = self._source
        if callable(self._source):
            try:
                found = self._source(epoch)
            except Exception as error:
                error.add_note(f"{self._argument}: raised by a call with the epoch, {epoch}")
                raise
        if not isinstance(found, Iterable):
            raise ArgumentTypeError(
                f"{self._argument}: {described(self._source)} must return an iterable of batches; "
                f"it returned {type(found).__name__}"
            )
        iterator, number = iter(found), 0
        try:
            while self.steps is None or number < self.steps:
                title = f"batch {number + 1} of epoch {epoch + 1}"
                try:
                    batch = next(iterator)
                except StopIteration:
                    break
                except Exception as error:
                    error.add_note(f"{self._argument}: raised while {title} was made")
                    raise
                yield title, batch
                number += 1
        finally:
            if hasattr(iterator, "close"):
                iterator.close()
        if number < (self.steps or 1):
            wanted = f"steps_per_epoch is {self.steps}" if self.steps else "there must be one"
            anew = "" if number else ". Each epoch has to begin with batches of its own"
            raise DataError(
                f"{self._argument}: epoch {epoch + 1} has ended after {number} batches; "
                f"{wanted}{anew}"
            )

    def _checked(self, epoch: int) -> Generator[CheckedData]:
        """Yield the batches of an epoch, checked."""
        largest = None
        with closing(self._given(epoch)) as batches:  # also where an error keeps it alive
            for number, (title, batch) in enumerate(batches, 1):
                if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
                    several = isinstance(batch, tuple | list)
                    found = f"{len(batch)} values" if several else "one value"
                    raise DataError(
                        f"{self._argument}: {title}: expected a tuple (X, y) or (X, y, "
                        f"sample_weight); got {found}, of type {type(batch).__name__}"
                    )
                checked = self._check(title, *batch)
                if checked.weights is not None:
                    largest = max(largest or 0.0, float(checked.weights.max()))
                if number == self.steps:
                    self._check_epoch(epoch, largest)
                yield checked
        if self.steps is None:
            self._check_epoch(epoch, largest)

    def _check_epoch(self, epoch: int, largest: float | None) -> None:
        """Raise a DataError if no batch of an epoch has a weight: one batch may be without."""
        if largest is not None:
            argument = f"{self._argument}: epoch {epoch + 1}: sample_weight"
            check_largest_weight(largest, argument, self._builder.model.dtype)

    def _check(
        self, title: str, X: HostArray, y: HostArray, weights: HostArray | None = None
    ) -> CheckedData:
        builder, model = self._builder, self._builder.model
        names = None if self._kind is None else self.names  # as the first batch had them
        checked = builder.check(X, y, weights, names=names, prefix=f"{title}: ", part=True)
        rows = len(checked.X)
        if self._batch_size is not None and rows > self._batch_size:
            raise DataError(
                f"{title}: has {rows} rows, and batch_size is {self._batch_size}; give "
                f"batch_size={rows}"
            )
        kind = (
            f"X of {model.input_dtype(checked.X.dtype)}",
            f"y of shape ({', '.join(map(str, ('rows', *checked.targets.shape[1:])))})",
            f"{'no ' if checked.weights is None else ''}sample weights",
        )
        if self._kind is None:
            self._check_validation_names(title, checked.names)
            self._kind, self.names = kind, checked.names
        for ours, first in zip(kind, self._kind, strict=True):
            if ours != first:
                raise DataError(f"{title}: has {ours}; the first batch had {first}")
        return checked

    def _check_validation_names(self, title: str, names: Names) -> None:
        """Raise a DataError if validation data, checked before, have columns in another order."""
        for argument, here, there in names.differences(self.validation_names):
            raise DataError(
                f"{title}: {argument}: validation_data has other columns: "
                f"{difference(there, here) or 'in another order'}. Give both the same, in the "
                "same order"
            )

    def updates(self, epoch: int, done: int, together: int) -> Generator[CheckedData]:
        """Yield the rows of each update of an epoch, of `together` batches, after the first `done`.

        The batches of those are made again, and not looked at. The rows are copies: whatever makes
        batches may put the next one into the same arrays.
        """
        waiting: list[CheckedData] = []
        with closing(self._checked(epoch)) as batches:
            for number, checked in enumerate(batches):
                if number < done * together:
                    continue
                waiting.append(copied(checked))
                if len(waiting) == together:
                    yield joined(waiting)
                    waiting = []
        if waiting:
            yield joined(waiting)

    def host_rows(self, epoch: int, done: int, together: int) -> HostRows:
        """Return the rows of the update that comes after so many."""
        with closing(self.updates(epoch, done, together)) as updates:
            data = next(updates)
        return HostRows(data.X, data.targets, data.weights, *self._types(data), data.batches)

    # --------------------------------------------------------------------------- on the device

    def _types(self, data: CheckedData) -> tuple[str, str, str]:
        model = self._builder.model
        target_type = "int64" if data.targets.ndim == 1 else model.dtype
        return model.input_dtype(data.X.dtype), target_type, model.dtype

    def chunks_of(
        self,
        epoch: int,
        done: int = 0,
        together: int = 1,
        capacity: int | None = None,
        look_at: Callable[[CheckedData], None] | None = None,
    ) -> Iterator[DeviceRows]:
        """Yield the rows of each update of an epoch on the device; the next one overwrites them.

        An update has at most `capacity` rows. `look_at` is given the first rows; the rest is as for
        `updates`.
        """
        if self._stager is None:
            self._stager = self._builder.model.backend.stager()
        stager = self._stager
        with Prefetch(lambda: self.updates(epoch, done, together), self._ahead) as updates:
            for data in updates:
                if look_at is not None:
                    look_at(data)
                    look_at = None
                rows = len(data.X)
                input_type, target_type, dtype = self._types(data)
                most = rows if capacity is None else capacity
                stager.begin()
                X = stager.put("X", data.X, most, input_type)
                y = stager.put("y", data.targets, most, target_type)
                weights = None
                if data.weights is not None:
                    weights = stager.put("weights", data.weights, most, dtype)
                order = stager.put("order", np.arange(rows), most, "int64")
                stager.ready()
                yield DeviceRows(X, y, weights, order, rows, batches=data.batches)

    def chunks(self, batch_size: int) -> Iterator[DeviceRows]:
        """Yield all batches on the device, for an evaluation."""
        return self.chunks_of(self._epoch())

    def look_at(self, data: CheckedData) -> None:
        """Keep the names of the first training rows, and warn of what is hardly meant."""
        if self._looked_at:
            return
        self._looked_at = True
        builder, names = self._builder, self.names
        builder.warn(data.targets, None, untrained=self._untrained)
        activation = builder.loss.output_activation
        builder.model.remember(names.features, names.targets, activation)

    def look_at_sizes(self, sizes: tuple[int, ...]) -> None:
        """Warn of the first training batch with one row, if a layer needs several."""
        if 1 in sizes and not self._warned:
            self._warned = True
            found = f"a batch of {self._argument} has one row"
            warn_of_single_row(self._builder.model, found, "Yield batches of two rows or more")

    def adapted_values(self, model: Sequential) -> dict[str, np.ndarray]:
        """Raise an ArgumentError: there are never all rows at once."""
        label = next(
            label
            for label, layer in zip(model.labels, model.layers, strict=True)
            if layer.adapts or layer.adapts_to_targets
        )
        raise ArgumentError(
            f"layer {label!r}: learns from all training rows, which batches one by one can't give; "
            "give a part of them first, by trainer.fit(X, y, epochs=0)"
        )

    def start(self, model: Sequential) -> None:
        """Raise an ArgumentError, likewise."""
        raise ArgumentError(
            "initializer: initial values that depend on training data can't be computed from "
            "batches one by one; give some rows first, by trainer.fit(X, y, epochs=0)"
        )

    def unload(self) -> None:
        """Let go of the device's memory."""
        self._stager = None


def copied(data: CheckedData) -> CheckedData:
    """Return the same rows in memory of their own."""
    weights = None if data.weights is None else data.weights.copy()
    return replace(data, X=data.X.copy(), targets=data.targets.copy(), weights=weights)


def joined(parts: list[CheckedData]) -> CheckedData:
    """Return the batches of an update as one array each, with the rows of each batch."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    weights = [part.weights for part in parts if part.weights is not None]
    return CheckedData(
        np.concatenate([part.X for part in parts]),
        np.concatenate([part.targets for part in parts]),
        np.concatenate(weights) if weights else None,
        first.names,
        tuple(len(part.X) for part in parts),
    )


def described(source: object) -> str:
    """Return what a message calls a function."""
    return getattr(source, "__name__", type(source).__name__)


def steps_of(source: object) -> int | None:
    """Return how many batches a source has, if it says so."""
    return len(source) if isinstance(source, Sized) and not callable(source) else None
