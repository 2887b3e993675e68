"""TabM (Gorishniy et al. 2025), an ensemble whose members share most of their parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gpunn.activations import Activation
from gpunn.configurable import check_choice, check_flag, check_integer, check_integers
from gpunn.layers import (
    Dropout,
    Embedding,
    Layer,
    MeanOverMembers,
    MemberDense,
    Members,
    OneHot,
    SortedOutputs,
    TargetScaling,
)
from gpunn.optimizers import AdamW
from gpunn.tables import Schema
from gpunn.tabular.columns import (
    NUMBER_EMBEDDINGS,
    Group,
    check_encoded,
    column_groups,
    embedding_of_numbers,
    first_layers,
)
from gpunn.tabular.recipe import (
    Recipe,
    batch_rows,
    check_transform,
    checked_metric,
    loss_of,
    with_quantiles,
)
from gpunn.training.callbacks import EarlyStopping

KINDS = ("mini", "full", "packed")

BATCHES = ((0, 256), (100_000, 1024))
"""Pairs (minimum number of training rows, batch size). From 15,000 rows on, the authors of TabM use
the batch size 512, which was no better on the tables of docs/explanation/benchmarks.md."""

PRESETS: dict[str, tuple[int, tuple[int, ...] | None]] = {
    "cpu": (8, (192, 192, 192)),
    "paper": (32, None),
}

# Epochs, and updates, without an improvement after which training ends. With 16 epochs, the default
# of TabM's authors, one of three fits on the diamonds of docs/explanation/benchmarks.md stopped too
# early. The log loss is best a few epochs after the accuracy. In three fits on credit risk and dry
# beans, a patience of 24 epochs found the same best epochs as 32.
PATIENCE, PATIENCE_OF_LOG_LOSS, MIN_UPDATES = 32, 24, 256


def tabm(
    schema: Schema,
    X: np.ndarray,
    outputs: int,
    task: str,
    *,
    kind: str = "mini",
    members: int = 32,
    hidden_layer_sizes: Sequence[int] | None = None,
    activation: str | Activation = "relu",
    number_embedding: str = "piecewise",
    embedding_size: int = 16,
    embedding_sigma: float = 0.01,
    bins: int | None = None,
    max_one_hot: int = 64,
    learning_rate: float = 0.002,
    dropout: float = 0.1,
    weight_decay: float = 0.0003,
    max_norm: float | None = 1.0,
    label_smoothing: float = 0.0,
    epochs: int = 1000,
    patience: int | None = None,
    batch_size: int | None = None,
    shuffle_members: bool = False,
    metric: str | None = None,
    target_transform: str | None = None,
    quantiles: Sequence[float] | None = None,
) -> Recipe:
    """Return a TabM for a table, with settings that TabM's authors recommend without tuning.

    Each of the k members predicts from the same row, and the mean of their predictions is the
    model's prediction. The network consists of h_0 = r_m * x, then blocks h_l = dropout(relu(...))
    with weights W_l, then a last layer. The kind determines which parameters each member m has
    separately::

        "mini":    r_m, and the last layer
        "full":    the last layer, and all parameters except W_l in
                   h_l = relu(s_lm * (W_l^T @ (r_lm * h_{l-1})) + b_lm)
        "packed":  everything

    The loss is the mean of the members' losses. Numbers get a `PiecewiseLinearEmbedding`, and
    categories are one-hot encoded. Training ends when the validation predictions stop improving.

    Parameters
    ----------
    schema : Schema
        The schema, which is learned from the training rows with the scaling "quantile".
    X, outputs, task : as for `realmlp`
        The training rows, the number of outputs, and the kind of targets.
    kind : {"mini", "full", "packed"}
        The parameters that members do not share.
    members : int
        Number k of members.
    hidden_layer_sizes : sequence of int or None
        Units of each hidden layer. None means two layers of 512 units, or three layers if numbers
        are not embedded.
    activation, number_embedding, embedding_size : as for `gpunn.sklearn.TabMClassifier`
        The function between layers, and the embedding of numbers.
    embedding_sigma : float
        Standard deviation of the initial frequencies of periodic embeddings.
    bins, max_one_hot, learning_rate : as for `gpunn.sklearn.TabMClassifier`
        Maximum numbers of bins (None means "auto") and of one-hot categories, and the learning
        rate.
    dropout, weight_decay, max_norm, label_smoothing : as for `gpunn.sklearn.TabMClassifier`
        Dropout, weight decay, clipping of gradients, and smoothing of targets.
    epochs, patience, batch_size, shuffle_members : as for `gpunn.sklearn.TabMClassifier`
        Epochs, early stopping, batch size and the order of rows. For `patience` and `batch_size`,
        None means "auto".
    metric, target_transform, quantiles : as for `realmlp`
        The metric that selects the best epoch, and what to learn in regression.

    Returns
    -------
    Recipe
        Layers and settings for one network.

    Examples
    --------
    >>> people = {"age": [31, 45, 28, 62], "city": ["Oslo", "Rome", "Oslo", "Rome"]}
    >>> schema = gpunn.tables.Schema.fit(people, scaling="quantile")
    >>> recipe = gpunn.tabular.tabm(schema, schema.encode(people), 2, "classification")
    >>> recipe.layers[1].name, recipe.layers[1].count
    ('members', 32)
    """
    outputs, metric = with_quantiles(task, outputs, metric, quantiles)
    check_encoded(schema, X)
    check_choice("kind", kind, KINDS)
    check_choice("number_embedding", number_embedding, NUMBER_EMBEDDINGS)
    max_one_hot = check_integer("max_one_hot", max_one_hot, at_least=0)
    embedding_size = check_integer("embedding_size", embedding_size, at_least=2)
    transform = check_transform(task, target_transform)
    metric = checked_metric(task, metric, outputs, transform)

    def layer_of_codes(few: bool, sizes: list[int], codes: np.ndarray) -> Layer:
        return one_hot_of(sizes, codes) if few else Embedding(sizes, embedding_size)

    def layer_of_numbers(x: np.ndarray) -> Layer:
        return embedding_of_numbers(number_embedding, x, embedding_size, embedding_sigma, bins)

    embed = None if number_embedding == "none" else layer_of_numbers
    groups = column_groups(schema, X, embed, max_one_hot, layer_of_codes)
    embedded = bool(groups[0].layers)
    if hidden_layer_sizes is None:
        hidden_layer_sizes = (512, 512) if embedded else (512, 512, 512)
    start = "fixed" if kind == "packed" else "normal" if embedded else "signs"
    chunks = [chunk for group in groups for chunk in chunks_of(group)]
    layers = [*first_layers(groups), Members(members, start, chunks)]
    for number, units in enumerate(check_integers("hidden_layer_sizes", hidden_layer_sizes)):
        layers.append(
            MemberDense(
                units,
                activation=activation,
                adapters=kind == "full",
                separate=kind == "packed",
                input_adapter=number > 0,
            )
        )
        layers += [Dropout(dropout)] if dropout else []
    layers.append(MemberDense(outputs, separate=True))
    loss = loss_of(task, label_smoothing, quantiles)
    layers.append(MeanOverMembers(loss.output_activation))
    if task == "regression":
        layers += [SortedOutputs()] if quantiles is not None else []
        layers.append(TargetScaling(clip=transform is not None, log=transform == "log"))
    optimizer = AdamW(learning_rate, weight_decay=weight_decay, max_norm=max_norm)
    batch_size = batch_rows(batch_size, len(X), BATCHES)
    if patience is None:
        updates = math.ceil(len(X) / batch_size)
        least = PATIENCE_OF_LOG_LOSS if metric == "log_loss" else PATIENCE
        patience = max(least, math.ceil(MIN_UPDATES / updates))
    options = {
        "epochs": check_integer("epochs", epochs),
        "batch_size": batch_size,
        "shuffle_members": check_flag("shuffle_members", shuffle_members),
        "callbacks": [EarlyStopping(f"val_{metric}", patience=patience)],
    }
    return Recipe(layers, loss, optimizer, task, metric, options)


def one_hot_of(sizes: Sequence[int], codes: np.ndarray) -> OneHot:
    """Return a one-hot layer whose outputs are 0 for categories that do not occur in `codes`."""
    layer = OneHot(sizes, binary_as_sign=False)
    occur = [np.isin(np.arange(1, size), code) for size, code in zip(sizes, codes.T, strict=True)]
    on = np.concatenate(occur)
    return layer if on.all() else replace(layer, on=on.astype(float).tolist())


def chunks_of(group: Group) -> list[int]:
    if not group.layers:
        return [1] * group.width
    layer = group.layers[0]
    if isinstance(layer, OneHot):
        return [size - 1 for size in layer.sizes]
    (outputs,) = layer.output_shape((group.width,))
    return [outputs // group.width] * group.width
