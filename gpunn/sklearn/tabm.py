"""`TabMClassifier` and `TabMRegressor`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from gpunn.backends import get_backend
from gpunn.sklearn.parameters import (
    ACTIVATION,
    FLAG,
    NONE,
    SIZES,
    among,
    estimator,
    hidden_sizes,
    integer,
    parameter,
    real,
)
from gpunn.sklearn.tabular import (
    TabularClassifier,
    TabularEstimator,
    TabularRegressor,
    given,
)
from gpunn.tables import Schema
from gpunn.tabular import NUMBER_EMBEDDINGS, Recipe, tabm
from gpunn.tabular.tabm import PRESETS

__all__ = ["TabMClassifier", "TabMRegressor"]

AUTO = among("auto")


@dataclass(eq=False, repr=False)
class TabMParameters:
    """Parameters of both estimators, in front of those of every estimator for tables."""

    kind: str = parameter("mini", among("mini", "full", "packed"))
    _: KW_ONLY
    preset: str = parameter("auto", among("auto", "cpu", "paper"))
    members: Any = parameter("auto", AUTO, integer(1))
    hidden_layer_sizes: Any = parameter("auto", AUTO, *SIZES)
    activation: Any = parameter("relu", *ACTIVATION)
    number_embedding: str = parameter("piecewise", among(*NUMBER_EMBEDDINGS))
    embedding_size: int = parameter(16, integer(2))
    bins: int = parameter(48, integer(1))
    max_one_hot: int = parameter(64, integer(0))
    learning_rate_init: float = parameter(0.002, real(0, ends="()"))
    dropout: float = parameter(0.1, real(0, 1))
    weight_decay: float = parameter(0.0003, real(0))
    max_norm: float | None = parameter(1.0, NONE, real(0, ends="()"))
    epochs: int = parameter(1000, integer(1))
    patience: Any = parameter("auto", AUTO, integer(1))
    batch_size: Any = parameter("auto", AUTO, integer(1))
    shuffle_members: bool = parameter(False, FLAG)


class TabMEstimator(TabularEstimator, TabMParameters):
    """Base of both estimators."""

    _scaling = "quantile"

    def _recipe(self, schema: Schema, X: np.ndarray) -> Recipe:
        settings = self._settings(TabMParameters)
        on_cpu = get_backend(self.backend).name == "numpy"
        members, sizes = PRESETS[settings.pop("preset") or ("cpu" if on_cpu else "paper")]
        if self.members != "auto":
            members = int(self.members)
        if not isinstance(self.hidden_layer_sizes, str):
            sizes = tuple(hidden_sizes(self.hidden_layer_sizes))
        settings |= {"members": members, "hidden_layer_sizes": sizes}
        settings["shuffle_members"] = bool(self.shuffle_members)
        return tabm(
            schema,
            X,
            self._outputs,
            self._task,
            learning_rate=settings.pop("learning_rate_init"),
            label_smoothing=getattr(self, "label_smoothing", 0.0),
            metric=given(self.metric),
            **settings,
        )


@estimator
@dataclass(eq=False, repr=False, kw_only=True)
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
    metric, validation_fraction, columns, missing_values : as for `RealMLPClassifier`
        What tells the best epoch, and what the table means: "auto", 0.2, None and None by default.
    backend, dtype, random_state, callbacks, progress : as for `RealMLPClassifier`
        Where, in which type and from which seed to compute, and what watches it: None, "float32",
        None, () and False by default.
    class_weight, threshold_for : as for `RealMLPClassifier`
        How much each class counts, and what decides between two: None by default.
    label_smoothing : float, default=0.0
        Fraction of each target that is spread evenly over all classes.

    Attributes
    ----------
    classes_ : as of `RealMLPClassifier`
        The classes, sorted; the numbers of the labels if there are several.
    schema_, network_, history_, metric_, validation_score_, best_epoch_ : as of `RealMLPClassifier`
        What was learned, how that went, what told the best epoch, and which it was.
    n_iter_, backend_, device_, n_features_in_, feature_names_in_ : as of `RealMLPClassifier`
        For how long it was trained, where, and on what columns.

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

    label_smoothing: Any = parameter(0.0, AUTO, real(0, 1))


@estimator
@dataclass(eq=False, repr=False, kw_only=True)
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
    metric, validation_fraction, columns, missing_values : as for `TabMClassifier`
        What tells the best epoch, and what the table means: "auto", 0.2, None and None by default.
    backend, dtype, random_state, callbacks, progress : as for `TabMClassifier`
        Where, in which type and from which seed to compute, and what watches it: None, "float32",
        None, () and False by default.

    Attributes
    ----------
    schema_, network_, history_, metric_, validation_score_, best_epoch_ : as of `RealMLPClassifier`
        What was learned, how that went, what told the best epoch, and which it was.
    n_iter_, backend_, device_, n_features_in_, feature_names_in_ : as of `RealMLPClassifier`
        For how long it was trained, where, and on what columns.

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
