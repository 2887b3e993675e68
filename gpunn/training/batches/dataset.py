"""Data for training and evaluation: checked inputs, targets and weights, and subsets of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from gpunn.configurable import check_fraction
from gpunn.data.batches import Dataset, DeviceRows
from gpunn.data.checks import (
    check_finite,
    check_inputs,
    check_rows,
    check_scale,
    check_weights,
    to_numpy,
)
from gpunn.data.frames import column_names, order_of
from gpunn.data.memory_maps import rows_of
from gpunn.data.splits import split_rows
from gpunn.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError
from gpunn.losses import Loss
from gpunn.meaning import plural
from gpunn.metrics import Metric
from gpunn.network import Sequential, chain_of_shapes
from gpunn.training.batches.class_and_sample_weights import combined_weights
from gpunn.training.batches.data_warnings import check_classes, warn_of_outputs, warn_of_scale
from gpunn.training.batches.initial_values_from_data import start_from_data
from gpunn.training.step.loss_computation import check_output_layers
from gpunn.typing import HostArray


@dataclass(frozen=True)
class Names:
    features: list[str] | None = None
    targets: list[str] | None = None

    @classmethod
    def of(cls, model: Sequential, X: Any, y: Any) -> Names:
        targets = column_names(y) if model.output_shape[0] > 1 else None
        return cls(model.feature_names or column_names(X), model.target_names or targets)

    def differences(self, others: Names) -> Iterator[tuple[str, list[str], list[str]]]:
        for argument, names, other_names in (
            ("X", self.features, others.features),
            ("y", self.targets, others.targets),
        ):
            if names is not None and other_names is not None and names != other_names:
                yield argument, names, other_names


class HostRows(NamedTuple):
    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None
    input_dtype: str
    target_dtype: str
    dtype: str
    batches: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Subset:
    """The rows of a data set with the given indices; None means all rows.

    Subsets that are used in turn, such as training and validation rows, need different
    `order_name`s: the device has one array of row numbers for each name.
    """

    dataset: Dataset
    indices: np.ndarray | None = None
    names: Names = Names()
    order_name: str = "order"

    @property
    def rows(self) -> int:
        return self.dataset.rows if self.indices is None else len(self.indices)

    @property
    def separate_metric_weights(self) -> bool:
        return self.dataset.metric_weights is not None

    def adapted_values(self, model: Sequential) -> dict[str, np.ndarray]:
        return model.adapted_values(self.dataset.X, self.indices, self.dataset.y)

    def start(self, model: Sequential) -> None:
        start_from_data(model, self.dataset.X, self.indices)

    def host_rows(self, order: np.ndarray) -> HostRows:
        data = self.dataset
        indices = order if self.indices is None else self.indices[order]
        return HostRows(
            X=rows_of(data.X, indices),
            y=rows_of(data.y, indices),
            weights=None if data.weights is None else data.weights[indices],
            input_dtype=data.input_dtype,
            target_dtype=data.target_dtype,
            dtype=data.dtype,
        )

    def chunks(self, batch_size: int, order: np.ndarray | None = None) -> Iterator[DeviceRows]:
        if self.indices is not None:
            order = self.indices if order is None else self.indices[order]
        return self.dataset.chunks(order, batch_size, self.order_name)

    def weights(self, order: np.ndarray | None) -> np.ndarray | None:
        weights = self.dataset.weights
        if weights is None:
            return None
        if self.indices is not None:
            weights = weights[self.indices]
        if order is not None:
            weights = weights[order]
        return weights.astype(self.dataset.dtype).astype(np.float64)

    def part(self, start: int, stop: int) -> Subset:
        rows = np.arange(start, stop) if self.indices is None else self.indices[start:stop]
        return replace(self, indices=rows)

    def check_again(self, builder: DatasetBuilder) -> None:
        if not np.array_equal(builder.check_targets(self.dataset.y), self.dataset.y):
            raise DataError(
                f"loss: a callback has set {builder.loss.name}, which needs targets in another "
                "format than the previous loss; call fit with the new loss"
            )

    def unload(self) -> None:
        self.dataset.unload()


@dataclass(frozen=True)
class CheckedData:
    X: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None
    names: Names
    batches: tuple[int, ...] | None = None


@dataclass(frozen=True)
class HeldOut:
    """Validation rows: either `data`, or the rows of X whose numbers are in `indices`.

    Training uses the rows of X whose numbers are in `kept`, or all rows if `kept` is None.
    """

    data: CheckedData | None = None
    kept: np.ndarray | None = None
    indices: np.ndarray | None = None


@dataclass(frozen=True)
class DatasetBuilder:
    model: Sequential
    loss: Loss
    metrics: Sequence[Metric]
    stream: bool | None = None

    def check(
        self,
        X: HostArray,
        y: HostArray,
        sample_weight: HostArray | None = None,
        *,
        names: Names | None = None,
        prefix: str = "",
        part: bool = False,
    ) -> CheckedData:
        # Columns of data frames get the order of the network's names, or of `names`. A network with
        # a schema also accepts rows of a table. In messages, `prefix`, such as "validation ",
        # precedes "X" and "y". If `part` is true, all weights may be 0.
        X = self.model.encoded(X, f"{prefix}X")
        model, names = self.model, names or Names.of(self.model, X, y)
        order = order_of(column_names(X), names.features, f"{prefix}X")
        target_order = order_of(column_names(y), names.targets, f"{prefix}y")
        X = to_numpy(X, f"{prefix}X")
        y = to_numpy(y, f"{prefix}y")
        if target_order is not None:
            y = y[:, target_order]
        try:
            X = check_inputs(X, model.input_shape, f"{prefix}X", model.dtype, order)
        except DataError as error:
            if X.shape[1:] == model.input_shape:
                raise
            raise DataError(f"{error}\n{self._diagram(X, y)}") from None
        if X.shape[0] == 0:
            raise DataError(f"{prefix}X: expected at least one row; got none")
        check_rows(X.shape[0], {f"{prefix}y": y}, f"{prefix}X")
        check_finite(y, f"{prefix}y", model.dtype)
        try:
            targets = self.check_targets(y)
        except DataError as error:
            shapes = f"\n{self._diagram(X, y)}" if isinstance(error, ShapeError) else ""
            raise DataError(f"{prefix}{error}{shapes}") from None
        weights = sample_weight
        if weights is not None:
            argument = f"{prefix}sample_weight"
            weights = check_weights(weights, len(X), argument, model.dtype, part=part)
        return CheckedData(X, targets, weights, names)

    def check_targets(self, y: np.ndarray) -> np.ndarray:
        outputs = self.model.output_shape[0]
        targets = self.loss.check_targets(y, outputs)
        for metric in self.metrics:
            metric.check_targets(targets, outputs)
        return targets

    def held_out(self, data: CheckedData, validation_data: Any, validation_split: float) -> HeldOut:
        fraction = check_fraction("validation_split", validation_split)
        if validation_data is not None:
            return HeldOut(self.held_out_rows(validation_data, data.names))
        if not fraction:
            return HeldOut()
        labels = self.loss.class_indices(data.targets)
        try:
            kept, held = split_rows(len(data.X), fraction, self.model.seed, labels)
        except ArgumentError as error:
            raise ArgumentError(f"validation_split: {error.problem}") from None
        if data.weights is not None and not data.weights[held].any():
            raise DataError(
                "validation_split: every held-out row has a sample weight of zero; increase "
                "validation_split, or give validation_data"
            )
        return HeldOut(None, kept, held)

    def held_out_by_number(
        self, data: CheckedData, rows: HostArray | None, validation_rows: HostArray | None
    ) -> HeldOut:
        kept, held = training_and_validation_rows(len(data.X), rows, validation_rows)
        if held is not None and data.weights is not None and not data.weights[held].any():
            raise DataError(
                "validation_rows: all these rows have a sample weight of zero; choose other rows"
            )
        return HeldOut(None, kept, held)

    def held_out_rows(self, validation_data: Any, names: Names | None = None) -> CheckedData:
        X, y, weights = unpacked(validation_data)
        return self.check(X, y, weights, names=names, prefix="validation ")

    def subset(self, data: CheckedData, indices: np.ndarray | None = None) -> Subset:
        return Subset(self._dataset(data.X, data.targets, data.weights), indices)

    def split(
        self,
        data: CheckedData,
        held_out: HeldOut,
        class_weight: Mapping[int, float] | str | None = None,
    ) -> tuple[Subset, Subset | None]:
        model, loss, kept = self.model, self.loss, held_out.kept
        self.check_network()
        weights, metric_weights = data.weights, None
        if class_weight is not None and self.metrics:
            metric_weights = np.ones(len(data.X)) if weights is None else weights
        outputs = model.output_shape[0]
        weights = combined_weights(loss, data.targets, weights, class_weight, outputs, kept)
        if class_weight is not None and weights is not None:
            used = weights if kept is None else weights[kept]
            check_scale(used, "sample_weight * class_weight", model.dtype)
        dataset = self._dataset(data.X, data.targets, weights, metric_weights)
        validation = None
        if held_out.indices is not None:
            validation = Subset(dataset, held_out.indices)
        elif held_out.data is not None:
            validation = self.subset(held_out.data)
        self.warn(data.targets, kept, untrained=model.output_activation is None)
        return Subset(dataset, kept, data.names), validation

    def check_network(self) -> None:
        check_classes(self.model, self.loss)
        check_output_layers(self.model, self.loss)

    def warn(self, targets: np.ndarray, kept: np.ndarray | None, *, untrained: bool) -> None:
        warn_of_outputs(self.model, self.loss, self.metrics, targets)
        if untrained:
            warn_of_scale(self.model, self.loss, targets, kept)

    def _dataset(
        self,
        X: np.ndarray,
        y: np.ndarray,
        weights: np.ndarray | None,
        metric_weights: np.ndarray | None = None,
    ) -> Dataset:
        model = self.model
        types = model.input_dtype(X.dtype), model.dtype
        return Dataset(model.backend, X, y, weights, types, self.stream, metric_weights)

    def _diagram(self, X: np.ndarray, y: np.ndarray) -> str:
        model = self.model
        return (
            f"    a row of X {X.shape} goes into\n"
            f"{chain_of_shapes(model.input_shape, model.labels, model.shapes)}\n"
            f"    the loss {self.loss.name!r} compares this output with a row of y {y.shape}"
        )


def unpacked(data: Any) -> tuple[HostArray, HostArray, HostArray | None]:
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        is_tuple = isinstance(data, (tuple, list))
        kind = type(data).__name__
        actual = f"a {kind} of length {len(data)}" if is_tuple else f"{kind}: {data!r:.40}"
        raise ArgumentError(
            f"validation_data: expected a tuple (X, y) or (X, y, sample_weight); got {actual}"
        )
    X, y, *weights = data
    return X, y, weights[0] if weights else None


def training_and_validation_rows(
    count: int, rows: HostArray | None, validation_rows: HostArray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    # If `rows` is None, all rows except validation rows are for training. Results are ascending.
    held = (
        None if validation_rows is None else row_numbers("validation_rows", validation_rows, count)
    )
    if rows is not None:
        kept = row_numbers("rows", rows, count)
    else:
        kept = np.setdiff1d(np.arange(count), [] if held is None else held)
        if not len(kept):
            raise ArgumentError(
                "validation_rows: contains all rows of X; leave some rows for training"
            )
    both = np.intersect1d(kept, [] if held is None else held)
    if len(both):
        raise ArgumentError(
            f"validation_rows: shares {plural(len(both), 'row number')} with rows, such as "
            f"{both[0]}; remove shared numbers from rows or validation_rows"
        )
    return kept, held


def row_numbers(name: str, given: HostArray, count: int) -> np.ndarray:
    found = np.asarray(given)
    if found.dtype == bool:
        raise ArgumentTypeError(
            f"{name}: expected row numbers; got Booleans. Use numpy.flatnonzero(mask)"
        )
    if found.ndim != 1 or not (found.dtype.kind in "iu" and len(found)):
        raise ArgumentTypeError(f"{name}: expected a list of row numbers; got {given!r:.80}")
    found = np.sort(found.astype(np.int64))
    if found[0] < 0 or found[-1] >= count:
        wrong = found[0] if found[0] < 0 else found[-1]
        raise ArgumentError(f"{name}: expected numbers from 0 to {count - 1}; got {wrong}")
    twice = found[1:][found[1:] == found[:-1]]
    if len(twice):
        raise ArgumentError(
            f"{name}: row {twice[0]} occurs more than once; give each row once, and use "
            "sample_weight to give a row more weight"
        )
    return found
