"""What a network for a table and its training are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpunn.configurable import check_choice, check_integer, resolve
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.layers import Layer
from gpunn.losses import BinaryCrossEntropy, Loss, MeanSquaredError, SoftmaxCrossEntropy
from gpunn.metrics import BinaryAccuracy, ClassMetric, LabelMetric, Metric, ValueMetric
from gpunn.optimizers import Optimizer

__all__ = ["TASKS", "Recipe", "batch_rows", "check_outputs", "checked_metric", "loss_of"]

TASKS = ("classification", "multilabel", "regression")
"""What targets are: one class per row, several labels that are each yes or no, or numbers."""


@dataclass(frozen=True)
class Recipe:
    """A network for a table, and how it is trained.

    The layers take rows as `schema.encode` returns them.

    Parameters
    ----------
    layers : list of Layer
        For one network; make another recipe for another one.
    loss : Loss
        What is minimised.
    optimizer : Optimizer
        How it is minimised; it has the schedule of the learning rate.
    metric : str
        It tells the best epoch, so there must be validation data.
    options : dict
        Arguments of `Trainer.fit`, as `trainer.fit(X, y, validation_data=(X_val, y_val),
        **recipe.options)`.

    See Also
    --------
    realmlp : Returns one for RealMLP.
    tabm : Returns one for TabM.

    Examples
    --------
    >>> import gpunn
    >>> people = {"age": [31, 45, 28, 62], "city": ["Oslo", "Rome", "Oslo", "Rome"]}
    >>> schema = gpunn.tables.Schema.fit(people)
    >>> recipe = gpunn.tabular.realmlp(schema, schema.encode(people), 2, "classification")
    >>> model = gpunn.Sequential(recipe.layers, schema.width, backend="numpy")
    >>> model.schema = schema
    >>> trainer = gpunn.Trainer(model, recipe.loss, recipe.optimizer, [recipe.metric])
    >>> model.predict(people).shape
    (4, 2)
    """

    layers: Sequence[Layer]
    loss: Loss
    optimizer: Optimizer
    metric: str
    options: Mapping[str, Any]


def check_outputs(task: str, outputs: Any) -> int:
    """Return the number of outputs, at least two for classes, or raise an error."""
    check_choice("task", task, TASKS)
    return check_integer("outputs", outputs, at_least=2 if task == "classification" else 1)


def checked_metric(task: str, metric: str | None, outputs: int) -> str:
    """Return the metric that tells the best epoch, or raise an error if it can't judge a task.

    None is the accuracy, of labels the binary accuracy; for regression the root mean squared error,
    and with several outputs R2, whose outputs all count alike.
    """
    if metric is None:
        error = "root_mean_squared_error" if outputs == 1 else "r2"
        return {"classification": "accuracy", "multilabel": "binary_accuracy"}.get(task, error)
    if not isinstance(metric, str):
        raise ArgumentTypeError(f"metric: expected the name of a metric; got {metric!r}")
    found = resolve(Metric, metric, "metric")
    if task == "multilabel":
        wanted = isinstance(found, (BinaryAccuracy, LabelMetric))
    elif task == "classification":
        wanted = not isinstance(found, ValueMetric)
    else:
        wanted = not isinstance(found, (ClassMetric, BinaryAccuracy))
    if not wanted:
        judged = "classes" if task == "regression" else "numbers"
        if task == "multilabel" and isinstance(found, ClassMetric):
            judged = "one class per row"
        example = "mean_absolute_error" if task == "regression" else "log_loss"
        said = "several labels" if task == "multilabel" else task
        raise ArgumentError(
            f"metric: {metric!r} judges {judged}, so it is not for {said}; take one such as "
            f"{example!r}"
        )
    most = 1 if task == "multilabel" else 2
    if outputs > most and getattr(found, "average", "") == "binary":
        raise ArgumentError(
            f"metric: {metric!r} is that of one of two classes, but there are {outputs}; take one "
            "such as 'auc' or 'log_loss'"
        )
    return metric


def loss_of(task: str, label_smoothing: float) -> Loss:
    """Return the loss of a task; the smoothing is for classification."""
    if task == "multilabel" and label_smoothing:
        raise ArgumentError(
            f"label_smoothing: is for one class per row, not for several labels; got "
            f"{label_smoothing!r}. Leave it out"
        )
    if task == "classification":
        return SoftmaxCrossEntropy(label_smoothing)
    return BinaryCrossEntropy() if task == "multilabel" else MeanSquaredError()


def batch_rows(batch_size: int | None, rows: int, table: Sequence[tuple[int, int]]) -> int:
    """Return how many rows a batch has: None looks up a number of training rows in a table."""
    if batch_size is None:
        batch_size = min(rows, max(batch for start, batch in table if rows >= start))
    return check_integer("batch_size", batch_size)
