"""What a network for a table and its training are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpunn.configurable import check_choice, check_integer
from gpunn.layers import Layer
from gpunn.losses import Loss
from gpunn.optimizers import Optimizer

__all__ = ["TASKS", "Recipe", "batch_rows", "check_outputs", "default_metric"]

TASKS = ("classification", "regression")


@dataclass(frozen=True)
class Recipe:
    """A network for a table, and how it is trained.

    The layers take rows as `schema.encode` returns them::

        model = gpunn.Sequential(recipe.layers, schema.width)
        model.schema = schema
        trainer = gpunn.Trainer(model, recipe.loss, recipe.optimizer, [recipe.metric])
        trainer.fit(X, y, validation_split=0.2, **recipe.options)

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
        Arguments of `Trainer.fit`.

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


def default_metric(task: str, outputs: int) -> str:
    """Return the metric that tells the best epoch, unless another one is asked for."""
    if task == "classification":
        return "accuracy"
    return "root_mean_squared_error" if outputs == 1 else "r2"  # whose outputs all count alike


def batch_rows(rows: int, table: Sequence[tuple[int, int]]) -> int:
    """Return how many rows a batch has, by the number of training rows.

    Parameters
    ----------
    rows : int
    table : sequence of (int, int)
        Each a number of training rows, and the rows of a batch from there on.
    """
    return min(rows, max(batch for start, batch in table if rows >= start))
