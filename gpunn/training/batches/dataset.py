"""What training and evaluation go through: checked inputs, targets and weights, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gpunn.configurable import check_fraction
from gpunn.data.batches import Dataset, DeviceRows
from gpunn.data.checks import check_finite, check_inputs, check_rows, check_weights, to_numpy
from gpunn.data.frames import column_names, order_of
from gpunn.data.memory_maps import rows_of
from gpunn.data.preprocessing import split_rows
from gpunn.errors import ArgumentError, DataError, ShapeError
from gpunn.losses import Loss
from gpunn.metrics import Metric
from gpunn.network import Sequential
from gpunn.training.batches.class_and_sample_weights import combined_weights
from gpunn.training.batches.data_warnings import check_classes, warn_of_outputs, warn_of_scale
from gpunn.training.batches.initial_values_from_data import start_from_data
from gpunn.training.step.loss_computation import check_output_layers
from gpunn.typing import HostArray

__all__ = ["CheckedData", "DatasetBuilder", "HeldOut", "HostRows", "Names", "Subset"]


@dataclass(frozen=True)
class Names:
    """Names of the columns of inputs and targets that are data frames, in the network's order."""

    features: list[str] | None = None
    targets: list[str] | None = None

    @classmethod
    def of(cls, model: Sequential, X: Any, y: Any) -> Names:
        """Return the names that a network has, and those of its data where it has none yet."""
        targets = column_names(y) if model.output_shape[0] > 1 else None
        return cls(model.feature_names or column_names(X), model.target_names or targets)

    def differences(self, others: Names) -> Iterator[tuple[str, list[str], list[str]]]:
        """Yield "X" or "y" and both names, where both are known and are not the same."""
        for argument, here, there in (
            ("X", self.features, others.features),
            ("y", self.targets, others.targets),
        ):
            if here is not None and there is not None and here != there:
                yield argument, here, there


class HostRows(NamedTuple):
    """Rows of one update on the host, and their types on the device.

    `dtype` is the type of weights; `batches` is as in `DeviceRows`.
    """

    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None
    input_dtype: str
    target_dtype: str
    dtype: str
    batches: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Subset:
    """Some rows of a data set: those with these indices, or all. `names` are of its columns."""

    dataset: Dataset
    indices: np.ndarray | None = None
    names: Names = Names()

    @property
    def rows(self) -> int:
        """How many they are."""
        return self.dataset.rows if self.indices is None else len(self.indices)

    @property
    def separate_metric_weights(self) -> bool:
        """Whether metrics have other weights than the loss."""
        return self.dataset.metric_weights is not None

    def adapted_values(self, model: Sequential) -> dict[str, np.ndarray]:
        """Return what the network's layers learn from the rows; see `Sequential.adapted_values`."""
        return model.adapted_values(self.dataset.X, self.indices, self.dataset.y)

    def start(self, model: Sequential) -> None:
        """Set the network's initial values that depend on the rows."""
        start_from_data(model, self.dataset.X, self.indices)

    def host_rows(self, order: np.ndarray) -> HostRows:
        """Return the rows with these numbers."""
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
        """Yield them on the device, in this order (as they are if None), in whole batches."""
        if self.indices is not None:
            order = self.indices if order is None else self.indices[order]
        return self.dataset.chunks(order, batch_size)

    def weights(self, order: np.ndarray | None) -> np.ndarray | None:
        """Return the weights of the loss in this order, as the device has them, in float64."""
        weights = self.dataset.weights
        if weights is None:
            return None
        if self.indices is not None:
            weights = weights[self.indices]
        if order is not None:
            weights = weights[order]
        return weights.astype(self.dataset.dtype).astype(np.float64)

    def part(self, start: int, stop: int) -> Subset:
        """Return the rows from number `start` to before `stop`."""
        rows = np.arange(start, stop) if self.indices is None else self.indices[start:stop]
        return Subset(self.dataset, rows, self.names)

    def unload(self) -> None:
        """Let go of the device's memory."""
        self.dataset.unload()


@dataclass(frozen=True)
class CheckedData:
    """Host arrays that fit a network, its loss and metrics; nothing looks at them again.

    Targets are in the form in which the loss takes them, weights of float64, and `batches` as in
    `DeviceRows`.
    """

    X: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None
    names: Names
    batches: tuple[int, ...] | None = None


@dataclass(frozen=True)
class HeldOut:
    """What validates a training: rows of their own, some rows of the training data, or none.

    `data` are rows of their own. Else `indices` says which of the training data's rows to validate
    on, and `kept` which to train on (None: all).
    """

    data: CheckedData | None = None
    kept: np.ndarray | None = None
    indices: np.ndarray | None = None


@dataclass(frozen=True)
class DatasetBuilder:
    """Checks data against a network, its loss and metrics, and makes data sets of it."""

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
        """Return data that fits, with a data frame's columns in the order of the network's names.

        The data is as `Trainer.fit` takes it; rows of a table, if the network has a schema. `names`
        are of the columns, if they are not those of the network or the data. Messages say `prefix`
        before "X" and "y", such as "validation ". If these are a `part` of the rows, all their
        weights may be 0.

        Raise a DataError if the data does not fit the network, the loss or a metric.
        """
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
            raise DataError(f"{error}\n{self._picture(X, y)}") from None
        if X.shape[0] == 0:
            raise DataError(f"{prefix}X: expected at least one row; got none")
        check_rows(X.shape[0], {f"{prefix}y": y}, f"{prefix}X")
        check_finite(y, f"{prefix}y", model.dtype)
        outputs = model.output_shape[0]
        try:
            targets = self.loss.check_targets(y, outputs)
            for metric in self.metrics:
                metric.check_targets(targets, outputs)
        except DataError as error:
            shapes = f"\n{self._picture(X, y)}" if isinstance(error, ShapeError) else ""
            raise DataError(f"{prefix}{error}{shapes}") from None
        weights = sample_weight
        if weights is not None:
            argument = f"{prefix}sample_weight"
            weights = check_weights(weights, len(X), argument, model.dtype, part=part)
        return CheckedData(X, targets, weights, names)

    def held_out(self, data: CheckedData, validation_data: Any, validation_split: float) -> HeldOut:
        """Return what `Trainer.fit` validates on, as its two parameters say.

        Raise an ArgumentError if they are impossible, and a DataError if the validation data does
        not fit, or no row is left that has a weight.
        """
        fraction = check_fraction("validation_split", validation_split)
        if validation_data is not None and fraction:
            raise ArgumentError("validation_split: can't be given beside validation_data")
        if validation_data is not None:
            return HeldOut(self.held_out_rows(validation_data, data.names))
        if not fraction:
            return HeldOut()
        labels = self.loss.class_indices(data.targets)
        kept, held = split_rows(len(data.X), fraction, self.model.seed, labels)
        if data.weights is not None and not data.weights[held].any():
            raise DataError(
                "validation_split: every row that was set aside has a sample weight of zero"
            )
        return HeldOut(None, kept, held)

    def held_out_rows(self, validation_data: Any, names: Names | None = None) -> CheckedData:
        """Return validation data that are arrays, with the columns of the training data.

        Without `names` they are those of the network, or else of the validation data.
        """
        X, y, weights = unpacked(validation_data)
        return self.check(X, y, weights, names=names, prefix="validation ")

    def subset(self, data: CheckedData, indices: np.ndarray | None = None) -> Subset:
        """Return these rows of the data; None is all of them."""
        return Subset(self._dataset(data.X, data.targets, data.weights), indices)

    def split(
        self,
        data: CheckedData,
        held_out: HeldOut,
        class_weight: Mapping[int, float] | str | None = None,
    ) -> tuple[Subset, Subset | None]:
        """Return what to train on, and what to validate on, if anything.

        Raise a DataError if the network has names of other classes, the targets are no classes
        although these have weights, or no row to train on has a weight above zero.
        """
        model, loss, kept = self.model, self.loss, held_out.kept
        self.check_network()
        weights, metric_weights = data.weights, None
        if class_weight is not None and self.metrics:
            metric_weights = np.ones(len(data.X)) if weights is None else weights
        outputs = model.output_shape[0]
        weights = combined_weights(loss, data.targets, weights, class_weight, outputs, kept)
        dataset = self._dataset(data.X, data.targets, weights, metric_weights)
        validation = None
        if held_out.indices is not None:
            validation = Subset(dataset, held_out.indices)
        elif held_out.data is not None:
            validation = self.subset(held_out.data)
        self.warn(data.targets, kept, untrained=model.output_activation is None)
        return Subset(dataset, kept, data.names), validation

    def check_network(self) -> None:
        """Raise an error if the network does not go with the loss."""
        check_classes(self.model, self.loss)
        check_output_layers(self.model, self.loss)

    def warn(self, targets: np.ndarray, kept: np.ndarray | None, *, untrained: bool) -> None:
        """Warn of what network and targets of training rows can hardly be meant to be."""
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

    def _picture(self, X: np.ndarray, y: np.ndarray) -> str:
        """Return a picture of the shapes of data, network and loss, one under the other."""
        return (
            f"    X {X.shape}, of which a row goes into\n{self.model.shapes_picture()}\n"
            f"    which the loss {self.loss.name!r} compares with a row of y {y.shape}"
        )


def unpacked(data: Any) -> tuple[HostArray, HostArray, HostArray | None]:
    """Return X, y and sample weights, or raise an ArgumentError if `validation_data` is not so."""
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        found = f"{type(data).__name__} of {len(data)}" if isinstance(data, (tuple, list)) else data
        raise ArgumentError(
            f"validation_data: expected a tuple (X, y) or (X, y, sample_weight); got {found!r}"
        )
    X, y, *weights = data
    return X, y, weights[0] if weights else None
