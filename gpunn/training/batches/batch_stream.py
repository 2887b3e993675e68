"""Training data from a function or an iterable that supplies batches, instead of from arrays."""

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

Batch: TypeAlias = tuple[HostArray, ...]

Batches: TypeAlias = Callable[[int], Iterable[Batch]] | Iterable[Batch]
"""A function from an epoch's number to batches, or an iterable that each epoch restarts."""

UNBOUNDED = 2**62
"""Stands for an unknown number of rows."""


def is_batches(data: Any) -> bool:
    if callable(data):
        return True
    if isinstance(data, list):
        return bool(data) and all(isinstance(batch, tuple) for batch in data)
    arrays = isinstance(data, tuple | str | bytes | Mapping) or any(
        hasattr(data, name) for name in ("shape", "__array__", "columns")
    )
    return isinstance(data, Iterable) and not arrays


def refuse_iterator(source: object, argument: str) -> None:
    if isinstance(source, Iterator):
        raise ArgumentError(
            f"{argument}: {type(source).__name__} can be iterated only once, but each epoch must "
            "start again with the first batch. Give a list, or the function that makes the "
            "batches, such as batches in 'def batches(epoch): ... yield X, y'"
        )


class BatchStream:
    """Checks the batches of an epoch on the host, and copies them to the device one by one.

    A batch is (X, y) or (X, y, sample_weight). If `steps` is None, an epoch has all batches of the
    source. The batches of the next `ahead` updates are prepared in advance.
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
                f"{argument}: expected an iterable of batches (X, y) or (X, y, sample_weight), or "
                "a function that takes the epoch's number and returns such an iterable; got "
                f"{type(source).__name__}"
            )
        builder.check_network()
        self._builder, self._source, self._epoch = builder, source, epoch
        self.steps, self._batch_size, self._ahead = steps, batch_size, ahead
        self._argument = argument
        self.names = Names(builder.model.feature_names, builder.model.target_names)
        self.validation_names = Names()
        self.separate_metric_weights = False
        self._kind: tuple[object, ...] | None = None
        self._inspected = self._warned = False
        self._untrained = builder.model.output_activation is None  # training sets output_activation
        self._stager: Stager | None = None

    @property
    def rows(self) -> int:
        if self.steps is None or self._batch_size is None:
            return UNBOUNDED
        return self.steps * self._batch_size

    def _unchecked(self, epoch: int) -> Generator[tuple[str, Any]]:
        source = self._source
        if callable(self._source):
            try:
                source = self._source(epoch)
            except Exception as error:
                error.add_note(f"{self._argument}: raised by the call for epoch {epoch}")
                raise
        if not isinstance(source, Iterable):
            raise ArgumentTypeError(
                f"{self._argument}: {name_of(self._source)} must return an iterable of batches; "
                f"it returned {type(source).__name__}"
            )
        iterator, number = iter(source), 0
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
            expected = f"{self.steps} (steps_per_epoch)" if self.steps else "at least one"
            remedy = "" if number else f". {self._argument} must yield batches in every epoch"
            raise DataError(
                f"{self._argument}: number of batches in epoch {epoch + 1}: expected {expected}; "
                f"got {number}{remedy}"
            )

    def _checked(self, epoch: int) -> Generator[CheckedData]:
        largest = None
        with closing(self._unchecked(epoch)) as batches:  # an error may keep the generator alive
            for number, (title, batch) in enumerate(batches, 1):
                if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
                    several = isinstance(batch, tuple | list)
                    length = f" (length {len(batch)})" if several else ""
                    raise DataError(
                        f"{self._argument}: {title}: expected a tuple (X, y) or (X, y, "
                        f"sample_weight); got a value of type {type(batch).__name__}{length}"
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
        if largest is not None:
            argument = f"{self._argument}: epoch {epoch + 1}: sample_weight"
            check_largest_weight(largest, argument, self._builder.model.dtype)

    def _check(
        self, title: str, X: HostArray, y: HostArray, weights: HostArray | None = None
    ) -> CheckedData:
        builder, model = self._builder, self._builder.model
        names = None if self._kind is None else self.names  # the names in the first batch
        checked = builder.check(X, y, weights, names=names, prefix=f"{title}: ", part=True)
        rows = len(checked.X)
        if self._batch_size is not None and rows > self._batch_size:
            raise DataError(
                f"{title}: has {rows} rows, more than batch_size={self._batch_size}; set "
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
        for actual, first in zip(kind, self._kind, strict=True):
            if actual != first:
                raise DataError(f"{title}: has {actual}; the first batch had {first}")
        return checked

    def _check_validation_names(self, title: str, names: Names) -> None:
        for argument, training, validation in names.differences(self.validation_names):
            raise DataError(
                f"{title}: {argument}: the columns of validation_data differ from this batch: "
                f"{difference(validation, training) or 'they are in another order'}. Give "
                "the training and the validation data the same columns in the same order"
            )

    def updates(self, epoch: int, done: int, together: int) -> Generator[CheckedData]:
        # The source also makes the batches of the first `done` updates, but they are skipped. The
        # rows are copies, because the source may reuse a batch's arrays for the next batch.
        waiting: list[CheckedData] = []
        with closing(self._checked(epoch)) as batches:
            for number, checked in enumerate(batches):
                if number < done * together:
                    continue
                waiting.append(copied_rows(checked))
                if len(waiting) == together:
                    yield joined_batches(waiting)
                    waiting = []
        if waiting:
            yield joined_batches(waiting)

    def host_rows(self, epoch: int, done: int, together: int) -> HostRows:
        with closing(self.updates(epoch, done, together)) as updates:
            data = next(updates)
        return HostRows(data.X, data.targets, data.weights, *self._types(data), data.batches)

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
        inspect: Callable[[CheckedData], None] | None = None,
    ) -> Iterator[DeviceRows]:
        # The rows of an update overwrite the previous update's rows. `inspect` gets the rows of the
        # first update.
        if self._stager is None:
            self._stager = self._builder.model.backend.stager()
        stager = self._stager
        with Prefetch(lambda: self.updates(epoch, done, together), self._ahead) as updates:
            for data in updates:
                if inspect is not None:
                    inspect(data)
                    inspect = None
                rows = len(data.X)
                input_type, target_type, dtype = self._types(data)
                size = rows if capacity is None else capacity
                stager.begin()
                X = stager.put("X", data.X, size, input_type)
                y = stager.put("y", data.targets, size, target_type)
                weights = None
                if data.weights is not None:
                    weights = stager.put("weights", data.weights, size, dtype)
                order = stager.put("order", np.arange(rows), size, "int64")
                stager.ready()
                yield DeviceRows(X, y, weights, order, rows, batches=data.batches)

    def chunks(self, batch_size: int) -> Iterator[DeviceRows]:
        return self.chunks_of(self._epoch())

    def inspect(self, data: CheckedData) -> None:
        if self._inspected:
            return
        self._inspected = True
        builder, names = self._builder, self.names
        builder.warn(data.targets, None, untrained=self._untrained)
        activation = builder.loss.output_activation
        builder.model.remember(names.features, names.targets, activation)

    def check_again(self, builder: DatasetBuilder) -> None:
        self._builder = builder

    def inspect_sizes(self, sizes: tuple[int, ...]) -> None:
        if 1 in sizes and not self._warned:
            self._warned = True
            reason = f"a batch of {self._argument} has one row"
            warn_of_single_row(self._builder.model, reason, "Yield batches of two rows or more")

    def adapted_values(self, model: Sequential) -> dict[str, np.ndarray]:
        # A stream never has all rows together.
        label = next(
            label
            for label, layer in zip(model.labels, model.layers, strict=True)
            if layer.adapts or layer.adapts_to_targets
        )
        raise ArgumentError(
            f"layer {label!r}: must see all training rows together, but a batch has only a "
            "few rows. Before training, call trainer.fit(X, y, epochs=0) with arrays of sample rows"
        )

    def start(self, model: Sequential) -> None:
        # A stream never has all rows together.
        raise ArgumentError(
            "initializer: initial values that depend on training data can't be computed from "
            "batches. First call trainer.fit(X, y, epochs=0) with arrays of some rows"
        )

    def unload(self) -> None:
        self._stager = None


def copied_rows(data: CheckedData) -> CheckedData:
    weights = None if data.weights is None else data.weights.copy()
    return replace(data, X=data.X.copy(), targets=data.targets.copy(), weights=weights)


def joined_batches(parts: list[CheckedData]) -> CheckedData:
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


def name_of(source: object) -> str:
    return getattr(source, "__name__", type(source).__name__)


def number_of_batches(source: object) -> int | None:
    return len(source) if isinstance(source, Sized) and not callable(source) else None
