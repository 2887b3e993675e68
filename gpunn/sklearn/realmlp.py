"""`RealMLPClassifier` and `RealMLPRegressor`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from gpunn.sklearn.parameters import (
    ACTIVATION,
    FLAG,
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
from gpunn.tabular import NUMBER_EMBEDDINGS, Recipe, realmlp

__all__ = ["RealMLPClassifier", "RealMLPRegressor"]

AUTO = among("auto")


@dataclass(eq=False, repr=False)
class RealMLPParameters:
    """Parameters of both estimators, in front of those of every estimator for tables."""

    hidden_layer_sizes: Any = parameter((256, 256, 256), *SIZES)
    _: KW_ONLY
    activation: Any = parameter("auto", AUTO, *ACTIVATION)
    simplified: bool = parameter(False, FLAG)
    number_embedding: str = parameter("pbld", among(*NUMBER_EMBEDDINGS))
    embedding_sigma: float = parameter(0.1, real(0, ends="()"))
    max_one_hot: int = parameter(8, integer(0))
    category_size: int = parameter(8, integer(1))
    learning_rate_init: Any = parameter("auto", AUTO, real(0, ends="()"))
    dropout: float = parameter(0.15, real(0, 1))
    weight_decay: float = parameter(0.02, real(0))
    epochs: int = parameter(256, integer(1))
    batch_size: Any = parameter(256, AUTO, integer(1))


class RealMLPEstimator(TabularEstimator, RealMLPParameters):
    """Base of both estimators."""

    _scaling = "robust"

    def _recipe(self, schema: Schema, X: np.ndarray) -> Recipe:
        settings = self._settings(RealMLPParameters)
        settings["hidden_layer_sizes"] = hidden_sizes(self.hidden_layer_sizes)
        settings["simplified"] = bool(self.simplified)
        return realmlp(
            schema,
            X,
            self._outputs,
            self._task,
            learning_rate=settings.pop("learning_rate_init"),
            label_smoothing=given(getattr(self, "label_smoothing", "auto")),
            metric=given(self.metric),
            **settings,
        )


@estimator
@dataclass(eq=False, repr=False, kw_only=True)
class RealMLPClassifier(TabularClassifier, RealMLPEstimator):
    """Classifier of tables with text, dates and gaps: RealMLP, good without tuning.

    A multi-layer perceptron whose settings its authors chose on many tables (Holzmüller et al.
    2024, "Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on Tabular Data"), so that
    there is nothing to tune: embeddings of numbers and categories, robust scaling, initial weights
    from data, a learning rate in four bumps. `gpunn.tabular.realmlp` describes it.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int, default=(256, 256, 256)
        Units of each hidden layer.
    activation : str or Activation, default="auto"
        "auto" is "selu", for regression "mish".
    simplified : bool, default=False
        Whether to build RealMLP-TD-S, which is faster: without embeddings, dropout and decay.
    number_embedding : {"pbld", "pl", "plr", "piecewise", "none"}, default="pbld"
        What a number goes through first; see `gpunn.layers.PeriodicEmbedding`.
    embedding_sigma : float, default=0.1
        Standard deviation of the initial frequencies of periodic embeddings.
    max_one_hot : int, default=8
        Columns of more categories go through an embedding.
    category_size : int, default=8
        Numbers that such a category becomes.
    learning_rate_init : float or "auto", default="auto"
        The highest learning rate. "auto" is 0.04, for regression 0.2 (simplified 0.07).
    dropout : float, default=0.15
        Highest rate of the layers' outputs that are zeroed, in [0, 1).
    weight_decay : float, default=0.02
        Highest decay of the weights; see `gpunn.optimizers.Optimizer`.
    epochs : int, default=256
        How long to train.
    batch_size : int or "auto", default=256
        "auto" is 64, and with 1,024 training rows or more 128, from 8,192 on 256, from 30,000 on
        512, from 100,000 on 1,024.
    metric : str, default="auto"
        What tells the best epoch, a metric of `gpunn.metrics`. "auto" is "accuracy", with several
        labels "binary_accuracy"; for regression "root_mean_squared_error", with several outputs
        "r2". For probabilities, use "log_loss".
    validation_fraction : float, default=0.2
        Fraction of the rows that tells the best epoch, if `fit` gets no `X_val`.
    columns : mapping of str to str or None, default=None
        Kinds of columns, where those found are wrong: "number", "category", "boolean", "datetime".
    missing_values : list of str or None, default=None
        Further text that means a missing value, beside nothing, "NA", "?" and the like; see
        `gpunn.tables.Schema.fit`. In `y` it is an error.
    backend : str, Backend or None, default=None
        Where to compute: "numpy", "cupy", "cupy:1", "auto". None is the value of the environment
        variable GPUNN_BACKEND, or "auto".
    dtype : {"float32", "float64"}, default="float32"
        That of the network.
    random_state : int, RandomState or None, default=None
        Of the validation rows, the initial weights, the shuffles and the dropout.
    callbacks : list of str, Callback or mapping, default=()
        Called after each epoch, with its logs.
    progress : bool, default=False
        Whether to show a progress bar with the time that is left: on standard error, if that is a
        terminal, and in a notebook in the output of the cell.
    class_weight : dict, "balanced" or None, default=None
        Factor of the sample weights in the loss, by class. Class weights distort the probabilities.
    threshold_for : str or None, default=None
        By what the threshold between two classes is chosen on the validation rows: "f1",
        "balanced_accuracy", "precision=0.9" or "recall=0.9", with any number from 0 to 1; see
        `gpunn.thresholds.best_threshold`. None is the threshold 0.5.
    label_smoothing : float or "auto", default="auto"
        Fraction of each target that is spread evenly over all classes. "auto" is 0.1 if the metric
        is the accuracy, else 0.

    Attributes
    ----------
    classes_ : ndarray
        The classes, sorted; the numbers of the labels if there are several.
    schema_ : gpunn.tables.Schema
        What the columns are, and how they become numbers; `schema_.describe()` lists them, and
        `schema_.problems` says what looks wrong.
    network_ : gpunn.Sequential
        It takes rows as `fit` does, too.
    history_ : gpunn.History
        Logs of each epoch.
    metric_ : str
        What told the best epoch.
    validation_score_ : float
        That metric on the validation rows at the best epoch.
    threshold_ : float
        The second of two classes is predicted if its probability is at least that.
    best_epoch_, n_iter_ : int
        The epoch whose parameters were kept, and how many there were.
    backend_, device_ : str
        Backend and device of the training.
    n_features_in_ : int
        Columns of `X`.
    feature_names_in_ : ndarray of str
        Their names, if they have some.

    See Also
    --------
    TabMClassifier : An ensemble, which takes longer to train.

    Examples
    --------
    >>> from gpunn.sklearn import RealMLPClassifier
    >>> X = {"size": [1.0, 2.0, None, 4.0] * 50, "colour": ["red", "blue", "red", None] * 50}
    >>> y = ["small", "small", "small", "large"] * 50
    >>> classifier = RealMLPClassifier(epochs=8, random_state=0, backend="numpy")
    >>> classifier.fit(X, y).predict({"size": [1.5, 4.0], "colour": ["blue", None]})
    array(['small', 'large'], dtype='<U5')
    """

    label_smoothing: Any = parameter("auto", AUTO, real(0, 1))


@estimator
@dataclass(eq=False, repr=False, kw_only=True)
class RealMLPRegressor(TabularRegressor, RealMLPEstimator):
    """Regressor of tables with text, dates and gaps: RealMLP, good without tuning.

    As `RealMLPClassifier`. Targets are standardized for training, and predictions lie within the
    range of the training rows' targets.

    Parameters
    ----------
    hidden_layer_sizes, activation, simplified : as for `RealMLPClassifier`
        The layers: (256, 256, 256), "auto" and False by default.
    number_embedding, embedding_sigma : as for `RealMLPClassifier`
        What numbers go through first: "pbld" and 0.1 by default.
    max_one_hot, category_size : as for `RealMLPClassifier`
        What categories go through first: 8 and 8 by default.
    learning_rate_init, dropout, weight_decay : as for `RealMLPClassifier`
        Highest rates: "auto", 0.15 and 0.02 by default.
    epochs, batch_size : as for `RealMLPClassifier`
        How long to train, and in what batches: 256 and 256 by default.
    metric, validation_fraction, columns, missing_values : as for `RealMLPClassifier`
        What tells the best epoch, and what the table means: "auto", 0.2, None and None by default.
    backend, dtype, random_state, callbacks, progress : as for `RealMLPClassifier`
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
    RealMLPClassifier : For classes, with each parameter explained.

    Examples
    --------
    >>> from gpunn.sklearn import RealMLPRegressor
    >>> X = {"size": [1.0, 2.0, None, 4.0] * 50, "colour": ["red", "blue", "red", None] * 50}
    >>> regressor = RealMLPRegressor(epochs=32, batch_size=32, random_state=0)
    >>> y = [10.0, 20.0, 10.0, 40.0] * 50
    >>> regressor.fit(X, y).score(X, y) > 0.9
    True
    """
