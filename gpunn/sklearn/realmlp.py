"""`RealMLPClassifier` and `RealMLPRegressor`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from gpunn.sklearn.parameters import (
    ACTIVATION,
    FLAG,
    OF_CLASSIFIERS,
    SIZES,
    among,
    defaults_of,
    described_as,
    estimator,
    hidden_sizes,
    integer,
    parameter,
    real,
)
from gpunn.sklearn.tabular import (
    TabularClassifierBase,
    TabularEstimator,
    TabularRegressorBase,
    none_if_auto,
)
from gpunn.tables import Schema
from gpunn.tabular import NUMBER_EMBEDDINGS, Recipe, realmlp

AUTO = among("auto")

DEFAULTS = defaults_of(realmlp)


@dataclass(eq=False, repr=False)
class RealMLPParameters:
    hidden_layer_sizes: Any = parameter(DEFAULTS["hidden_layer_sizes"], *SIZES)
    _: KW_ONLY
    activation: Any = parameter(DEFAULTS["activation"], AUTO, *ACTIVATION)
    simplified: bool = parameter(DEFAULTS["simplified"], FLAG)
    number_embedding: str = parameter(DEFAULTS["number_embedding"], among(*NUMBER_EMBEDDINGS))
    embedding_sigma: float = parameter(DEFAULTS["embedding_sigma"], real(0, ends="()"))
    max_one_hot: int = parameter(DEFAULTS["max_one_hot"], integer(0))
    category_size: int = parameter(DEFAULTS["category_size"], integer(1))
    learning_rate_init: Any = parameter(DEFAULTS["learning_rate"], AUTO, real(0, ends="()"))
    dropout: float = parameter(DEFAULTS["dropout"], real(0, 1))
    weight_decay: float = parameter(DEFAULTS["weight_decay"], real(0))
    epochs: int = parameter(DEFAULTS["epochs"], integer(1))
    patience: Any = parameter(DEFAULTS["patience"], among("cycle"), integer(1))
    batch_size: Any = parameter(DEFAULTS["batch_size"], AUTO, integer(1))


class RealMLPEstimator(TabularEstimator, RealMLPParameters):
    _scaling = "robust"

    def _recipe(self, schema: Schema, X: np.ndarray) -> Recipe:
        settings = self._settings(RealMLPParameters)
        settings["hidden_layer_sizes"] = hidden_sizes(self.hidden_layer_sizes)
        settings["simplified"] = bool(self.simplified)
        settings["label_smoothing"] = none_if_auto(getattr(self, "label_smoothing", "auto"))
        return realmlp(schema, X, self._outputs, self._task, **settings)


@estimator
@dataclass(eq=False, repr=False, kw_only=True)
class RealMLPClassifier(TabularClassifierBase, RealMLPEstimator):
    """RealMLP classifier for tables with text, dates and missing values; needs no tuning.

    RealMLP is a multi-layer perceptron with default settings that the authors tuned on many tables
    (Holzmüller et al. 2024, "Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on Tabular
    Data"). RealMLP uses embeddings of numbers and categories, robust scaling, initial weights from
    data, and a learning rate with four cosine cycles; see `gpunn.tabular.realmlp`.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int, default=(256, 256, 256)
        Number of units of each hidden layer.
    activation : str or Activation, default="auto"
        Activation of the hidden layers. "auto" is "selu" for classes, "mish" for regression.
    simplified : bool, default=False
        Whether to build RealMLP-TD-S, which is faster and has no embeddings, dropout or decay.
    number_embedding : {"pbld", "pl", "plr", "piecewise", "none"}, default="pbld"
        Embedding of numbers; see `gpunn.layers.PeriodicEmbedding`.
    embedding_sigma : float, default=0.1
        Standard deviation of the initial frequencies of periodic embeddings.
    max_one_hot : int, default=8
        Maximum number of categories for one-hot encoding; columns with more categories get an
        embedding.
    category_size : int, default=8
        Length of a category's embedding vector.
    learning_rate_init : float or "auto", default="auto"
        The highest learning rate. "auto" is 0.04 for classes and 0.2 for regression (0.07 with
        `simplified`).
    dropout : float, default=0.15
        The highest dropout rate, in [0, 1).
    weight_decay : float, default=0.02
        The highest weight decay; see `gpunn.optimizers.Optimizer`.
    epochs : int, default=256
        Maximum number of epochs, which determines the lengths of the learning rate's cycles.
    patience : int or "cycle", default="cycle"
        When training ends early. With "cycle", training ends if a cycle of the learning rate ends
        with a worse metric than the previous cycle. With an integer, training ends after this
        number of epochs without improvement.
    batch_size : int or "auto", default=256
        Rows per update. "auto" depends on the number of training rows: 64 below 1,024 rows, 128
        from 1,024 rows, 256 from 8,192 rows, 512 from 30,000 rows, and 1,024 from 100,000 rows.
    metric : str, default="auto"
        The metric of `gpunn.metrics` that selects the best epoch. "auto" is "log_loss", which
        favors good probabilities. For regression, "auto" is "root_mean_squared_error", or "r2" with
        several outputs. If only correct classes matter, try "accuracy".
    validation_fraction : float, default=0.2
        Fraction of the rows to hold out for validation, if `fit` gets no `X_val` and `n_cv` is 1.
    columns : mapping of str to str or None, default=None
        Kinds of columns whose detected kind is wrong, as for `gpunn.tables.Schema.fit`. "drop"
        leaves a column out.
    missing_values : list of str or None, default=None
        Additional strings that mark a missing value, besides "", "NA", "?" and similar text; see
        `gpunn.tables.Schema.fit`. In `y`, a missing value raises an error.
    n_cv : int, default=1
        Number of folds. With several folds, each fold is held out once: networks are trained on the
        other folds and validated on this fold. All folds have nearly the same proportions of the
        classes. A classifier averages the probabilities of all networks, and a regressor averages
        the predictions.
    n_ens : int, default=1
        Number of networks for each fold, with different seeds. Several networks train at the
        same time, each on one thread. So each network is bitwise identical for any number of
        threads and any `n_ens`. A single network (`n_cv=1, n_ens=1`) uses all threads, and may
        therefore differ in rounding.
    backend : str, Backend or None, default=None
        Where to compute: "numpy", "cupy", "cupy:1" or "auto". None uses the environment variable
        GPUNN_BACKEND, or "auto".
    dtype : {"float32", "float64"}, default="float32"
        Type of the network's numbers.
    random_state : int, RandomState or None, default=None
        Seed of the validation rows or folds, the initial weights, the order of rows and dropout.
    callbacks : list of str, Callback or mapping, default=()
        Callbacks, which get each epoch's logs. Each network has its own copies of the callbacks.
        Callbacks of several networks may run at the same time, in different threads.
    progress : bool, default=False
        Whether to show a progress bar: on standard error if it is a terminal, or in a notebook's
        cell.
    class_weight : dict, "balanced" or None, default=None
        Factors by class, which multiply the sample weights in the loss, and in the metrics of the
        validation rows. Class weights distort the predicted probabilities.
    threshold_for : str or None, default=None
        The criterion that selects the threshold between two classes on the validation rows: "f1",
        "balanced_accuracy", "precision=P" or "recall=R", where P and R are numbers such as 0.9; see
        `gpunn.thresholds.best_threshold`. With None the threshold is 0.5.
    temperature_scaling : bool, default=True
        Whether to divide the logits by the temperature that minimizes the log loss of the
        validation rows, if this helps; see `gpunn.tabular.scale_temperature`. With `class_weight`,
        logits are not scaled, because class weights distort probabilities. With several folds, the
        networks with the same seed, one per fold, get one temperature: the square root of the
        temperature that is best for all of them.
    label_smoothing : float or "auto", default="auto"
        Fraction of each target to spread evenly over all classes. "auto" is 0.1 if the metric is
        the accuracy, otherwise 0.

    Attributes
    ----------
    classes_ : ndarray
        Sorted classes; for multilabel targets, the indices of the labels.
    schema_ : gpunn.tables.Schema
        The kinds of the columns and their encoding. `schema_.describe()` lists the columns, and
        `schema_.problems` lists likely mistakes.
    network_ : gpunn.Sequential
        The trained network or, with several networks, a network that averages their predictions.
        This network also accepts raw rows.
    estimators_ : list of gpunn.Sequential
        Copies of the trained networks: first all networks of the first fold, then of the second,
        and so on.
    history_ : gpunn.History or list
        Logs of each epoch. With several networks, one history for each.
    metric_ : str
        The metric that selected the best epoch.
    validation_score_ : float
        Value of `metric_` on the validation rows at the best epoch. With several networks, the
        value is for the mean of their predictions. With several folds, the value is the mean of
        `cv_scores_`.
    temperature_ : float or list of float
        The number by which the logits were divided after training; 1 if scaling did not help. With
        several networks, one number for each.
    cv_scores_ : ndarray of float, shape (n_cv,)
        The metric of `oof_predictions_` on each fold's rows. Only with several folds.
    oof_predictions_ : ndarray of float64
        Out-of-fold predictions: for each row of `X`, the mean prediction of the networks that were
        not trained on this row. For a classifier, probabilities. Only with several folds.
    threshold_ : float
        The second of two classes is predicted if its probability is at least this threshold. With
        several folds, the threshold is selected on `oof_predictions_`.
    best_epoch_, n_iter_ : int or list of int
        The epoch whose parameters were restored, and the number of trained epochs. With several
        networks, one number for each.
    backend_, device_ : str
        Backend and device of the training.
    n_features_in_ : int
        Number of columns of `X`.
    feature_names_in_ : ndarray of str
        Names of the columns of `X`, if they have names.

    See Also
    --------
    TabMClassifier : An ensemble, which takes longer to train.

    Examples
    --------
    >>> from gpunn.sklearn import RealMLPClassifier
    >>> X = {"size": [1.0, 2.0, None, 4.0] * 50, "color": ["red", "blue", "red", None] * 50}
    >>> y = ["small", "small", "small", "large"] * 50
    >>> classifier = RealMLPClassifier(epochs=8, random_state=0, backend="numpy")
    >>> classifier.fit(X, y).predict({"size": [1.5, 4.0], "color": ["blue", None]})
    array(['small', 'large'], dtype='<U5')
    """

    label_smoothing: Any = parameter(DEFAULTS["label_smoothing"], AUTO, real(0, 1))


@described_as(RealMLPClassifier, without=OF_CLASSIFIERS)
@estimator
@dataclass(eq=False, repr=False, kw_only=True)
class RealMLPRegressor(TabularRegressorBase, RealMLPEstimator):
    """RealMLP regressor for tables with text, dates and missing values; needs no tuning.

    See `RealMLPClassifier` for the method and the parameters. Targets are standardized for
    training. Predictions are clipped to the range of the training targets.

    Parameters
    ----------
    target_transform : {"log"} or None, default=None
        With "log", the model learns the logarithms of the targets, which must be positive. Use it
        for skewed targets, such as prices, if relative errors matter. Predictions are in the unit
        of the targets. Predictions are near the median, not the mean, so their mean may be too low.
    quantiles : list of float or None, default=None
        Quantiles to predict in one network, in ascending order and with 0.5, such as (0.05, 0.5,
        0.95). `predict` returns the median, and `predict_quantiles` all quantiles, which never
        cross. Without quantiles, `predict` returns the mean. For one target only.

    Examples
    --------
    >>> from gpunn.sklearn import RealMLPRegressor
    >>> X = {"size": [1.0, 2.0, None, 4.0] * 50, "color": ["red", "blue", "red", None] * 50}
    >>> regressor = RealMLPRegressor(epochs=32, batch_size=32, random_state=0)
    >>> y = [10.0, 20.0, 10.0, 40.0] * 50
    >>> regressor.fit(X, y).score(X, y) > 0.9
    True
    """
