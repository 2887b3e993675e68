"""`TabMClassifier` and `TabMRegressor`."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from gpunn.backends import get_backend
from gpunn.sklearn import parameters
from gpunn.sklearn.base import keep_parameters
from gpunn.sklearn.parameters import FLAG, Constraint, among, hidden_sizes, integer
from gpunn.sklearn.tabular import (
    COMMON,
    OF_CLASSES,
    TabularClassifier,
    TabularEstimator,
    TabularRegressor,
    given,
)
from gpunn.tables import Schema
from gpunn.tabular import Recipe, tabm
from gpunn.tabular.tabm import PRESETS

__all__ = ["TabMClassifier", "TabMRegressor"]

AUTO = among("auto")
TABM: dict[str, tuple[Constraint, ...]] = {
    **COMMON,
    "kind": (among("mini", "full", "packed"),),
    "preset": (among("auto", "cpu", "paper"),),
    "members": (AUTO, integer(1)),
    "hidden_layer_sizes": (AUTO, *parameters.COMMON["hidden_layer_sizes"]),
    "activation": parameters.COMMON["activation"],
    "embedding_size": (integer(2),),
    "bins": (integer(1),),
    "learning_rate_init": parameters.COMMON["learning_rate_init"],
    "max_norm": parameters.COMMON["max_norm"],
    "patience": (AUTO, integer(1)),
    "shuffle_members": (FLAG,),
}


class TabMEstimator(TabularEstimator):
    """Base of both estimators."""

    _scaling = "quantile"

    def _recipe(self, schema: Schema, X: np.ndarray) -> Recipe:
        preset = self.preset
        if preset == "auto":
            preset = "cpu" if get_backend(self.backend).name == "numpy" else "paper"
        members, sizes = PRESETS[preset]
        if self.members != "auto":
            members = int(self.members)
        if not isinstance(self.hidden_layer_sizes, str):
            sizes = tuple(hidden_sizes(self.hidden_layer_sizes))
        return tabm(
            schema,
            X,
            self._outputs,
            self._task,
            kind=self.kind,
            members=members,
            hidden_layer_sizes=sizes,
            activation=self.activation,
            number_embedding=self.number_embedding,
            embedding_size=self.embedding_size,
            bins=self.bins,
            max_one_hot=self.max_one_hot,
            learning_rate=self.learning_rate_init,
            dropout=self.dropout,
            weight_decay=self.weight_decay,
            max_norm=self.max_norm,
            label_smoothing=getattr(self, "label_smoothing", 0.0),
            epochs=self.epochs,
            patience=given(self.patience),
            batch_size=given(self.batch_size),
            shuffle_members=bool(self.shuffle_members),
            metric=given(self.metric),
        )


class TabMClassifier(TabularClassifier, TabMEstimator):
    """Classifier of tables with text, dates and gaps: TabM, many networks in one.

    Members of an ensemble share most of their parameters and are trained at once (Gorishniy et al.
    2025, "TabM: Advancing Tabular Deep Learning with Parameter-Efficient Ensembling"). What they
    predict together is the mean of their probabilities. `gpunn.tabular.tabm` describes it.

    Parameters
    ----------
    kind : {"mini", "full", "packed"}, default="mini"
        What members have of their own: factors of the inputs and the last layer; factors and biases
        in all layers; everything.
    preset : {"auto", "cpu", "paper"}, default="auto"
        What `members` and `hidden_layer_sizes` are if they are "auto". "paper" is 32 members and
        layers of 512 units, for GPUs; "cpu" 8 members and three layers of 192. "auto" goes by where
        it computes.
    members : int or "auto", default="auto"
        How many networks there are in one; see `preset`.
    hidden_layer_sizes : array-like of int or "auto", default="auto"
        Units of each hidden layer; see `preset`.
    activation : str or Activation, default="relu"
        The function between layers.
    number_embedding : {"piecewise", "pbld", "pl", "plr", "none"}, default="piecewise"
        What a number goes through first; see `gpunn.layers.PiecewiseLinearEmbedding`.
    embedding_size : int, default=16
        What a number becomes.
    bins : int, default=48
        Most bins of a number.
    max_one_hot : int, default=64
        Columns of more categories go through an embedding.
    learning_rate_init : float, default=0.002
        Constant, in AdamW.
    dropout : float, default=0.1
        Rate of the layers' outputs that are zeroed, in [0, 1).
    weight_decay : float, default=0.0003
        Decay of the weights; see `gpunn.optimizers.Optimizer`.
    max_norm : float or None, default=1.0
        Largest norm of the gradient, to which it is clipped.
    label_smoothing : float, default=0.0
        Fraction of each target that is spread evenly over all classes.
    epochs : int, default=1000
        Most epochs.
    patience : int or "auto", default="auto"
        Epochs without an improvement after which training ends. "auto" is 32, and where these have
        fewer than 256 updates, because the table is small, as many as have 256.
    batch_size : int or "auto", default="auto"
        "auto" is 256, from 100,000 training rows on 1,024.
    shuffle_members : bool, default=False
        Whether each member sees the rows in an order of its own, as in the paper, which is a little
        better on some tables, and slower.
    metric, validation_fraction, class_weight, threshold_for : as for `RealMLPClassifier`
        What tells the best epoch, and what counts how much: "auto", 0.2 and None by default.
    columns, missing_values : as for `RealMLPClassifier`
        What the table means: None by default.
    backend, dtype, random_state : as for `RealMLPClassifier`
        Where and in which type to compute, and from which seed: None, "float32" and None by
        default.
    callbacks, progress : as for `RealMLPClassifier`
        What watches the training: () and False by default.

    Attributes
    ----------
    classes_ : as of `RealMLPClassifier`
        The classes, sorted; the numbers of the labels if there are several.
    schema_, network_, history_ : as of `RealMLPClassifier`
        What was learned, and how that went.
    metric_, validation_score_, best_epoch_, n_iter_ : as of `RealMLPClassifier`
        What told the best epoch, and which it was.
    backend_, device_ : as of `RealMLPClassifier`
        Where it was trained.
    n_features_in_, feature_names_in_ : as of `RealMLPClassifier`
        The columns of `X`.

    See Also
    --------
    RealMLPClassifier : One network, which takes less time to train.

    Examples
    --------
    >>> from gpunn.sklearn import TabMClassifier
    >>> X = {"size": [1.0, 2.0, None, 4.0] * 50, "colour": ["red", "blue", "red", None] * 50}
    >>> y = ["small", "small", "small", "large"] * 50
    >>> classifier = TabMClassifier(hidden_layer_sizes=(32,), random_state=0, backend="numpy")
    >>> classifier.fit(X, y).predict({"size": [1.5, 4.0], "colour": ["blue", None]})
    array(['small', 'large'], dtype='<U5')
    """

    _constraints: ClassVar[dict[str, tuple[Constraint, ...]]] = {**TABM, **OF_CLASSES}

    def __init__(
        self,
        kind: str = "mini",
        *,
        preset: str = "auto",
        members: Any = "auto",
        hidden_layer_sizes: Any = "auto",
        activation: Any = "relu",
        number_embedding: str = "piecewise",
        embedding_size: int = 16,
        bins: int = 48,
        max_one_hot: int = 64,
        learning_rate_init: float = 0.002,
        dropout: float = 0.1,
        weight_decay: float = 0.0003,
        max_norm: float | None = 1.0,
        label_smoothing: float = 0.0,
        epochs: int = 1000,
        patience: Any = "auto",
        batch_size: Any = "auto",
        shuffle_members: bool = False,
        metric: str = "auto",
        validation_fraction: float = 0.2,
        class_weight: Any = None,
        threshold_for: str | None = None,
        columns: Any = None,
        missing_values: Any = None,
        backend: Any = None,
        dtype: str = "float32",
        random_state: Any = None,
        callbacks: Any = (),
        progress: bool = False,
    ) -> None:
        keep_parameters(self, locals())


class TabMRegressor(TabularRegressor, TabMEstimator):
    """Regressor of tables with text, dates and gaps: TabM, many networks in one.

    As `TabMClassifier`. Targets are standardized for training; what the members predict together is
    the mean.

    Parameters
    ----------
    kind, preset, members : as for `TabMClassifier`
        How many networks there are in one, and what they share: "mini", "auto" and "auto" by
        default.
    hidden_layer_sizes, activation : as for `TabMClassifier`
        The layers: "auto" and "relu" by default.
    number_embedding, embedding_size, bins : as for `TabMClassifier`
        What numbers go through first: "piecewise", 16 and 48 by default.
    max_one_hot : as for `TabMClassifier`
        Columns of more categories go through an embedding; 64 by default.
    learning_rate_init, dropout, weight_decay, max_norm : as for `TabMClassifier`
        How the loss is minimised: 0.002, 0.1, 0.0003 and 1.0 by default.
    epochs, patience, batch_size, shuffle_members : as for `TabMClassifier`
        How long to train, and in what batches: 1000, "auto", "auto" and False by default.
    metric, validation_fraction : as for `TabMClassifier`
        What tells the best epoch: "auto" and 0.2 by default.
    columns, missing_values : as for `TabMClassifier`
        What the table means: None by default.
    backend, dtype, random_state : as for `TabMClassifier`
        Where and in which type to compute, and from which seed: None, "float32" and None by
        default.
    callbacks, progress : as for `TabMClassifier`
        What watches the training: () and False by default.

    Attributes
    ----------
    schema_, network_, history_ : as of `RealMLPClassifier`
        What was learned, and how that went.
    metric_, validation_score_, best_epoch_, n_iter_ : as of `RealMLPClassifier`
        What told the best epoch, and which it was.
    backend_, device_ : as of `RealMLPClassifier`
        Where it was trained.
    n_features_in_, feature_names_in_ : as of `RealMLPClassifier`
        The columns of `X`.

    See Also
    --------
    TabMClassifier : For classes, with each parameter explained.

    Examples
    --------
    >>> from gpunn.sklearn import TabMRegressor
    >>> X = {"size": [1.0, 2.0, None, 4.0] * 50, "colour": ["red", "blue", "red", None] * 50}
    >>> regressor = TabMRegressor(hidden_layer_sizes=(32,), random_state=0, backend="numpy")
    >>> y = [10.0, 20.0, 10.0, 40.0] * 50
    >>> regressor.fit(X, y).score(X, y) > 0.9
    True
    """

    _constraints: ClassVar[dict[str, tuple[Constraint, ...]]] = TABM

    def __init__(
        self,
        kind: str = "mini",
        *,
        preset: str = "auto",
        members: Any = "auto",
        hidden_layer_sizes: Any = "auto",
        activation: Any = "relu",
        number_embedding: str = "piecewise",
        embedding_size: int = 16,
        bins: int = 48,
        max_one_hot: int = 64,
        learning_rate_init: float = 0.002,
        dropout: float = 0.1,
        weight_decay: float = 0.0003,
        max_norm: float | None = 1.0,
        epochs: int = 1000,
        patience: Any = "auto",
        batch_size: Any = "auto",
        shuffle_members: bool = False,
        metric: str = "auto",
        validation_fraction: float = 0.2,
        columns: Any = None,
        missing_values: Any = None,
        backend: Any = None,
        dtype: str = "float32",
        random_state: Any = None,
        callbacks: Any = (),
        progress: bool = False,
    ) -> None:
        keep_parameters(self, locals())
