"""RealMLP (Holzmüller et al. 2024, "Better by Default"), in its variants TD and TD-S."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gpunn.activations import Activation
from gpunn.configurable import check_choice, check_integer, check_integers
from gpunn.layers import (
    Dense,
    Dropout,
    Embedding,
    Layer,
    OneHot,
    ParametricActivation,
    Scale,
    SortedOutputs,
    TargetScaling,
)
from gpunn.optimizers import Adam
from gpunn.schedules import CosineLog, FlatCosine
from gpunn.tables import Schema
from gpunn.tables.scaling import RobustScaling
from gpunn.tabular.columns import (
    NUMBER_EMBEDDINGS,
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

NUMBERS_OF_EMBEDDING = {"pbld": 4, "pl": 8, "plr": 8, "piecewise": 8}
"""Number of outputs for each embedded number, by kind of embedding."""

BATCHES = ((0, 64), (1024, 128), (8192, 256), (30_000, 512), (100_000, 1024))
"""Pairs (minimum number of training rows, batch size)."""


def realmlp(
    schema: Schema,
    X: np.ndarray,
    outputs: int,
    task: str,
    *,
    simplified: bool = False,
    hidden_layer_sizes: Sequence[int] = (256, 256, 256),
    activation: str | Activation | None = None,
    number_embedding: str = "pbld",
    embedding_sigma: float = 0.1,
    max_one_hot: int = 8,
    category_size: int = 8,
    learning_rate: float | None = None,
    dropout: float = 0.15,
    weight_decay: float = 0.02,
    label_smoothing: float | None = None,
    epochs: int = 256,
    patience: int | str = "cycle",
    batch_size: int | None = 256,
    metric: str | None = None,
    target_transform: str | None = None,
    quantiles: Sequence[float] | None = None,
) -> Recipe:
    """Return a RealMLP for a table, with settings that RealMLP's authors tuned on many tables.

    In these formulas, x is the output of the layers for columns, layer l has d_l inputs, and h_0 =
    s * x::

        z_l = W_l^T h_{l-1} / sqrt(d_l) + b_l
        h_l = dropout(z_l + alpha_l (f(z_l) - z_l))

    Numbers get a `PeriodicEmbedding`. Columns with few categories are one-hot encoded, and others
    get an `Embedding`. Initial weights and biases are computed from the training rows
    (`UnitVariance`, `Hull`). Adam's learning rate rises and falls four times (`CosineLog`). For s
    the rate is 6 times as high, and for biases, alpha and embeddings of numbers a tenth as high.
    Dropout and weight decay decrease to 0 in the second half of the training (`FlatCosine`). The
    best epoch, or the last of several equally good epochs, is restored.

    Parameters
    ----------
    schema : Schema
        The schema, which is learned from the training rows with the scaling "robust".
    X : ndarray, shape (rows, schema.width)
        The training rows, as `schema.encode` returns them.
    outputs : int
        Number of classes, labels or target columns.
    task : {"classification", "multilabel", "regression"}
        Whether targets are classes, several binary labels, or numbers.
    simplified : bool
        Whether to build TD-S, the variant without embeddings, parametric activations, dropout and
        decay. The initial weights of TD-S are N(0, 1), except for the last layer, whose weights are
        0.
    hidden_layer_sizes : sequence of int
        Units of each hidden layer.
    activation : str, Activation or None
        The function f of hidden layers. None means "mish" for regression, and "selu" for other
        tasks.
    number_embedding, embedding_sigma : as for `gpunn.sklearn.RealMLPClassifier`
        The embedding of numbers.
    max_one_hot, category_size : as for `gpunn.sklearn.RealMLPClassifier`
        The maximum number of categories for one-hot encoding, and the length of embeddings.
    learning_rate, dropout, weight_decay : as for `gpunn.sklearn.RealMLPClassifier`
        The highest learning rate (None means "auto"), dropout rate and weight decay.
    label_smoothing : as for `gpunn.sklearn.RealMLPClassifier`
        The fraction of each target to spread evenly over all classes. None means "auto".
    epochs, patience, batch_size : as for `gpunn.sklearn.RealMLPClassifier`
        The length of the training, and the batch size. None means "auto".
    metric : str or None
        The metric that selects the best epoch. None means the log loss for classes and labels. For
        regression, None means the root mean squared error, or R2 with several outputs. With
        `target_transform`, None means "loss".
    target_transform : {"log"} or None
        For regression, a function of the targets for the model to learn. With "log", targets must
        be positive; see `gpunn.layers.TargetScaling`.
    quantiles : sequence of float or None
        Quantiles to predict, ascending and including 0.5, in regression with one target. None
        predicts the mean. The loss `gpunn.losses.Quantiles` selects the best epoch, and the layer
        `SortedOutputs` prevents crossing.

    Returns
    -------
    Recipe
        Layers and settings for one network.

    Examples
    --------
    >>> people = {"age": [31, 45, 28, 62], "city": ["Oslo", "Rome", "Oslo", "Rome"]}
    >>> schema = gpunn.tables.Schema.fit(people)
    >>> recipe = gpunn.tabular.realmlp(schema, schema.encode(people), 2, "classification")
    >>> recipe.loss, recipe.metric
    (SoftmaxCrossEntropy(label_smoothing=0.0), 'log_loss')
    """
    outputs, metric = with_quantiles(task, outputs, metric, quantiles)
    check_encoded(schema, X)
    check_choice("number_embedding", number_embedding, NUMBER_EMBEDDINGS)
    max_one_hot = check_integer("max_one_hot", max_one_hot, at_least=0)
    epochs = check_integer("epochs", epochs)
    regression = task == "regression"
    transform = check_transform(task, target_transform)
    metric = checked_metric(task, metric, outputs, transform)
    f = activation or ("mish" if regression else "selu")
    if learning_rate is None:
        learning_rate = 0.04 if not regression else 0.07 if simplified else 0.2
    if label_smoothing is None:
        label_smoothing = 0.1 if metric == "accuracy" else 0.0
    if simplified:
        max_one_hot, number_embedding, weight_decay = len(X), "none", 0.0

    def layer_of_codes(few: bool, sizes: list[int], codes: np.ndarray) -> Layer:
        return scaled_one_hot(sizes, codes) if few else Embedding(sizes, category_size)

    def layer_of_numbers(x: np.ndarray) -> Layer:
        size = NUMBERS_OF_EMBEDDING[number_embedding]
        layer = embedding_of_numbers(number_embedding, x, size, embedding_sigma)
        return with_factors(layer, x.shape[1], 0.1)

    embed = None if number_embedding == "none" else layer_of_numbers
    layers = [
        *first_layers(column_groups(schema, X, embed, max_one_hot, layer_of_codes)),
        Scale(learning_rate_factor=6, weight_decay_factor={"factors": 6}),
    ]
    for units in check_integers("hidden_layer_sizes", hidden_layer_sizes):
        layers.append(ntp_layer(units, "identity" if not simplified else f, simplified))
        if not simplified:
            alpha = ParametricActivation(
                f, learning_rate_factor=0.1, weight_decay_factor={"alpha": 0.1}
            )
            fading = FlatCosine(dropout, time_of_update=0)
            layers += [alpha, *([Dropout(fading)] if dropout else [])]
    last = ntp_layer(outputs, "identity", simplified)
    if simplified:
        last = replace(last, initializer="zeros", bias_initializer="zeros")
    layers.append(last)
    if regression:
        layers += [SortedOutputs()] if quantiles is not None else []
        layers.append(TargetScaling(clip=not simplified, log=transform == "log"))
    loss = loss_of(task, label_smoothing, quantiles)
    optimizer = Adam(
        CosineLog(learning_rate, time_of_update=0),
        FlatCosine(weight_decay, time_of_update=0) if weight_decay else 0.0,
        beta2=0.95,
    )
    best = EarlyStopping(f"val_{metric}", patience=patience, ties="last")
    options = {
        "epochs": epochs,
        "batch_size": batch_rows(batch_size, len(X), BATCHES),
        "drop_last": True,
        "callbacks": [best],
    }
    return Recipe(layers, loss, optimizer, task, metric, options)


def ntp_layer(units: int, activation: str | Activation, simplified: bool) -> Dense:
    return Dense(
        units,
        activation,
        initializer="auto" if simplified else "unit_variance",
        bias_initializer="auto" if simplified else "hull",
        parametrization="ntp",
        learning_rate_factor={"biases": 0.1},
    )


def with_factors(layer: Layer, inputs: int, factor: float) -> Layer:
    # The factor of the learning rate also multiplies the decay. So the decay is multiplied by
    # `factor` twice, as in the program of RealMLP's authors.
    names = [spec.name for spec in layer.parameters((inputs,)) if spec.trainable]
    return replace(
        layer, learning_rate_factor=factor, weight_decay_factor=dict.fromkeys(names, factor)
    )


def scaled_one_hot(sizes: Sequence[int], codes: np.ndarray) -> OneHot:
    """Return a one-hot layer whose outputs are scaled as `RobustScaling` scales numeric columns."""
    layer = OneHot(sizes)
    unscaled: list[np.ndarray] = []  # the possible values of each output: off, on, second
    columns: list[np.ndarray] = []
    for size, code in zip(sizes, codes.T, strict=True):
        if size == 3:  # two categories
            columns.append(np.select([code == 1, code == 2], [1.0, -1.0]))
            unscaled.append(np.array([0.0, 1.0, -1.0]))
        else:
            columns += [(code == category).astype(np.float64) for category in range(1, size)]
            unscaled += [np.array([0.0, 1.0, 0.0])] * (size - 1)
    scaling = RobustScaling.fit(columns, len(codes))
    off, on, second = scaling.transform(np.array(unscaled).T, slice(None)).tolist()
    return replace(layer, off=off, on=on, second=second)
