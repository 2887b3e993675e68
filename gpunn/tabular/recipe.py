"""Recipes of tabular models: the layers of a model, and the settings for its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpunn.configurable import check_choice, check_integer, check_quantiles, resolve
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.layers import Layer
from gpunn.losses import BinaryCrossEntropy, Loss, MeanSquaredError, Quantiles, SoftmaxCrossEntropy
from gpunn.metrics import BinaryAccuracy, ClassMetric, LabelMetric, Metric, ValueMetric
from gpunn.optimizers import Optimizer

TASKS = ("classification", "multilabel", "regression")

TRANSFORMS = ("log",)
"""Functions of the targets, whose results a model can learn instead of the targets."""

LOSS = "loss"

COMMON = {"classification": "accuracy", "multilabel": "binary_accuracy", "regression": "r2"}

FURTHER = {"classification": ("log_loss", "auc"), "multilabel": ("log_loss", "auc")}


@dataclass(frozen=True)
class Recipe:
    """A tabular model and its settings for training.

    The layers accept rows that `schema.encode` returned.

    Parameters
    ----------
    layers : list of Layer
        Layers of one network. Since a layer belongs to one network, another network needs another
        recipe.
    loss : Loss
        The loss to minimize.
    optimizer : Optimizer
        The optimizer, including the schedule of the learning rate.
    task : {"classification", "multilabel", "regression"}
        Whether targets are classes, several binary labels, or numbers.
    metric : str
        The metric that selects the best epoch, or "loss". Training needs validation data.
    options : dict
        Arguments of `Trainer.fit`, to pass as `trainer.fit(X, y, validation_data=(X_val, y_val),
        **recipe.options)`.

    Attributes
    ----------
    metrics, validation_metrics : list of str
        Arguments of `Trainer`: the metrics to log, including `metric`.

    See Also
    --------
    realmlp : Returns a recipe for RealMLP.
    tabm : Returns a recipe for TabM.

    Examples
    --------
    >>> people = {"age": [31, 45, 28, 62], "city": ["Oslo", "Rome", "Oslo", "Rome"]}
    >>> schema = gpunn.tables.Schema.fit(people)
    >>> recipe = gpunn.tabular.realmlp(schema, schema.encode(people), 2, "classification")
    >>> model = gpunn.Sequential(recipe.layers, schema.width, backend="numpy")
    >>> model.schema = schema
    >>> metrics = {"metrics": recipe.metrics, "validation_metrics": recipe.validation_metrics}
    >>> trainer = gpunn.Trainer(model, recipe.loss, recipe.optimizer, **metrics)
    >>> model.predict(people).shape
    (4, 2)
    """

    layers: Sequence[Layer]
    loss: Loss
    optimizer: Optimizer
    task: str
    metric: str
    options: Mapping[str, Any]

    @property
    def metrics(self) -> list[str]:
        """Metrics to compute on the training rows and the validation rows."""
        if isinstance(self.loss, Quantiles):
            return []  # metrics compare predictions with targets, but these are quantiles
        both = dict.fromkeys((self.metric, COMMON[self.task]))
        return [name for name in both if name not in (LOSS, *self.validation_metrics)]

    @property
    def validation_metrics(self) -> list[str]:
        """Metrics to compute only on the validation rows."""
        return list(FURTHER.get(self.task, ()))


def check_transform(task: str, transform: str | None) -> str | None:
    if transform is not None:
        check_choice("target_transform", transform, TRANSFORMS)
        if task != "regression":
            raise ArgumentError(f"target_transform: needs the task 'regression'; got {task!r}")
    return transform


def checked_metric(
    task: str, metric: str | None, outputs: int, transform: str | None = None
) -> str:
    # By default, the metric is the log loss for classes and labels, the root mean squared error for
    # a number, R2 for several numbers per row, which gives all outputs equal weight, or the loss of
    # transformed targets.
    if metric is None:
        error = "root_mean_squared_error" if outputs == 1 else "r2"
        metric = LOSS if transform else error if task == "regression" else "log_loss"
    if metric == LOSS:
        return metric
    if not isinstance(metric, str):
        raise ArgumentTypeError(f"metric: expected the name of a metric; got {metric!r}")
    resolved = resolve(Metric, metric, "metric")
    if task == "multilabel":
        fits = isinstance(resolved, (BinaryAccuracy, LabelMetric))
    elif task == "classification":
        fits = not isinstance(resolved, ValueMetric)
    else:
        fits = not isinstance(resolved, (ClassMetric, BinaryAccuracy))
    if not fits:
        targets = "classes" if task == "regression" else "numbers"
        if task == "multilabel" and isinstance(resolved, ClassMetric):
            targets = "one class per row"
        example = "mean_absolute_error" if task == "regression" else "log_loss"
        purpose = "multilabel targets" if task == "multilabel" else task
        raise ArgumentError(
            f"metric: {metric!r} evaluates {targets}, so it does not fit {purpose}; choose "
            f"another metric, such as {example!r}"
        )
    limit = 1 if task == "multilabel" else 2
    if outputs > limit and getattr(resolved, "average", "") == "binary":
        raise ArgumentError(
            f"metric: {metric!r} evaluates one of two classes, but there are {outputs} outputs; "
            "choose another metric, such as 'auc' or 'log_loss'"
        )
    return metric


def with_quantiles(
    task: str, outputs: int, metric: str | None, quantiles: Sequence[float] | None
) -> tuple[int, str | None]:
    check_choice("task", task, TASKS)
    outputs = check_integer("outputs", outputs, at_least=2 if task == "classification" else 1)
    if quantiles is None:
        return outputs, metric
    if task != "regression" or outputs != 1:
        raise ArgumentError(
            f"quantiles: needs regression with one target; got task={task!r}, outputs={outputs}"
        )
    if metric not in (None, LOSS):
        raise ArgumentError(
            f"metric: {metric!r} cannot be combined with quantiles; remove it, or choose {LOSS!r}"
        )
    if 0.5 not in check_quantiles("quantiles", quantiles):
        raise ArgumentError(
            f"quantiles: add 0.5, since the median is the prediction; got {quantiles!r:.80}"
        )
    return len(quantiles), LOSS


def loss_of(task: str, label_smoothing: float, quantiles: Sequence[float] | None = None) -> Loss:
    if quantiles is not None:
        return Quantiles(quantiles)
    if task == "multilabel" and label_smoothing:
        raise ArgumentError(
            f"label_smoothing: expected 0 for multilabel targets; got {label_smoothing!r}"
        )
    if task == "classification":
        return SoftmaxCrossEntropy(label_smoothing)
    return BinaryCrossEntropy() if task == "multilabel" else MeanSquaredError()


def batch_rows(batch_size: int | None, rows: int, table: Sequence[tuple[int, int]]) -> int:
    if batch_size is None:
        batch_size = min(rows, max(batch for start, batch in table if rows >= start))
    return check_integer("batch_size", batch_size)
