"""`TabularClassifier` and `TabularRegressor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpunn.sklearn.automatic.search import TabularSearch
from gpunn.sklearn.parameters import (
    OF_CLASSIFIERS,
    among,
    described_as,
    estimator,
    integer,
    parameter,
)
from gpunn.sklearn.realmlp import RealMLPClassifier, RealMLPRegressor
from gpunn.sklearn.tabular import TabularClassifierBase, TabularRegressorBase

FOLDS = (among("auto"), integer(1))


@described_as(RealMLPClassifier, without=["history_"])
@estimator
@dataclass(eq=False, repr=False, kw_only=True)
class TabularClassifier(TabularClassifierBase, TabularSearch):
    """The best classifier for a table in a given time: an ensemble of TabM and RealMLP.

    Candidates are trained one after another: TabM and RealMLP in turn, first with their defaults,
    then with random settings. Greedy selection averages the candidates whose mean predicts the
    held-out rows best; see `gpunn.tabular.greedy_selection`.

    Parameters
    ----------
    metric : str, default="auto"
        The metric of `gpunn.metrics` that selects each network's best epoch, and the ensemble's
        candidates. "auto" is "log_loss". For regression, "auto" is "root_mean_squared_error", or
        "r2" with several outputs.
    validation_fraction : float, default=0.2
        Fraction of the rows to hold out, if `fit` gets no `X_val` and there is one fold.
    n_cv : int or "auto", default="auto"
        Number of folds, which all candidates share. "auto" is 5 for fewer than 1,000 rows, or
        with a time limit for up to 10,000 rows. For more rows, "auto" is 1. With fewer than 5
        groups, "auto" is at most the number of groups. With `X_val` or `times`, "auto" is always
        1. "auto" is also 1 if a group has more than half of the rows, or if no class has two
        rows.
    n_ens : int, default=1
        Number of networks of each candidate for each fold.
    progress : bool, default=False
        Whether to print a line about each candidate on standard error, and to show progress bars.
    time_limit : float or None, default=None
        Time for training in seconds. When this time is over, training ends after the current epoch,
        so a short limit can be exceeded. None trains one TabM and one RealMLP, with defaults.
    max_networks : int, default=20
        Maximum number of networks in the ensemble; more networks predict more slowly. The ensemble
        always has at least one candidate, that is, `n_cv` * `n_ens` networks.
    folder : str, Path or None, default=None
        Folder for finished candidates. After a kill or Ctrl-C, the same call of `fit` resumes: it
        reads these candidates, and their training time counts toward `time_limit`. `random_state`
        must be an integer.
    compare : list of str, default=()
        Libraries of boosted trees to compare with: "lightgbm", "catboost", "xgboost" or "sklearn".
        Each library's trees are trained on the same folds, and get a row of the leaderboard. The
        time limit does not include the training of trees.
    distill : bool or list of int, default=False
        Whether to train a RealMLP on the ensemble's predictions, and to use it instead of the
        ensemble. This RealMLP predicts fast, and its exported files are small. A list has the sizes
        of the RealMLP's hidden layers, such as (32, 32). With several folds, the RealMLP learns the
        ensemble's predictions for all rows. A second RealMLP learns only from the networks of the
        first fold, which have not seen this fold's held-out rows. For these rows, the second
        RealMLP's predictions give the score, intervals and threshold. For comparison, the note in
        the leaderboard row is the ensemble's score on these rows. The time of this training does
        not count. If the training fails, or after Ctrl-C, the ensemble remains.

    Attributes
    ----------
    leaderboard_ : list of dict
        The leaderboard in JSON types: the ensemble, the candidates in order of their scores,
        baselines, and the libraries of `compare`.

        * "name", and "kind": "ensemble", "candidate", "baseline", "library" or "distilled";
        * "score", "standard_error": the metric on the held-out rows, and its standard error;
        * "weight": the candidate's weight in the ensemble's average;
        * "seconds": the time of training;
        * "prediction_ms": the CPU time of predictions, in milliseconds per 1,000 rows;
        * "size": the number of parameters;
        * "settings": the parameters that are not defaults;
        * "note": the error of a failed candidate, or why training ended early.

        Unknown numbers are None. The baseline "constant" predicts the frequencies of the classes,
        or the mean. The baseline "linear model" is a logistic or ridge regression.
    stopped_ : str
        Why training ended early: "interrupted by Ctrl-C", or an empty string.
    classes_ : ndarray
        Sorted classes; for multilabel targets, the indices of the labels.
    network_ : gpunn.Sequential
        The ensemble as one network, or the distilled network. Either network also accepts raw rows.
    estimators_ : list of gpunn.Sequential
        Copies of the ensemble's networks.
    best_epoch_, n_iter_ : list of int
        One number for each network of `estimators_`.
    temperature_ : list of float
        The number by which the logits were divided, for each network of `estimators_`.

    See Also
    --------
    TabMClassifier, RealMLPClassifier : The models.

    Notes
    -----
    With a fixed `random_state`, the time limit only decides how many candidates there are, and
    after which epoch a network's training ends. If two fits have the same candidates and epochs,
    all their results are bitwise identical.

    Examples
    --------
    >>> from gpunn.sklearn import TabularClassifier
    >>> X = {"size": [1.0, 2.0, None, 4.0] * 50, "color": ["red", "blue", "red", None] * 50}
    >>> y = ["small", "small", "small", "large"] * 50
    >>> classifier = TabularClassifier(time_limit=1, n_cv=1, random_state=0, backend="numpy")
    >>> classifier.fit(X, y).predict_proba({"size": [1.5, 4.0], "color": ["blue", None]}).shape
    (2, 2)
    >>> classifier.leaderboard_[0]["name"]
    'ensemble'
    """

    n_cv: Any = parameter("auto", *FOLDS)


@described_as(TabularClassifier, RealMLPRegressor, without=[*OF_CLASSIFIERS, "history_"])
@estimator
@dataclass(eq=False, repr=False, kw_only=True)
class TabularRegressor(TabularRegressorBase, TabularSearch):
    """The best regressor for a table in a given time: an ensemble of TabM and RealMLP.

    See `TabularClassifier` for the method and the parameters.

    Examples
    --------
    >>> from gpunn.sklearn import TabularRegressor
    >>> X = {"size": [1.0, 2.0, None, 4.0] * 50, "color": ["red", "blue", "red", None] * 50}
    >>> regressor = TabularRegressor(time_limit=1, n_cv=1, random_state=0, backend="numpy")
    >>> y = [10.0, 20.0, 10.0, 40.0] * 50
    >>> regressor.fit(X, y).predict({"size": [1.5, 4.0], "color": ["blue", None]}).shape
    (2,)
    """

    n_cv: Any = parameter("auto", *FOLDS)
