"""scikit-learn's own perceptrons, trained by gpunn: on, and off again without a trace.

Their classes stay as they are but for one method, `_fit`, to which `fit` and `partial_fit` come. In
its place an estimator of gpunn's with the same parameters is trained, its twin, and what that has
learned is taken over. So all estimators are scikit-learn's: `isinstance`, `clone`, `get_params`,
subclasses, and names that were imported before work as ever, and a pickle opens wherever
scikit-learn is.
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
import sklearn.neural_network as theirs
from joblib.externals.loky import reusable_executor
from joblib.externals.loky.backend import reduction
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron

from gpunn.backends import get_backend
from gpunn.errors import ArgumentError, DataError, GpunnWarning
from gpunn.forks import ForkableLock
from gpunn.sklearn.classifier import MLPClassifier
from gpunn.sklearn.regressor import MLPRegressor

__all__ = ["Acceleration", "install", "uninstall"]

TWINS = {theirs.MLPClassifier: MLPClassifier, theirs.MLPRegressor: MLPRegressor}

LEARNED = (
    *("coefs_", "intercepts_", "n_layers_", "n_outputs_", "out_activation_"),
    *("loss_", "best_loss_", "loss_curve_", "n_iter_", "t_", "_no_improvement_count"),
    *("validation_scores_", "best_validation_score_"),
    *("classes_", "_label_binarizer", "n_features_in_", "feature_names_in_"),
)
"""Attributes that both have, with the same meaning."""

LEFT_BEHIND = ("_optimizer", "_random_state", "_best_coefs", "_best_intercepts")
"""What scikit-learn's training leaves for the next `partial_fit`; after gpunn's it is old."""

INNER = (
    *("_fit_stochastic", "_fit_lbfgs", "_initialize", "_init_coef", "_validate_input"),
    *("_forward_pass", "_forward_pass_fast", "_compute_loss_grad", "_loss_grad_lbfgs", "_backprop"),
    *("_update_no_improvement_count", "_score_with_function", "_score", "_predict"),
)
"""Methods that gpunn does without: a subclass with one of its own is trained by scikit-learn."""


class Acceleration:
    """What `install` has done; as a context manager it is undone at the end.

    `fits` counts calls of `fit` and `partial_fit` in this process, by "gpunn" or "scikit-learn".
    """

    def __init__(self, backend: str | None) -> None:
        self.backend = backend
        self.fits: Counter[str] = Counter()
        self.original: Callable[..., Any] = BaseMultilayerPerceptron._fit
        self._said: set[str] = set()
        self._lock = ForkableLock()
        self._twins: dict[int, Any] = {}  # by `id`: a subclass may say what is equal

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Undo it."""
        uninstall()

    def twin_of(self, estimator: Any) -> Any:
        """Return the estimator of gpunn's that stands for one of scikit-learn's.

        It is kept as long as that one, with the optimizer's moments between calls of `partial_fit`.
        An ArgumentError says why gpunn can't train it.
        """
        check_trainable(estimator)
        with self._lock:
            twin = self._twins.get(id(estimator))
            if twin is None:
                twin = self._twins[id(estimator)] = TWINS[kind_of(estimator)]()
                weakref.finalize(estimator, self._twins.pop, id(estimator), None)
        twin.set_params(backend=self.backend, **parameters_of(estimator))
        move(estimator, twin)
        return twin

    def tell(self, estimator: Any, obstacle: str) -> None:
        """Say once why an estimator is trained by scikit-learn."""
        said = f"{type(estimator).__name__}: trained by scikit-learn, not by gpunn: {obstacle}"
        if said not in self._said:
            self._said.add(said)
            warnings.warn(said, GpunnWarning, stacklevel=5)


def move(source: Any, target: Any) -> None:
    """Give an estimator all that another one has learned, and nothing else."""
    for name in LEARNED:
        if name in vars(source):
            setattr(target, name, vars(source)[name])
        else:
            vars(target).pop(name, None)


def kind_of(estimator: Any) -> type:
    """Return which class of scikit-learn's an estimator is of."""
    return next(each for each in type(estimator).__mro__ if each in TWINS)


def parameters_of(estimator: Any) -> dict[str, Any]:
    """Return the parameters that scikit-learn's class has; a subclass may have others."""
    names = inspect.signature(kind_of(estimator)).parameters
    known = inspect.signature(TWINS[kind_of(estimator)]).parameters
    return {name: getattr(estimator, name) for name in names if name in known}


def check_trainable(estimator: Any) -> None:
    """Raise an ArgumentError if gpunn can't train an estimator of scikit-learn's."""
    if not any(each in TWINS for each in type(estimator).__mro__):
        raise ArgumentError("it is neither an MLPClassifier nor an MLPRegressor")
    known = inspect.signature(TWINS[kind_of(estimator)]).parameters
    for name, parameter in inspect.signature(kind_of(estimator)).parameters.items():
        if name not in known and getattr(estimator, name) is not parameter.default:
            raise ArgumentError(f"gpunn does not know the parameter {name!r}")
    for name in INNER:
        owner = next((each for each in type(estimator).__mro__ if name in vars(each)), None)
        if owner is not None and not owner.__module__.startswith("sklearn."):
            raise ArgumentError(f"{owner.__name__} has a method {name!r} of its own")


INSTALLED: list[Acceleration] = []
"""The one that is installed, if any."""


def install(backend: str | None = None) -> Acceleration:
    """Let gpunn train scikit-learn's `MLPClassifier` and `MLPRegressor`, wherever they are used.

    Also in other processes, once one of these estimators has been sent there. What gpunn can't
    train is trained by scikit-learn, and a warning says so, once for each reason. If this has been
    called before, it changes the backend alone.

    Parameters
    ----------
    backend : str or None
        Where to compute; None as for the estimators of `gpunn.sklearn`.

    Returns
    -------
    Acceleration
        A context manager, at whose end `uninstall` is called. Its attribute `fits` counts the calls
        of `fit` and `partial_fit` in this process, by "gpunn" and "scikit-learn".

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
        obstacle = None
        try:
            twin = acceleration.twin_of(self)
            # From here, so that its warnings come from scikit-learn's module, as filters expect.
            twin._fit(X, y, sample_weight, incremental)
        except (ArgumentError, DataError) as error:
            obstacle = str(error)
        if obstacle is not None:  # and no exception of gpunn's is the context of what comes now
            acceleration.tell(self, obstacle)
            if before is not None:
                random.set_state(before)
            acceleration.fits["scikit-learn"] += 1
            return acceleration.original(self, X, y, sample_weight, incremental)
        move(twin, self)
        for name in LEFT_BEHIND:
            vars(self).pop(name, None)
        acceleration.fits["gpunn"] += 1
        return self

    BaseMultilayerPerceptron._fit = _fit
    for kind in TWINS:
        reduction.register(kind, reduced)
        ForkingPickler.register(kind, reduced)
    return acceleration


def uninstall() -> None:
    """Undo `install`: everything is as it was before.

    Processes of joblib's that are waiting for work end, since they would go on with gpunn.

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
    """Return what an estimator is sent to another process as, which then installs this there, too.

    Pickles in files are other ones: they are scikit-learn's.
    """
    function, arguments, *more = estimator.__reduce_ex__(4)
    backend = INSTALLED[0].backend if INSTALLED else None
    return (received, (backend, function, arguments), *more)


def received(backend: str | None, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Return an estimator that came from a process where gpunn trains.

    One that comes back from a child, where that may still be so, changes nothing here.
    """
    if not INSTALLED and parent_process() is not None:
        install(backend)
    return function(*arguments)
