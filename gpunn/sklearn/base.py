"""Base class of `MLPClassifier` and `MLPRegressor`: checks, training, prediction."""

from __future__ import annotations

import copy
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted, validate_data

from gpunn.backends import Backend
from gpunn.configurable import known, resolve_all
from gpunn.data.memory_maps import check_whole
from gpunn.errors import DataError, GpunnWarning
from gpunn.losses import Loss
from gpunn.network import Sequential
from gpunn.optimizers import Optimizer
from gpunn.schedules import Schedule
from gpunn.sklearn.convergence import Convergence
from gpunn.sklearn.engine import Draws, Engine, draws_of
from gpunn.sklearn.held_out import SplitBy, checked_split_by, split_rows_by
from gpunn.sklearn.inputs import (
    check_same_library,
    checked_weights,
    dataset_of,
    is_checked,
    library_of,
    name_of,
    to_host,
    to_library_of,
)
from gpunn.sklearn.layout import (
    initial_normalization,
    layer_units,
    set_fitted_arrays,
)
from gpunn.sklearn.lbfgs import Objective, minimize
from gpunn.sklearn.parameters import (
    ACTIVATION,
    BACKEND,
    CALLBACKS,
    FLAG,
    INFINITY,
    NONE,
    RANDOM_STATE,
    SIZES,
    VERBOSE,
    InvalidParameterError,
    among,
    check_parameters,
    configurable,
    hidden_sizes,
    integer,
    parameter,
    real,
)
from gpunn.sklearn.policy import EstimatorPolicy, Score
from gpunn.sklearn.solvers import optimizer_of
from gpunn.training.batches.dataset import Subset
from gpunn.training.callbacks import Callback
from gpunn.training.fit import Fit
from gpunn.training.history import History
from gpunn.training.session import FitOptions, TrainingSession
from gpunn.training.trainer import Trainer

AUTOMATIC_BATCH = 200

INCOMPLETE_VALIDATION = "X_val and y_val must be given together; sample_weight_val requires both"


class Data(NamedTuple):
    """Checked rows on the host. `y` is as passed by the user; the loss reads `targets`.

    The validation rows are `validation` (X, y, weights), or are held out as `split_by` says.
    """

    X: Any
    y: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None
    validation: tuple[Any, Any, Any]
    split_by: SplitBy


@dataclass(eq=False, repr=False)
class BasePerceptron(BaseEstimator):  # type: ignore[misc]
    hidden_layer_sizes: Any = parameter((100,), *SIZES)
    activation: Any = parameter("relu", *ACTIVATION)
    _: KW_ONLY
    solver: str = parameter("adam", among("lbfgs", "sgd", "adam"))
    alpha: float = parameter(0.0001, real(0))
    batch_size: Any = parameter("auto", among("auto"), integer(1))
    learning_rate: str = parameter("constant", among("constant", "invscaling", "adaptive"))
    learning_rate_init: float = parameter(0.001, real(0, ends="()"))
    power_t: float = parameter(0.5, real(0))
    max_iter: int = parameter(200, integer(1))
    shuffle: bool = parameter(True, FLAG)
    random_state: Any = parameter(None, RANDOM_STATE)
    tol: float = parameter(1e-4, real(0))
    verbose: Any = parameter(False, VERBOSE)
    warm_start: bool = parameter(False, FLAG)
    momentum: float = parameter(0.9, real(0, 1, "[]"))
    nesterovs_momentum: bool = parameter(True, FLAG)
    early_stopping: bool = parameter(False, FLAG)
    validation_fraction: float = parameter(0.1, real(0, 1))
    beta_1: float = parameter(0.9, real(0, 1))
    beta_2: float = parameter(0.999, real(0, 1))
    epsilon: float = parameter(1e-8, real(0, ends="()"))
    n_iter_no_change: float = parameter(10, integer(1), INFINITY)
    max_fun: int = parameter(15000, integer(1))
    backend: Any = parameter(None, *BACKEND)
    dtype: str | None = parameter(None, NONE, among("float32", "float64"))
    dropout: float = parameter(0.0, real(0, 1))
    batch_norm: bool = parameter(False, FLAG)
    layer_norm: bool = parameter(False, FLAG)
    optimizer: Any = parameter(None, NONE, among(*known(Optimizer)), configurable(Optimizer))
    schedule: Any = parameter(None, NONE, among(*known(Schedule)), configurable(Schedule))
    max_norm: float | None = parameter(None, NONE, real(0, ends="()"))
    callbacks: Any = parameter((), CALLBACKS)
    progress: bool = parameter(False, FLAG)

    # For scikit-learn's metadata routing: groups and times also decide which rows to hold out.
    __metadata_request__fit: ClassVar[Mapping[str, bool]] = {"groups": True, "times": True}

    # -------------------------------------------------------------- methods that subclasses define

    @abstractmethod
    def _validated(
        self, X: Any, y: Any, first: bool, incremental: bool, validation: bool = False
    ) -> tuple[Any, np.ndarray]:
        """Return checked inputs and targets; `first` is False if the call continues a fit."""

    @abstractmethod
    def _encoded(self, y: np.ndarray) -> np.ndarray:
        """Return `y` as targets that the loss accepts."""

    @abstractmethod
    def _output_units(self, y: np.ndarray) -> int: ...

    @abstractmethod
    def _output_activation(self) -> str: ...

    @abstractmethod
    def _loss_object(self) -> Loss: ...

    @abstractmethod
    def _score_of(
        self, outputs: np.ndarray, y: np.ndarray, weights: np.ndarray | None
    ) -> float: ...

    def _strata(self, y: np.ndarray) -> np.ndarray | None:
        """Return the labels by which validation rows are stratified, or None."""
        return None

    def _weighted(self, data: Data, rows: np.ndarray | None) -> np.ndarray | None:
        """Return sample weights times class weights, for `rows` (None: all rows)."""
        return data.weights

    # ---------------------------------------------------------------------------------- fitting

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        groups: Any = None,
        times: Any = None,
    ) -> Self:
        """Train on rows and targets.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (rows, features)
            Finite numbers.
        y : array-like or sparse matrix, shape (rows,) or (rows, outputs)
            For a classifier, classes or a multilabel indicator matrix; for a regressor, real
            numbers.
        sample_weight : array-like, shape (rows,), or None
            Sample weights: a row with weight k counts as k rows.
        X_val, y_val, sample_weight_val : array-like or None
            Validation rows; their loss and score are computed at the end of each epoch. With
            `early_stopping`, these rows are used, and no training rows are held out.
        groups : array-like, shape (rows,), or None
            The group of each row, such as a patient. With `early_stopping`, whole groups are held
            out: no group is in both training and validation.
        times : array-like, shape (rows,), or None
            The time of each row, as dates or numbers. With `early_stopping`, the latest rows are
            held out.

        Returns
        -------
        MLPClassifier or MLPRegressor
            This estimator.

        Raises
        ------
        ValueError
            If a parameter or the data is invalid; the message names what is invalid.

        Warns
        -----
        ConvergenceWarning
            If training ended at `max_iter`.
        """
        split_by = checked_split_by(groups, times, X_val is not None)
        self._fit(X, y, sample_weight, False, (X_val, y_val, sample_weight_val), split_by)
        return self

    def _checked(self, X: Any, y: Any, first: bool, **more: Any) -> tuple[Any, np.ndarray]:
        for array in (X, y):
            check_whole(array)
        checked = is_checked(X, y)
        if checked and first and y is not None:
            self.__dict__.pop("feature_names_in_", None)
            self.n_features_in_ = X.shape[1]
            return X, y
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=(np.float64, np.float32),
            reset=first,
            skip_check_array=checked,
            **more,
        )
        if hasattr(y, "toarray"):
            y = y.toarray()
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        incremental: bool,
        validation: tuple[Any, Any, Any] = (None, None, None),
        split_by: SplitBy = None,
    ) -> None:
        if not incremental or not hasattr(self, "coefs_"):
            check_parameters(self)
        self._check_combinations(incremental, validation)
        sizes = hidden_sizes(self.hidden_layer_sizes)
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        library = library_of(X)
        X, y = self._validated(to_host(X), to_host(y), first, incremental)
        units = (X.shape[1], *sizes, self._output_units(y))
        if not first and layer_units(self.coefs_) != units:
            raise ValueError(
                f"warm_start and partial_fit continue with layers of {layer_units(self.coefs_)} "
                f"units, but hidden_layer_sizes and the data now require {units}. Set warm_start="
                "False and call fit, or restore hidden_layer_sizes and the number of features"
            )
        dtype = np.dtype(self.dtype or (X.dtype if first else self.coefs_[0].dtype))
        weights = checked_weights(sample_weight, X.shape[0], name_of(dtype))
        if first:
            shared = not self.early_stopping or (split_by is None and validation[0] is None)
            draws = draws_of(self, units, y, shared)
            self._begin(units, draws, dtype)
        else:
            draws = Draws(check_random_state(self.random_state))
        data = Data(X, y, self._encoded(y), weights, validation, split_by)
        if self.solver == "lbfgs":
            network = self._fit_lbfgs(data, self.dtype or "float64")
        else:
            network = self._fit_epochs(data, draws, name_of(dtype), incremental)
        set_fitted_arrays(self, network.parameters.to_host(), dtype)
        self._fitted_in = library
        self.backend_, self.device_ = network.backend.name, device_of(network.backend)
        if not incremental and not self.callbacks:  # callbacks may keep the network
            self._runtime().release_network(self)
        learned = (*self.coefs_, *self.intercepts_, *self.normalization_.values())
        if not all(map(is_finite, learned)):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed."
            )

    def _check_combinations(self, incremental: bool, validation: tuple[Any, Any, Any]) -> None:
        X_val, y_val, weight_val = validation
        if (X_val is None) != (y_val is None) or (X_val is None and weight_val is not None):
            raise ValueError(INCOMPLETE_VALIDATION)
        if self.batch_norm and self.layer_norm:
            raise InvalidParameterError("batch_norm and layer_norm: set only one of them")
        if self.solver == "lbfgs":
            unsupported = {
                "optimizer": self.optimizer is not None,
                "schedule": self.schedule is not None,
                "max_norm": self.max_norm is not None,
                "dropout": self.dropout != 0,
                "batch_norm": self.batch_norm,
                "callbacks": len(self.callbacks) > 0,
                "X_val": X_val is not None,
            }
            if names := [name for name, is_set in unsupported.items() if is_set]:
                raise InvalidParameterError(
                    f"{', '.join(names)}: not supported by solver='lbfgs', which minimizes one "
                    "fixed function of all rows; use 'adam' or 'sgd'"
                )
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")

    def _begin(self, units: tuple[int, ...], draws: Draws, dtype: np.dtype) -> None:
        for name in ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"):
            self.__dict__.pop(name, None)
        self.n_iter_ = self.t_ = self._no_improvement_count = 0
        self.n_layers_, self.n_outputs_ = len(units), units[-1]
        self.out_activation_ = self._output_activation()
        self.history_ = History()
        self.coefs_ = [coef.astype(dtype) for coef in draws.coefs]
        self.intercepts_ = [intercept.astype(dtype) for intercept in draws.intercepts]
        self.normalization_ = initial_normalization(self, units)
        self._engine = Engine(draws.seed)

    def _fit_lbfgs(self, data: Data, dtype: str) -> Sequential:
        network = self._runtime().network(self, dtype)
        weights = self._weighted(data, None)
        subset = Subset(dataset_of(network.backend, data.X, data.targets, weights, dtype))
        with network.backend.device_errors():
            objective = Objective(network, self._loss_object(), float(self.alpha), subset)
            start = network.backend.to_host(network.parameters.values)
            vector, self.loss_, self.n_iter_ = minimize(
                objective,
                start,
                max_iter=self.max_iter,
                max_fun=self.max_fun,
                tol=self.tol,
                verbose=bool(self.verbose),
            )
            network.backend.copy_from_host(vector, network.parameters.values)
            subset.unload()
        return network

    def _fit_epochs(self, data: Data, draws: Draws, dtype: str, incremental: bool) -> Sequential:
        engine = self._runtime()
        network = engine.network(self, dtype)
        training, held, score = self._split(data, draws, network)
        trainer, policy = self._trainer(engine, network, incremental)
        convergence = Convergence(self, training.rows, engine.rate, self._rate_mode)
        weighted = training.dataset.weights is not None
        policy.use(convergence, draws.random, score, weighted, draws.orders)
        trainer.cursor = None  # no resumed epoch: estimators don't store orders between fits
        callbacks = resolve_all(Callback, copy.deepcopy(list(self.callbacks)), "callbacks")
        options = FitOptions(
            epochs=1 if incremental else int(self.max_iter),
            batch_size=self._batch_rows(training.rows),
            shuffle=bool(self.shuffle),
            callbacks=callbacks,
            progress=bool(self.progress),
        )
        Fit(TrainingSession(trainer, training, held, options)).run()
        if self.early_stopping and policy.best is not None:
            trainer.restore(policy.best)
        convergence.store(self)
        self.history_ = trainer.history
        if trainer.stop_reason.startswith("interrupted"):
            warnings.warn("Training interrupted by user.", stacklevel=4)
        elif not incremental and not trainer.stop_reason:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter:d}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )
        policy.best = None
        if policy.fault and all(map(is_finite, network.parameters.to_host().values())):
            warnings.warn(
                f"Training diverged and continued, as in scikit-learn: {policy.fault}",
                GpunnWarning,
                stacklevel=4,
            )
        return network

    def _runtime(self) -> Engine:
        engine: Engine | None = getattr(self, "_engine", None)
        if engine is None:
            engine = self._engine = Engine()
        return engine

    def _trainer(
        self, engine: Engine, network: Sequential, incremental: bool
    ) -> tuple[Trainer, EstimatorPolicy]:
        trainer = engine.trainer
        if incremental and trainer is not None and trainer.model is network:
            if not getattr(self.optimizer, "l2_penalty", 0.0):
                trainer.optimizer.l2_penalty = float(self.alpha)
            assert isinstance(trainer.policy, EstimatorPolicy)
            return trainer, trainer.policy
        optimizer, rate, self._rate_mode = optimizer_of(self)
        trainer = Trainer(network, self._loss_object(), optimizer)
        trainer.policy = policy = EstimatorPolicy(int(self.max_iter))
        if hasattr(self, "history_"):
            trainer.history = self.history_
        if incremental:
            engine.continue_trainer(trainer, rate)
        else:
            engine.set_trainer(trainer, rate)
        return trainer, policy

    def _batch_rows(self, rows: int) -> int:
        if self.batch_size == "auto":
            return min(AUTOMATIC_BATCH, rows)
        if self.batch_size > rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                stacklevel=5,
            )
        return int(min(self.batch_size, rows))

    def _split(
        self, data: Data, draws: Draws, network: Sequential
    ) -> tuple[Subset, Subset | None, Score | None]:
        validation, split_by = data.validation, data.split_by
        kept = held = None
        if self.early_stopping and validation[0] is None:
            if split_by is None:
                if draws.split is None:
                    with config_context(skip_parameter_validation=True):  # `fit` has checked all
                        draws.split = train_test_split(
                            np.arange(data.X.shape[0]),
                            random_state=draws.random,
                            test_size=self.validation_fraction,
                            stratify=self._strata(data.y),
                        )
                kept, held = draws.split
            else:
                labels = data.y if is_classifier(self) and data.y.ndim == 1 else None
                seed = int(draws.random.randint(2**31))
                kept, held = split_rows_by(
                    split_by, data.X.shape[0], self.validation_fraction, seed, labels, None
                )
            if len(held) < 2:
                raise ValueError(
                    "The validation set is too small. Increase 'validation_fraction' or the size "
                    "of your dataset."
                )
        if data.weights is not None and held is not None:
            for rows, part in ((kept, "training"), (held, "validation")):
                if not data.weights[rows].any():
                    raise ValueError(
                        f"sample_weight: all {part} rows have a weight of zero; give more rows a "
                        "weight above zero"
                    )
        backend, dtype = network.backend, network.dtype
        weights = self._weighted(data, kept)
        source = dataset_of(backend, data.X, data.targets, weights, dtype)
        training = Subset(source, kept)
        if held is not None:
            y_held = data.y[held]
            w_held = None if data.weights is None else data.weights[held]
            return training, Subset(source, held), lambda o: self._score_of(o, y_held, w_held)
        if validation[0] is None:
            return training, None, None
        X_val, y_val = self._validated(
            to_host(validation[0]), to_host(validation[1]), False, incremental=True, validation=True
        )
        w_val = checked_weights(validation[2], X_val.shape[0], dtype, "sample_weight_val")
        with DataError.instead_of(DataError, prefix="y_val: "):
            targets = self._encoded(y_val)
        source = dataset_of(backend, X_val, targets, w_val, dtype)
        return training, Subset(source), lambda o: self._score_of(o, y_val, w_val)

    def _outputs(self, X: Any, method: str) -> np.ndarray:
        # scikit-learn's checks take longer than predicting some rows. Without names of columns,
        # they only look for a matrix of finite floats.
        if not hasattr(self, "coefs_"):
            check_is_fitted(self)
        check_same_library(self, X, method)
        check_whole(X)
        X = to_host(X)
        named = hasattr(self, "feature_names_in_")
        columns = getattr(self, "n_features_in_", None)  # missing if users set fitted attributes
        if named or not is_checked(X) or X.shape[1] != columns:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        return self._runtime().outputs(self, X, name_of(self.coefs_[0].dtype))

    def _returned(self, result: np.ndarray, X: Any) -> Any:
        return to_library_of(X)(result)

    def _has_partial_fit(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
            )
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags


def is_finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())


DEVICES: dict[tuple[str, str], str] = {}
"""A cache of device names, because `Backend.describe` takes longer than some fits."""


def device_of(backend: Backend) -> str:
    key = backend.name, str(backend.device)
    if key not in DEVICES:
        DEVICES[key] = backend.describe()["device"]
    return DEVICES[key]
