"""`MLPRegressor`: regression with one or several outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from gpunn.configurable import resolve
from gpunn.losses import Huber, Loss, MeanAbsoluteError, MeanSquaredError, Quantile
from gpunn.sklearn.base import BasePerceptron
from gpunn.sklearn.classifier import MLPClassifier
from gpunn.sklearn.labels import are_plain
from gpunn.sklearn.losses import HalfMeanSquaredError, HalfPoissonDeviance
from gpunn.sklearn.parameters import (
    InvalidParameterError,
    among,
    configurable,
    described_as,
    estimator,
    parameter,
)

LOSSES: dict[str, type[Loss]] = {
    "absolute_error": MeanAbsoluteError,
    "huber": Huber,
    "poisson": HalfPoissonDeviance,
    "quantile": Quantile,
}
"""Maps names to losses, except "squared_error", whose loss depends on the number of outputs."""


@dataclass(eq=False, repr=False)
class WithRegressionLoss:
    """Declares the parameter `loss`. To make `loss` the first parameter, list this base last."""

    loss: Any = parameter("squared_error", among("squared_error", *LOSSES), configurable(Loss))


@described_as(MLPClassifier, without=["classes_"])
@estimator
@dataclass(eq=False, repr=False)
class MLPRegressor(RegressorMixin, BasePerceptron, WithRegressionLoss):  # type: ignore[misc]
    """Multi-layer perceptron regressor with scikit-learn's interface, on a CPU or a GPU.

    The class is a drop-in replacement for `sklearn.neural_network.MLPRegressor`. Parameters up to
    `max_fun` and all attributes have scikit-learn's names, defaults and meaning.

    Parameters
    ----------
    loss : str, Loss or mapping, default="squared_error"
        The training loss. "squared_error" is (p - t)^2 / 2. "poisson" is half the Poisson deviance
        of exp(p), for targets >= 0. Other names are "absolute_error", "huber" and "quantile".
        Losses of gpunn are also accepted, such as "log_cosh", `gpunn.losses.Quantile(0.9)` or
        `{"name": "huber", "delta": 2.0}`.

    Attributes
    ----------
    out_activation_ : {"identity", "exp"}
        Name of the function that converts outputs to predictions; "exp" if the loss
        expects logarithms, as Poisson, Gamma and Tweedie do.
    validation_scores_ : list of float or None
        R2 on the validation rows after each epoch; None without `early_stopping`.

    See Also
    --------
    MLPClassifier : Predicts classes; describes each parameter.
    RealMLPRegressor : Predicts numbers from tables with text, dates and missing values.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from sklearn.model_selection import train_test_split
    >>> from gpunn.sklearn import MLPRegressor
    >>> X, y = make_regression(n_samples=200, n_features=20, random_state=1)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=1)
    >>> regressor = MLPRegressor(random_state=1, max_iter=2000, tol=0.1, backend="numpy")
    >>> regressor.fit(X_train, y_train).score(X_test, y_test)
    0.98...
    """

    @available_if(lambda estimator: estimator._has_partial_fit())  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Train for one more epoch, on the rows `X` with the targets `y`.

        Parameters
        ----------
        X, y, sample_weight : as for `fit`
            Rows, targets and sample weights.

        Returns
        -------
        MLPRegressor
            This estimator.
        """
        self._fit(X, y, sample_weight, True)
        return self

    def _validated(
        self, X: Any, y: Any, first: bool, incremental: bool, validation: bool = False
    ) -> tuple[Any, np.ndarray]:
        return self._checked(X, y, first, y_numeric=True)

    def _output_units(self, y: np.ndarray) -> int:
        return 1 if y.ndim == 1 else int(y.shape[1])

    def _output_activation(self) -> str:
        loss = self._loss_object()
        if loss.output_activation in ("softmax", "sigmoid"):
            raise InvalidParameterError(
                f"loss: {type(loss).__name__} expects logits of classes; use a classifier, or a "
                "loss for numbers, such as 'huber'"
            )
        return "exp" if loss.output_activation == "exponential" else "identity"

    def _encoded(self, y: np.ndarray) -> np.ndarray:
        return self._loss_object().check_targets(y.reshape(len(y), -1), self.n_outputs_)

    def _loss_object(self) -> Loss:
        if self.loss == "squared_error":
            one = self.n_outputs_ == 1
            return MeanSquaredError("half_sum") if one else HalfMeanSquaredError()
        if isinstance(self.loss, str) and self.loss in LOSSES:
            return LOSSES[self.loss]()
        return resolve(Loss, self.loss, "loss")

    def _score_of(self, outputs: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> float:
        predictions = self._predictions(outputs)
        if not np.isfinite(predictions).all():
            return float("nan")
        return r2(y, predictions, weights)

    def _predictions(self, outputs: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            predictions = np.exp(outputs) if self.out_activation_ == "exp" else outputs
        return predictions.ravel() if predictions.shape[1] == 1 else predictions

    def predict(self, X: Any) -> Any:
        """Predict the target of each row.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (rows, features)
            Finite numbers.

        Returns
        -------
        ndarray, shape (rows,) or (rows, outputs)
            Predictions in the unit of the targets.
        """
        return self._returned(self._predictions(self._outputs(X, "predict")), X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R2 of the predictions p for `X`, given the true targets y.

        R2 is 1 - sum((y - p)²) / sum((y - mean(y))²), weighted by the sample weights. With several
        targets, the result is the mean of their R2.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (rows, features)
            Finite numbers.
        y : array-like, shape (rows,) or (rows, outputs)
            Real numbers.
        sample_weight : array-like, shape (rows,), or None
            Sample weights.

        Returns
        -------
        float
            At most 1; NaN for fewer than two rows.
        """
        return r2(y, self.predict(X), sample_weight)


def r2(y: Any, predictions: Any, weights: Any = None) -> float:
    """Return the result of scikit-learn's `r2_score`, if possible without its slow checks."""
    plain = all(
        type(each) is np.ndarray and each.size and each.shape[:1] > (1,)
        for each in (y, predictions)
    )
    if plain and y.dtype == np.float64 and y.shape == predictions.shape and are_plain(weights, y):
        factors = 1.0 if weights is None else weights[:, None]
        # Columns, so that sums have scikit-learn's bits.
        true, predicted = (each.reshape(len(y), -1) for each in (y, predictions))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            residual = np.sum(factors * (true - predicted) ** 2, axis=0)
            mean = np.average(true, axis=0, weights=weights)
            total = np.sum(factors * (true - mean) ** 2, axis=0)
            scores = 1 - residual / total
        if np.isfinite(scores).all() and np.all((total > 0) & (total < np.inf)):
            return float(np.average(scores))
    return float(r2_score(y, predictions, sample_weight=weights))
