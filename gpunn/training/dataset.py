"""What training and evaluation go through: checked inputs, targets and weights, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gpunn.configurable import check_number
from gpunn.data.batches import Dataset, DeviceRows
from gpunn.data.checks import check_finite, check_inputs, check_rows, check_weights, to_numpy
from gpunn.data.frames import column_names, difference, order_of
from gpunn.data.preprocessing import split_rows
from gpunn.errors import ArgumentError, DataError
from gpunn.meaning import feature_names_in, shown, target_names_in
from gpunn.training.checks import check_classes, warn_of_outputs, warn_of_scale
from gpunn.training.weights import combined_weights
from gpunn.typing import HostArray

if TYPE_CHECKING:
    from gpunn.training.checkpoint import Checkpoint
    from gpunn.training.trainer import Trainer

__all__ = ["Names", "Subset", "check_same_names", "examples", "training_examples"]


@dataclass(frozen=True)
class Names:
    """Names of the columns of inputs and targets that are data frames, in the network's order."""

    features: list[str] | None = None
    targets: list[str] | None = None

    @classmethod
    def of(cls, trainer: Trainer, X: Any, y: Any) -> Names:
        """Return the names that a network has, and those of its data where it has none yet."""
        model = trainer.model
        targets = column_names(y) if model.output_shape[0] > 1 else None
        return cls(model.feature_names or column_names(X), model.target_names or targets)


@dataclass(frozen=True)
class Subset:
    """Rows of a source.

    Attributes
    ----------
    source : Dataset
    indices : ndarray of int64 or None
        Which of its rows; None is all of them.
    names : Names
        Of its columns.
    """

    source: Dataset
    indices: np.ndarray | None = None
    names: Names = Names()

    @property
    def rows(self) -> int:
        """How many they are."""
        return self.source.rows if self.indices is None else len(self.indices)

    def chunks(self, batch_size: int, order: np.ndarray | None = None) -> Iterator[DeviceRows]:
        """Yield them on the device, in this order (as they are if None), in whole batches."""
        if self.indices is not None:
            order = self.indices if order is None else self.indices[order]
        return self.source.chunks(order, batch_size)

    def unload(self) -> None:
        """Let go of the device's memory."""
        self.source.unload()


def check_same_names(checkpoint: Checkpoint, names: Names) -> None:
    """Raise an ArgumentError unless data has its columns as a checkpoint's had them.

    Its network is not loaded yet when data is checked, so they are not put into order.
    """
    about = checkpoint.description
    outputs = (len(names.targets or ()),)
    for argument, ours, theirs in (
        ("X", names.features, feature_names_in(about.metadata, tuple(about.input_shape))),
        ("y", names.targets, target_names_in(about.metadata, outputs)),
    ):
        if ours is not None and theirs is not None and ours != theirs:
            problem = difference(ours, theirs) or f"they were in the order {shown(theirs)}"
            raise ArgumentError(
                f"resume_from: {checkpoint.path} is of a training on other columns of {argument}: "
                f"{problem}. Make the call that was interrupted"
            )


def examples(
    trainer: Trainer,
    X: HostArray,
    y: HostArray,
    sample_weight: HostArray | None,
    stream: bool | None,
    indices: np.ndarray | None = None,
) -> Subset:
    """Check a data set against a trainer's network, loss and metrics.

    Parameters
    ----------
    indices : ndarray of int64 or None
        Which of the rows are meant; None is all of them. All are checked.

    Raises
    ------
    DataError
        If it does not fit them.
    """
    names = Names.of(trainer, X, y)
    checked = _checked(trainer, X, y, sample_weight, names)
    return Subset(_source(trainer, *checked, stream), indices)


def training_examples(
    trainer: Trainer,
    X: HostArray,
    y: HostArray,
    *,
    sample_weight: HostArray | None,
    class_weight: Mapping[int, float] | str | None,
    validation_data: tuple[HostArray, ...] | None,
    validation_split: float,
    stream: bool | None,
    kept: np.ndarray | None = None,
    held: np.ndarray | None = None,
) -> tuple[Subset, Subset | None]:
    """Check what `Trainer.fit` was given, and set aside the validation data.

    Parameters
    ----------
    kept, held : ndarray of int64 or None
        Which rows to train on, and which to validate on, where that is decided already. All
        rows are checked.

    Returns
    -------
    training, validation : Subset
        The latter None if there are none.

    Raises
    ------
    DataError
        If the data does not fit the network, the loss or a metric.
    ArgumentError
        If an option is impossible.
    """
    split = check_number("validation_split", validation_split, at_least=0, below=1)
    if validation_data is not None and split:
        raise ArgumentError("validation_split: can't be given beside validation_data")
    model, loss = trainer.model, trainer.loss
    names = Names.of(trainer, X, y)
    X, targets, weights = _checked(trainer, X, y, sample_weight, names)
    check_classes(model, loss)
    if split:
        kept, held = split_rows(len(X), split, model.seed, loss.class_indices(targets))
        if weights is not None and not weights[held].any():
            raise DataError(
                "validation_split: every row that was set aside has a sample weight of zero"
            )
    outputs = model.output_shape[0]
    metric_weights = None
    if class_weight is not None and trainer.metrics:
        metric_weights = np.ones(len(X)) if weights is None else weights
    weights = combined_weights(loss, targets, weights, class_weight, outputs, kept)
    source = _source(trainer, X, targets, weights, stream, metric_weights)
    training, validation = Subset(source, kept, names), None
    if held is not None:
        validation = Subset(source, held)
    elif validation_data is not None:
        checked = _checked(trainer, *_unpacked(validation_data), names, "validation ")
        validation = Subset(_source(trainer, *checked, stream))
    warn_of_outputs(model, loss, trainer.metrics, targets)
    warn_of_scale(model, loss, targets, kept)
    return training, validation


def _unpacked(data: Any) -> tuple[HostArray, HostArray, HostArray | None]:
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        found = f"{type(data).__name__} of {len(data)}" if isinstance(data, (tuple, list)) else data
        raise ArgumentError(
            f"validation_data: expected a tuple (X, y) or (X, y, sample_weight); got {found!r}"
        )
    X, y, *weights = data
    return X, y, weights[0] if weights else None


def _checked(
    trainer: Trainer,
    X: HostArray,
    y: HostArray,
    weights: HostArray | None,
    names: Names,
    prefix: str = "",
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    model = trainer.model
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
        raise DataError(f"{error}\n{picture(trainer, X, y)}") from None
    if X.shape[0] == 0:
        raise DataError(f"{prefix}X: expected at least one row; got none")
    check_rows(X.shape[0], {f"{prefix}y": y}, f"{prefix}X")
    check_finite(y, f"{prefix}y", model.dtype)
    outputs = model.output_shape[0]
    try:
        targets = trainer.loss.check_targets(y, outputs)
        for metric in trainer.metrics:
            metric.check_targets(targets, outputs)
    except DataError as error:
        shapes = f"\n{picture(trainer, X, y)}" if "shape" in str(error) else ""
        raise DataError(f"{prefix}{error}{shapes}") from None
    if weights is not None:
        weights = check_weights(weights, X.shape[0], f"{prefix}sample_weight", model.dtype)
    return X, targets, weights


def _source(
    trainer: Trainer,
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray | None,
    stream: bool | None,
    metric_weights: np.ndarray | None = None,
) -> Dataset:
    model = trainer.model
    types = model.input_dtype(X.dtype), model.dtype
    return Dataset(model.backend, X, y, weights, *types, stream, metric_weights)


def picture(trainer: Trainer, X: np.ndarray, y: np.ndarray) -> str:
    """Return a picture of the shapes of data, network and loss, one under the other."""
    return (
        f"    X {X.shape}, of which a row goes into\n{trainer.model.shapes_picture()}\n"
        f"    which the loss {trainer.loss.name!r} compares with a row of y {y.shape}"
    )
