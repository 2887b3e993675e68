"""Let gpunn train scikit-learn's perceptrons; `uninstall` undoes the replacement completely.

Only one method of scikit-learn's classes is replaced: `_fit`, which `fit` and `partial_fit` call.
The replacement trains the twin, an estimator of gpunn with the same parameters, and copies the
twin's fitted attributes, so that pickles do not need gpunn.
"""

from __future__ import annotations

import functools
import inspect
import warnings
import weakref
from collections import Counter
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.reduction import ForkingPickler
from typing import Any, Self

import numpy as np
from joblib.externals.loky import reusable_executor
from joblib.externals.loky.backend import reduction
from sklearn import neural_network
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron

from gpunn.backends import get_backend
from gpunn.errors import ArgumentError, DataError, GpunnWarning
from gpunn.forks import ForkableLock
from gpunn.sklearn.classifier import MLPClassifier
from gpunn.sklearn.regressor import MLPRegressor

TWINS = {neural_network.MLPClassifier: MLPClassifier, neural_network.MLPRegressor: MLPRegressor}

LEARNED = (
    *("coefs_", "intercepts_", "n_layers_", "n_outputs_", "out_activation_"),
    *("loss_", "best_loss_", "loss_curve_", "n_iter_", "t_", "_no_improvement_count"),
    *("validation_scores_", "best_validation_score_"),
    *("classes_", "_label_binarizer", "n_features_in_", "feature_names_in_"),
)
"""Fitted attributes that an estimator of scikit-learn and its twin in gpunn have in common."""

STALE = ("_optimizer", "_random_state", "_best_coefs", "_best_intercepts")
"""State that scikit-learn keeps for the next `partial_fit`; outdated after gpunn has trained."""

UNUSED = (
    *("_fit_stochastic", "_fit_lbfgs", "_initialize", "_init_coef", "_validate_input"),
    *("_forward_pass", "_forward_pass_fast", "_compute_loss_grad", "_loss_grad_lbfgs", "_backprop"),
    *("_update_no_improvement_count", "_score_with_function", "_score", "_predict"),
)
"""Methods that gpunn does not call. If a subclass overrides one of them, scikit-learn trains it."""


class Acceleration:
    def __init__(self, backend: str | None) -> None:
        self.backend = backend
        self.fits: Counter[str] = Counter()
        self.original: Callable[..., Any] = BaseMultilayerPerceptron._fit
        self._warned: set[str] = set()
        self._lock = ForkableLock()
        self._twins: dict[int, Any] = {}  # by `id`, since a subclass may define equality

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        uninstall()

    def twin_of(self, estimator: Any) -> Any:
        # The twin lives as long as the estimator. It keeps the optimizer's moments between calls of
        # `partial_fit`.
        check_trainable(estimator)
        with self._lock:
            twin = self._twins.get(id(estimator))
            if twin is None:
                twin = self._twins[id(estimator)] = TWINS[kind_of(estimator)]()
                weakref.finalize(estimator, self._twins.pop, id(estimator), None)
        twin.set_params(backend=self.backend, **parameters_of(estimator))
        move(estimator, twin)
        return twin

    def count(self, library: str) -> None:
        with self._lock:
            self.fits[library] += 1

    def warn_once(self, estimator: Any, reason: str) -> None:
        warning = f"{type(estimator).__name__}: trained by scikit-learn, not by gpunn: {reason}"
        if warning not in self._warned:
            self._warned.add(warning)
            warnings.warn(warning, GpunnWarning, stacklevel=5)


def move(source: Any, target: Any) -> None:
    for name in LEARNED:
        if name in vars(source):
            setattr(target, name, vars(source)[name])
        else:
            vars(target).pop(name, None)


def kind_of(estimator: Any) -> type:
    return next(each for each in type(estimator).__mro__ if each in TWINS)


def parameters_of(estimator: Any) -> dict[str, Any]:
    names = inspect.signature(kind_of(estimator)).parameters
    known = inspect.signature(TWINS[kind_of(estimator)]).parameters
    return {name: getattr(estimator, name) for name in names if name in known}


def check_trainable(estimator: Any) -> None:
    if not any(each in TWINS for each in type(estimator).__mro__):
        raise ArgumentError("it is neither an MLPClassifier nor an MLPRegressor")
    known = inspect.signature(TWINS[kind_of(estimator)]).parameters
    for name, parameter in inspect.signature(kind_of(estimator)).parameters.items():
        if name not in known and getattr(estimator, name) is not parameter.default:
            raise ArgumentError(f"gpunn does not support the parameter {name!r}")
    for name in UNUSED:
        owner = next((each for each in type(estimator).__mro__ if name in vars(each)), None)
        if owner is not None and not owner.__module__.startswith("sklearn."):
            raise ArgumentError(f"{owner.__name__} overrides the method {name!r}")


INSTALLED: list[Acceleration] = []


def install(backend: str | None = None) -> Acceleration:
    """Let gpunn train all `MLPClassifier` and `MLPRegressor` objects of scikit-learn.

    If an `MLPClassifier` or `MLPRegressor` is sent to another process, gpunn also trains it there.
    If gpunn does not support an estimator, scikit-learn trains it; a warning gives each reason
    once. Further calls of `install` only change the backend.

    Parameters
    ----------
    backend : str or None
        Where to compute. None uses the environment variable GPUNN_BACKEND, or "auto".

    Returns
    -------
    Acceleration
        A context manager that calls `uninstall` at the end of its block. The attribute `fits`
        counts the calls of `fit` and `partial_fit` in this process, separately for "gpunn" and
        "scikit-learn".

    Raises
    ------
    BackendUnavailableError
        If the backend can't be used.

    Examples
    --------
    >>> import gpunn.sklearn
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> with gpunn.sklearn.install("numpy") as acceleration:
    ...     classifier = MLPClassifier(solver="lbfgs", max_iter=1000, random_state=0)
    ...     _ = classifier.fit(X, y)
    >>> type(classifier).__module__, acceleration.fits["gpunn"]
    ('sklearn.neural_network._multilayer_perceptron', 1)
    """
    if backend is not None:
        get_backend(backend)
    if INSTALLED:
        INSTALLED[0].backend = backend
        return INSTALLED[0]
    acceleration = Acceleration(backend)
    INSTALLED.append(acceleration)

    @functools.wraps(acceleration.original)
    def _fit(
        self: Any, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False
    ) -> Any:
        random = self.random_state
        before = random.get_state() if isinstance(random, np.random.RandomState) else None
        reason = None
        try:
            twin = acceleration.twin_of(self)
            # Called here, so that warnings come from scikit-learn's module, as filters expect.
            twin._fit(X, y, sample_weight, incremental)
        except (ArgumentError, DataError) as error:
            reason = str(error)
        if reason is not None:  # outside `except`, so that later errors don't have this context
            acceleration.warn_once(self, reason)
            if before is not None:
                random.set_state(before)
            acceleration.count("scikit-learn")
            return acceleration.original(self, X, y, sample_weight, incremental)
        move(twin, self)
        for name in STALE:
            vars(self).pop(name, None)
        acceleration.count("gpunn")
        return self

    BaseMultilayerPerceptron._fit = _fit
    for kind in TWINS:
        reduction.register(kind, reduced)
        ForkingPickler.register(kind, reduced)
    return acceleration


def uninstall() -> None:
    """Undo `install`, and end joblib's idle worker processes, which still use gpunn.

    Examples
    --------
    >>> import gpunn.sklearn
    >>> _ = gpunn.sklearn.install()
    >>> gpunn.sklearn.uninstall()
    """
    if not INSTALLED:
        return
    BaseMultilayerPerceptron._fit = INSTALLED.pop().original
    for kind in TWINS:
        reduction._dispatch_table.pop(kind, None)
        ForkingPickler._extra_reducers.pop(kind, None)  # type: ignore[attr-defined]
    executor = getattr(reusable_executor, "_executor", None)
    if executor is not None:
        executor.shutdown(wait=True)


def reduced(estimator: Any) -> tuple[Any, ...]:
    """Reduce an estimator so that child processes call `install`."""
    function, arguments, *more = estimator.__reduce_ex__(4)
    backend = INSTALLED[0].backend if INSTALLED else None
    return (received, (backend, function, arguments), *more)


def received(backend: str | None, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    # In a child process, call `install` first. The main process does not call it, because it may
    # get an estimator from a child process after `uninstall`.
    if not INSTALLED and parent_process() is not None:
        install(backend)
    return function(*arguments)
