"""`MLPClassifier`: binary, multiclass and multilabel classification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels

from gpunn.activations import sigmoid, softmax
from gpunn.configurable import is_built_in, resolve
from gpunn.losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from gpunn.sklearn.base import BasePerceptron, Data
from gpunn.sklearn.class_weights import check_class_weight, class_weight_of_rows
from gpunn.sklearn.inputs import to_host
from gpunn.sklearn.labels import accuracy, label_binarizer, most_probable
from gpunn.sklearn.losses import SummedBinaryCrossEntropy
from gpunn.sklearn.parameters import (
    NONE,
    Constraint,
    InvalidParameterError,
    among,
    configurable,
    estimator,
    parameter,
    real,
)


@estimator
@dataclass(eq=False, repr=False, kw_only=True)
class MLPClassifier(ClassifierMixin, BasePerceptron):  # type: ignore[misc]
    """Multi-layer perceptron classifier with scikit-learn's interface, on a CPU or a GPU.

    The class is a drop-in replacement for `sklearn.neural_network.MLPClassifier`. Parameters up to
    `max_fun` and all attributes have scikit-learn's names, defaults and meaning. With the same
    `random_state`, the two classes start from the same weights, visit rows in the same order and
    hold out the same rows.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int, default=(100,)
        Number of units of each hidden layer.
    activation : str, Activation or mapping, default="relu"
        Activation of the hidden layers: "identity", "logistic", "tanh" or "relu" as in
        scikit-learn, or any other of `gpunn.activations`, such as "gelu".
    solver : {"lbfgs", "sgd", "adam"}, default="adam"
        Method that minimizes the loss. "lbfgs" is for small data, since each step uses all rows.
    alpha : float, default=0.0001
        Strength of the L2 penalty: alpha / 2 * ||W||^2 is added to the sum of a batch's losses.
    batch_size : int or "auto", default="auto"
        Rows per update. "auto" is min(200, rows).
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Schedule of the solver "sgd". With "invscaling" the rate is learning_rate_init / (t +
        1)^power_t, where t is the number of rows seen. With "adaptive" the rate is divided by 5
        whenever the loss (with `early_stopping`, the validation score) stops improving.
    learning_rate_init : float, default=0.001
        Initial learning rate of "sgd" and "adam".
    power_t : float, default=0.5
        Exponent of "invscaling".
    max_iter : int, default=200
        Maximum number of epochs or, for "lbfgs", of iterations.
    shuffle : bool, default=True
        Whether to shuffle the rows in each epoch.
    random_state : int, RandomState or None, default=None
        Seed of the initial weights, the order of rows, the validation rows and dropout.
    tol : float, default=1e-4
        Minimum change of the loss or score that counts as an improvement. "lbfgs" ends when no
        entry of the gradient is larger than `tol`.
    verbose : bool or int, default=False
        Whether to print each epoch's loss.
    warm_start : bool, default=False
        Whether `fit` starts from the weights of the last `fit`.
    momentum : float, default=0.9
        Momentum of "sgd", in [0, 1].
    nesterovs_momentum : bool, default=True
        Whether "sgd" uses Nesterov's momentum.
    early_stopping : bool, default=False
        Whether to hold out validation rows and stop when their score no longer improves. Weights
        and optimizer state of the epoch with the best score are then restored.
    validation_fraction : float, default=0.1
        Fraction of the rows that `early_stopping` holds out, in (0, 1).
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay rates of the two moments of "adam", in [0, 1).
    epsilon : float, default=1e-8
        Small positive number that keeps a division of "adam" finite.
    n_iter_no_change : int, default=10
        Training stops after this number of epochs without an improvement by `tol`.
    max_fun : int, default=15000
        Maximum number of evaluations of the loss by "lbfgs".
    backend : str, Backend or None, default=None
        Where to compute: "numpy", "cupy", "cupy:1" or "auto". None uses the environment variable
        GPUNN_BACKEND, or "auto".
    dtype : {"float32", "float64"} or None, default=None
        Dtype of the network's parameters and activations. None uses the dtype of `X` if it is
        float32 or float64, otherwise float64.
    dropout : float, default=0.0
        Probability that training drops an output of a hidden layer.
    batch_norm, layer_norm : bool, default=False
        Whether to normalize each hidden layer before its activation. With batch normalization, the
        intercepts of hidden layers are 0, since the normalization's shifts replace them.
    optimizer : str, Optimizer, mapping or None, default=None
        The optimizer, which replaces `solver`. For example, "adamw" (with `learning_rate_init`) or
        `gpunn.optimizers.Lion(3e-4)`.
    schedule : str, Schedule, mapping or None, default=None
        The schedule, which replaces `learning_rate`. For example, `gpunn.schedules.Cosine(0.003)`.
    max_norm : float or None, default=None
        Maximum global norm, to which gradients are clipped.
    callbacks : list of str, Callback or mapping, default=()
        Callbacks, which get each epoch's logs (see `history_`).
    progress : bool, default=False
        Whether to show a progress bar: on standard error if it is a terminal, or in a notebook's
        cell.
    class_weight : dict, list of dict, "balanced" or None, default=None
        For each class, the factor of the sample weights. Class weights distort the predicted
        probabilities. To choose a threshold instead, use scikit-learn's
        `TunedThresholdClassifierCV`.
    loss : str, Loss or mapping, default="log_loss"
        The training loss: "log_loss", or a loss of gpunn, such as "softmax_focal", or
        "binary_focal" for two classes. The loss must expect logits, which are the network's
        outputs.
    label_smoothing : float, default=0.0
        Fraction of each target that is spread evenly over all classes.

    Attributes
    ----------
    classes_ : ndarray
        Sorted classes.
    coefs_, intercepts_ : list of ndarray
        Weights and biases of each layer, on the host even after training on a GPU. If you change
        them, predictions change.
    normalization_ : dict of str to ndarray
        Parameters and buffers of normalization layers; empty if there are none.
    loss_, best_loss_ : float
        Loss of the last epoch, and lowest loss of any epoch, both including the penalty.
        `best_loss_` is None with `early_stopping`.
    loss_curve_ : list of float
        Loss of each epoch.
    validation_scores_ : list of float or None
        Score on the validation rows after each epoch; None without `early_stopping`.
    best_validation_score_ : float or None
        Highest validation score; None without `early_stopping`.
    n_iter_, t_, n_layers_, n_outputs_ : int
        Numbers of epochs, rows seen, layers (including the input layer) and outputs.
    out_activation_ : {"softmax", "logistic"}
        Name of the function that converts outputs to probabilities.
    history_ : gpunn.History
        Logs of each epoch, such as "loss", "learning_rate" and "seconds". With validation rows, the
        logs include "val_loss" and "val_score".
    backend_, device_ : str
        Backend and device of the last training.
    n_features_in_ : int
        Number of columns of `X`.
    feature_names_in_ : ndarray of str
        Names of the columns of `X`, if `X` was a data frame whose column names are all strings.

    See Also
    --------
    MLPRegressor : For numeric targets.
    RealMLPClassifier : Classifies tables with text, dates and missing values.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.model_selection import train_test_split
    >>> from gpunn.sklearn import MLPClassifier
    >>> X, y = make_classification(n_samples=100, random_state=1)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=1)
    >>> classifier = MLPClassifier(random_state=1, max_iter=300, backend="numpy")
    >>> _ = classifier.fit(X_train, y_train)
    >>> classifier.predict(X_test[:5])
    array([1, 0, 1, 0, 1])
    >>> classifier.score(X_test, y_test)
    0.8...
    """

    class_weight: Any = parameter(
        None,
        NONE,
        among("balanced"),
        Constraint("an instance of 'dict'", lambda value: isinstance(value, dict)),
        Constraint("an instance of 'list'", lambda value: isinstance(value, list)),
    )
    loss: Any = parameter("log_loss", among("log_loss"), configurable(Loss))
    label_smoothing: float = parameter(0.0, real(0, 1))

    @available_if(lambda estimator: estimator._has_partial_fit())  # type: ignore[untyped-decorator]
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> MLPClassifier:
        """Train for one more epoch, on the rows `X` with the targets `y`.

        Parameters
        ----------
        X, y, sample_weight : as for `fit`
            Rows, targets and sample weights.
        classes : array-like or None
            All classes that can occur in any call; required in the first call.

        Returns
        -------
        MLPClassifier
            This estimator.
        """
        self._set_classes(y, classes)
        self._fit(X, y, sample_weight, True)
        return self

    def _set_classes(self, y: Any, classes: Any) -> None:
        known = getattr(self, "classes_", None)
        if known is None and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is None:
            return
        if known is not None:
            if not np.array_equal(known, unique_labels(classes)):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, "
                    f"was: {known!r}"
                )
            return
        multilabel = type_of_target(to_host(y)).startswith("multilabel")
        self._learn_classes(to_host(y) if multilabel else classes)
        if multilabel and not np.array_equal(self.classes_, unique_labels(classes)):
            labels = self.__dict__.pop("classes_")
            raise ValueError(
                f"classes: expected {labels}, since each column of y is a label; got {classes}"
            )

    def _learn_classes(self, y: Any) -> None:
        self._label_binarizer = label_binarizer(y)
        self.classes_ = self._label_binarizer.classes_

    def _validated(
        self, X: Any, y: Any, first: bool, incremental: bool, validation: bool = False
    ) -> tuple[Any, np.ndarray]:
        X, y = self._checked(X, y, first)
        if not validation and (
            not hasattr(self, "classes_") or (not self.warm_start and not incremental)
        ):
            self._learn_classes(y)
            return X, y
        classes = unique_labels(y)
        if self.warm_start and not validation:
            if set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous "
                    f"call to fit. Previously got {self.classes_}, `y` has {classes}"
                )
        elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            name = "y_val" if validation else "y"
            raise ValueError(
                f"`{name}` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. '{name}' has {classes}."
            )
        return X, y

    def _output_units(self, y: np.ndarray) -> int:
        return 1 if self._label_binarizer.y_type_ == "binary" else len(self.classes_)

    def _output_activation(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _encoded(self, y: np.ndarray) -> np.ndarray:
        if self.out_activation_ == "softmax":
            targets: np.ndarray = np.searchsorted(self.classes_, y).astype(np.int64, copy=False)
        else:
            one = self.n_outputs_ == 1
            labels = self._positive(y) if one else self._label_binarizer.transform(y)
            targets = labels.astype(np.float64)
            if smoothing := self.label_smoothing:
                targets = (1 - smoothing) * targets + smoothing / 2
        if self.loss == "log_loss" and y.ndim == 1:  # log_loss accepts these targets
            return targets
        loss, expected, kind = self._loss_object(), "sigmoid", "binary"
        if self.out_activation_ == "softmax":
            expected = kind = "softmax"
        # A custom class of losses may have predictions that are no logits, such as margins.
        if loss.output_activation != expected and is_built_in(type(loss)):
            raise InvalidParameterError(
                f"loss: expected a loss with output_activation {expected!r}, such as "
                f"'{kind}_cross_entropy' or '{kind}_focal', for the classes "
                f"{self.classes_.tolist()!r:.80}; {type(loss).__name__} has "
                f"{loss.output_activation!r}"
            )
        return loss.check_targets(targets, self.n_outputs_)

    def _loss_object(self) -> Loss:
        if self.loss != "log_loss":
            return resolve(Loss, self.loss, "loss")
        if self.out_activation_ == "softmax":
            return SoftmaxCrossEntropy(self.label_smoothing)
        return BinaryCrossEntropy() if self.n_outputs_ == 1 else SummedBinaryCrossEntropy()

    def _weighted(self, data: Data, rows: np.ndarray | None) -> np.ndarray | None:
        if self.class_weight is None:
            return data.weights
        return class_weight_of_rows(self.class_weight, self.classes_, data.y, data.weights, rows)

    def _check_combinations(self, incremental: bool, validation: tuple[Any, Any, Any]) -> None:
        super()._check_combinations(incremental, validation)
        check_class_weight(self.class_weight, incremental)
        if self.label_smoothing and self.loss != "log_loss":
            raise InvalidParameterError(
                "label_smoothing: needs loss='log_loss'; if loss is an object, set its "
                "label_smoothing instead"
            )

    def _strata(self, y: np.ndarray) -> np.ndarray | None:
        return None if self._output_units(y) > 1 else self._positive(y)

    def _positive(self, y: np.ndarray) -> np.ndarray:
        positive: np.ndarray = np.searchsorted(self.classes_, y)[:, None] == 1
        return positive

    def _score_of(self, outputs: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> float:
        return accuracy(y, self._labels(outputs), weights)

    def _activated(self, outputs: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            if self.out_activation_ == "logistic":
                probabilities: np.ndarray = sigmoid(np, outputs)
            else:
                probabilities = softmax(np, outputs)
            return probabilities

    def _labels(self, outputs: np.ndarray) -> np.ndarray:
        probabilities = self._activated(outputs)
        if self.n_outputs_ == 1:
            probabilities = probabilities.ravel()
        return most_probable(self._label_binarizer, probabilities)

    def predict(self, X: Any) -> Any:
        """Predict the most probable class, or the labels, of each row.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (rows, features)
            Finite numbers.

        Returns
        -------
        ndarray, shape (rows,) or (rows, labels)
            Classes, as in `classes_`, or an indicator matrix of labels.
        """
        return self._returned(self._labels(self._outputs(X, "predict")), X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy of the predictions for `X`, given the true classes or labels `y`.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (rows, features)
            Finite numbers.
        y : array-like, shape (rows,) or (rows, labels)
            The classes, or an indicator matrix of labels.
        sample_weight : array-like, shape (rows,), or None
            Sample weights.

        Returns
        -------
        float
            The fraction of rows with a correct prediction. With several labels, a prediction is
            correct if all labels of the row are correct.
        """
        return accuracy(y, self.predict(X), sample_weight)

    def predict_proba(self, X: Any) -> Any:
        """Predict the probability of each class, or of each label.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (rows, features)
            Finite numbers.

        Returns
        -------
        ndarray, shape (rows, classes)
            Probabilities, in the order of `classes_`.
        """
        return self._returned(self._probabilities(X, "predict_proba"), X)

    def predict_log_proba(self, X: Any) -> Any:
        """Predict the logarithm of the probability of each class, or of each label.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (rows, features)
            Finite numbers.

        Returns
        -------
        ndarray, shape (rows, classes)
            Logarithms of `predict_proba`; minus infinity if a probability is 0.
        """
        with np.errstate(divide="ignore"):
            return self._returned(np.log(self._probabilities(X, "predict_log_proba")), X)

    def _probabilities(self, X: Any, method: str) -> np.ndarray:
        probabilities = self._activated(self._outputs(X, method))
        if self.n_outputs_ > 1:
            return probabilities
        return np.concatenate((1 - probabilities, probabilities), axis=1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
