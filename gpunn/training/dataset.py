"""What training and evaluation go through: checked inputs, targets and weights, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunn.configurable import check_number
from gpunn.data.batches import Dataset, DeviceRows
from gpunn.data.checks import check_finite, check_inputs, check_rows, check_weights, to_numpy
from gpunn.data.frames import column_names, order_of
from gpunn.data.preprocessing import split_rows
from gpunn.errors import ArgumentError, DataError
from gpunn.losses import Loss
from gpunn.metrics import Metric
from gpunn.network import Sequential
from gpunn.training.checks import check_classes, warn_of_outputs, warn_of_scale
from gpunn.training.weights import combined_weights
from gpunn.typing import HostArray

__all__ = ["DatasetBuilder", "HeldOut", "Names", "Subset"]


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


@dataclass(frozen=True)
class Subset:
    """Some rows of a data set.

    Attributes
    ----------
    dataset : Dataset
    indices : ndarray of int64 or None
        Which of its rows; None is all of them.
    names : Names
        Of its columns.
    """

    dataset: Dataset
    indices: np.ndarray | None = None
    names: Names = Names()

    @property
    def rows(self) -> int:
        """How many they are."""
        return self.dataset.rows if self.indices is None else len(self.indices)

    def chunks(self, batch_size: int, order: np.ndarray | None = None) -> Iterator[DeviceRows]:
        """Yield them on the device, in this order (as they are if None), in whole batches."""
        if self.indices is not None:
            order = self.indices if order is None else self.indices[order]
        return self.dataset.chunks(order, batch_size)

    def unload(self) -> None:
        """Let go of the device's memory."""
        self.dataset.unload()


@dataclass(frozen=True)
class HeldOut:
    """What validates a training, one of these at most; see `Trainer.fit`.

    Attributes
    ----------
    data : tuple of (X, y) or (X, y, sample_weight), or None
        Rows of their own.
    fraction : float
        Of the rows, which are drawn at random.
    kept, indices : ndarray of int64 or None
        Where that is decided already: which of the rows to train on, and which to validate on.
    """

    data: tuple[HostArray, ...] | None = None
    fraction: float = 0.0
    kept: np.ndarray | None = None
    indices: np.ndarray | None = None


@dataclass(frozen=True)
class DatasetBuilder:
    """Checks data against a network, its loss and metrics, and makes data sets of it.

    Attributes
    ----------
    model, loss, metrics
    stream : bool or None
        As `Trainer.fit` takes it.

    Raises
    ------
    DataError
        By each method, if the data does not fit the network, the loss or a metric.
    """

    model: Sequential
    loss: Loss
    metrics: Sequence[Metric]
    stream: bool | None = None

    def subset(
        self,
        X: HostArray,
        y: HostArray,
        sample_weight: HostArray | None = None,
        indices: np.ndarray | None = None,
    ) -> Subset:
        """Return these rows of the data (None: all of them). All are checked."""
        names = Names.of(self.model, X, y)
        return Subset(self._dataset(*self._checked((X, y, sample_weight), names)), indices)

    def split(
        self,
        X: HostArray,
        y: HostArray,
        sample_weight: HostArray | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        held_out: HeldOut = HeldOut(),
    ) -> tuple[Subset, Subset | None]:
        """Return what to train on, and what to validate on, if anything. All rows are checked.

        Raises
        ------
        ArgumentError
            If an option is impossible.
        """
        fraction = check_number("validation_split", held_out.fraction, at_least=0, below=1)
        if held_out.data is not None and fraction:
            raise ArgumentError("validation_split: can't be given beside validation_data")
        model, loss = self.model, self.loss
        names = Names.of(model, X, y)
        X, targets, weights = self._checked((X, y, sample_weight), names)
        check_classes(model, loss)
        kept, held = held_out.kept, held_out.indices
        if fraction:
            kept, held = split_rows(len(X), fraction, model.seed, loss.class_indices(targets))
            if weights is not None and not weights[held].any():
                raise DataError(
                    "validation_split: every row that was set aside has a sample weight of zero"
                )
        metric_weights = None
        if class_weight is not None and self.metrics:
            metric_weights = np.ones(len(X)) if weights is None else weights
        outputs = model.output_shape[0]
        weights = combined_weights(loss, targets, weights, class_weight, outputs, kept)
        dataset = self._dataset(X, targets, weights, metric_weights)
        training, validation = Subset(dataset, kept, names), None
        if held is not None:
            validation = Subset(dataset, held)
        elif held_out.data is not None:
            checked = self._checked(unpacked(held_out.data), names, "validation ")
            validation = Subset(self._dataset(*checked))
        warn_of_outputs(model, loss, self.metrics, targets)
        warn_of_scale(model, loss, targets, kept)
        return training, validation

    def _checked(
        self, data: tuple[HostArray, HostArray, HostArray | None], names: Names, prefix: str = ""
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return X, y and sample weights, with columns in the order of these names."""
        model, (X, y, weights) = self.model, data
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
            shapes = f"\n{self._picture(X, y)}" if "shape" in str(error) else ""
            raise DataError(f"{prefix}{error}{shapes}") from None
        if weights is not None:
            weights = check_weights(weights, X.shape[0], f"{prefix}sample_weight", model.dtype)
        return X, targets, weights

    def _dataset(
        self,
        X: np.ndarray,
        y: np.ndarray,
        weights: np.ndarray | None,
        metric_weights: np.ndarray | None = None,
    ) -> Dataset:
        model = self.model
        types = model.input_dtype(X.dtype), model.dtype
        return Dataset(model.backend, X, y, weights, *types, self.stream, metric_weights)

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
