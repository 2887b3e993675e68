"""Base classes of the tabular estimators, which learn and predict from raw rows."""

from __future__ import annotations

import copy
import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted

from gpunn.backends import Backend, get_backend
from gpunn.configurable import check_choice, check_number, check_strings, resolve_all
from gpunn.data.frames import column_names
from gpunn.errors import ArgumentError, DataError, GpunnWarning
from gpunn.intervals import bounds, fit_intervals, percent_of
from gpunn.layers.outputs import check_positive
from gpunn.meaning import probabilities
from gpunn.network import Sequential
from gpunn.prediction_sets import classes_in_sets, fit_sets
from gpunn.rows.cells import Markers
from gpunn.sklearn.base import INCOMPLETE_VALIDATION, device_of
from gpunn.sklearn.callbacks import DefinedMetric, Describing, TrainingProgress
from gpunn.sklearn.folds import folds_of
from gpunn.sklearn.held_out import SplitBy, checked_split_by, split_rows_by
from gpunn.sklearn.parameters import (
    ARRAY_LIKE,
    BACKEND,
    CALLBACKS,
    FLAG,
    NONE,
    RANDOM_STATE,
    Constraint,
    InvalidParameterError,
    among,
    check_parameters,
    integer,
    parameter,
    real,
)
from gpunn.sklearn.scoring import HeldOut, Scoring
from gpunn.sklearn.tabular_files import (
    KEY,
    EstimatorRecord,
    plain_classes,
    plain_parameters,
    read_estimator,
)
from gpunn.sklearn.tabular_fits import Encoded, Fit, Fitted, Fold, Rows, seed_of, trained
from gpunn.sklearn.tabular_inputs import (
    checked_classes,
    checked_labels,
    checked_numbers,
    checked_row_weights,
    checked_table,
    has_several,
    split,
)
from gpunn.tables import Schema, Table
from gpunn.tabular import Recipe, combined, separated
from gpunn.tabular.calibration import averages_members, best_temperature, divide_logits, logits_of
from gpunn.tabular.recipe import LOSS, checked_metric, with_quantiles
from gpunn.thresholds import DEFAULT, chosen_threshold, decide, is_criterion
from gpunn.training.batches.class_and_sample_weights import class_factors
from gpunn.training.callbacks import Callback, EarlyStopping
from gpunn.training.trainer import Trainer

DROP = "drop"

MAX_PROBLEMS = 10

MAPPING = Constraint("a mapping", lambda value: isinstance(value, Mapping))

CRITERION = Constraint(
    "a criterion: 'f1', 'balanced_accuracy', or a bound such as 'precision=0.9' or 'recall=0.8'",
    lambda value: isinstance(value, str) and is_criterion(value),
)


def problems_of(schema: Schema, chosen: Mapping[str, str]) -> str:
    problems = []
    for column in schema.columns:
        if chosen.get(column.name) == DROP:
            continue
        if column.doubtful:
            problems.append(
                f"column {column.name!r} is treated as categories; {column.reported}. If this is "
                f"correct, confirm it by columns={{{column.name!r}: 'category'}}"
            )
        elif column.dropped or (column.reported and column.name not in chosen):
            problems.append(f"column {column.name!r}: {column.reported}")
    more = len(problems) - MAX_PROBLEMS
    return "; ".join(
        [*problems[:MAX_PROBLEMS], *([f"{more} more in schema_.problems"] if more > 0 else [])]
    )


def one_or_all(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def none_if_auto(parameter: Any) -> Any:
    return None if isinstance(parameter, str) and parameter == "auto" else parameter


@dataclass(eq=False, repr=False, kw_only=True)
class TabularEstimator(BaseEstimator):  # type: ignore[misc]
    metric: str = parameter(
        "auto", Constraint("the name of a metric", lambda value: isinstance(value, str))
    )
    validation_fraction: float = parameter(0.2, real(0, 1, ends="()"))
    columns: Any = parameter(None, NONE, MAPPING)
    missing_values: Any = parameter(None, NONE, ARRAY_LIKE)
    n_cv: int = parameter(1, integer(1))
    n_ens: int = parameter(1, integer(1))
    backend: Any = parameter(None, *BACKEND)
    dtype: str = parameter("float32", among("float32", "float64"))
    random_state: Any = parameter(None, RANDOM_STATE)
    callbacks: Any = parameter((), CALLBACKS)
    progress: bool = parameter(False, FLAG)

    # For scikit-learn's metadata routing: groups and times also decide which rows to hold out.
    __metadata_request__fit: ClassVar[Mapping[str, bool]] = {"groups": True, "times": True}
    _scaling: ClassVar[str]
    """How the schema scales numbers: the argument `scaling` of `Schema.fit`."""
    _multilabel = False

    @property
    @abstractmethod
    def _task(self) -> str:
        """The task: "classification", "multilabel" or "regression"."""

    # -------------------------------------------------------------- methods that subclasses define

    @abstractmethod
    def _recipe(self, schema: Schema, X: np.ndarray) -> Recipe:
        """Return the network, loss, optimizer and options for training on encoded rows."""

    def _settings(self, parameters: type) -> dict[str, Any]:
        values = {each.name: none_if_auto(getattr(self, each.name)) for each in fields(parameters)}
        return values | {
            "learning_rate": values.pop("learning_rate_init"),
            "metric": none_if_auto(self.metric),
            "target_transform": "log" if self._log else None,
            "quantiles": self._quantiles,
        }

    @abstractmethod
    def _learn_targets(self, y: Any) -> np.ndarray:
        """Return the training targets for the loss, and set the attributes learned from them."""

    @abstractmethod
    def _checked_targets(self, y: Any, argument: str) -> np.ndarray:
        """Check validation targets, and return them in the form that the loss expects."""

    def _labels(self, targets: np.ndarray) -> np.ndarray | None:
        """Return each row's class index, by which validation splits are stratified.

        If the splits are not stratified, return None.
        """
        return None

    def _class_weight(self) -> Mapping[int, float] | str | None:
        return None

    def _validation_weights(self, training: Rows, validation: Rows) -> np.ndarray | None:
        """Return the validation rows' weights for the metric that selects the best epoch."""
        return validation.weights

    def _name_outputs(self, network: Sequential) -> None:
        """Set the names of the network's classes, if it has classes."""

    def _scale(
        self, networks: Sequence[Sequential], held: Sequence[tuple[np.ndarray, Rows]]
    ) -> float:
        """Divide all logits by one temperature, computed from all held-out rows, and return it."""
        return 1.0

    def _decide(self, network: Sequential, outputs: np.ndarray, held: HeldOut) -> None:
        """Set the network's threshold, intervals or prediction sets from validation rows."""

    @abstractmethod
    def _predictions(self, outputs: np.ndarray) -> np.ndarray:
        """Convert outputs to probabilities of classes or labels; for regressors, to numbers."""

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
        """Train on a raw table and its targets.

        If `fit` raises an error, the estimator is unchanged.

        Parameters
        ----------
        X : data frame, array, dict of columns or list of rows
            Raw rows from pandas, Polars, pyarrow, NumPy and similar libraries. Columns can contain
            numbers, text, categories, Booleans, dates and missing values.
        y : array-like, shape (rows,) or (rows, outputs)
            For a classifier, classes as strings, numbers or Booleans, or a multilabel indicator
            matrix of 0 and 1. For a regressor, numbers.
        sample_weight : array-like, shape (rows,), or None
            Weights in the loss and the metric. Rows with a weight of 0 are not held out, except
            with `groups`, `times` or several folds.
        X_val, y_val, sample_weight_val : as X, y and sample_weight, or None
            Validation rows, on which the best epoch is selected. Without `X_val`, validation rows
            are held out: a fraction `validation_fraction` of the rows or, if `n_cv` is larger than
            1, each fold in turn.
        groups : array-like, shape (rows,), or None
            The group of each row, such as a patient. Whole groups are held out: no group is in both
            training and validation. For a classifier, the proportions of the classes are kept as
            far as the groups allow.
        times : array-like, shape (rows,), or None
            The time of each row, as dates or numbers. The latest rows are held out. With `times`,
            `n_cv` must be 1, because folds have no order in time.

        Returns
        -------
        Self
            This estimator. If there is only one network, Ctrl-C ends training with the best epoch
            so far.

        Raises
        ------
        ValueError
            If a parameter or the data is invalid; the message names the parameter or the cell.
        KeyboardInterrupt
            If Ctrl-C is pressed during the first epoch, or while several networks are trained.

        Warns
        -----
        GpunnWarning
            If columns are dropped (for example, identifiers) or look wrong, or if `X_val` has
            categories or missing values that do not occur in `X`.
        """
        check_parameters(self)
        if (X_val is None) != (y_val is None) or (X_val is None and sample_weight_val is not None):
            raise ValueError(INCOMPLETE_VALIDATION)
        state = self.__dict__
        before = dict(state)
        try:
            split_by = checked_split_by(groups, times, X_val is not None)
            table = checked_table(self, X, first=True)
            if y is None:
                raise ValueError(
                    f"{type(self).__name__} requires y to be passed, but the target y is None"
                )
            every = self._rows(table, self._learn_targets(y), sample_weight, "sample_weight")
            seed = int(check_random_state(self.random_state).randint(2**31))
            if X_val is None:
                self._train(self._folds(every, seed, split_by), seed)
                return self
            if (none_if_auto(self.n_cv) or 1) > 1:
                raise ArgumentError(
                    f"X_val: cannot be combined with n_cv={self.n_cv}, since the rows of each fold "
                    "are validation rows; remove X_val, or set n_cv=1"
                )
            table = checked_table(self, X_val, first=False, argument="X_val")
            targets = self._checked_targets(y_val, "y_val")
            validation = self._rows(table, targets, sample_weight_val, "sample_weight_val")
            self._train([Fold(every, None, None, validation)], seed)
            return self
        except BaseException:  # keep the earlier network's columns and classes
            state.clear()
            state.update(before)
            raise

    def _rows(self, table: Table, targets: np.ndarray, weights: Any, argument: str) -> Rows:
        check_consistent_length(table, targets)
        weights = checked_row_weights(weights, table.rows, self.dtype, argument)
        return Rows(table, targets, weights)

    def _folds(self, every: Rows, seed: int, split_by: SplitBy) -> list[Fold]:
        rows, labels = every.table.rows, self._labels(every.targets)
        count = self._count_of_folds(every, split_by)
        if count > 1:
            fold_of = folds_of(count, rows, seed, labels, every.weights, split_by)
            splits = [
                (np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold))
                for fold in range(count)
            ]
        elif split_by is None:
            splits = [split(rows, self.validation_fraction, seed, labels, every.weights)]
        else:
            fraction = self.validation_fraction
            splits = [split_rows_by(split_by, rows, fraction, seed, labels, every.weights)]
        return [Fold(every, kept, held, every.take(held)) for kept, held in splits]

    def _count_of_folds(self, every: Rows, split_by: SplitBy) -> int:
        return self.n_cv

    def _markers(self) -> Markers:
        """Return the markers of missing targets.

        Targets have the same marker strings as `X`, but no marker is compared as a number.
        """
        additional = () if self.missing_values is None else self.missing_values
        return Markers(Markers.of(check_strings("missing_values", additional)).strings, ())

    def _train(self, folds: Sequence[Fold], seed: int) -> None:
        schema = self._learn_schema(folds)
        fitted, outputs = self._train_networks(folds, schema, seed)
        self._decide_from(combined([each.network for each in fitted]), folds, outputs)
        self.metric_ = fitted[0].metric
        self.history_ = one_or_all([each.history for each in fitted])
        self.best_epoch_ = one_or_all([each.best_epoch for each in fitted])
        self.n_iter_ = one_or_all([each.epochs for each in fitted])
        if self._task != "regression":
            self.temperature_ = one_or_all([each.temperature for each in fitted])
        if len(fitted) == 1:
            scores = np.array([fitted[0].score])
        elif self.metric_ == LOSS:  # compares transformed targets; the mean of networks has none
            scores = np.reshape([each.score for each in fitted], (len(folds), -1)).mean(axis=1)
        else:
            scores = self._scoring(folds).scores(self._averaged(np.concatenate(outputs)))
        self._set_scores(folds, scores, self._predictions(np.concatenate(outputs)))

    def _learn_schema(self, folds: Sequence[Fold]) -> Schema:
        # With several folds, the schema is learned from the rows of all folds. It never depends on
        # targets.
        markers = {} if self.missing_values is None else {"missing_values": self.missing_values}
        chosen, every = dict(self.columns or {}), folds[0].every.table
        for name in chosen:
            check_choice("columns", name, every.names, "column")
        schema = Schema.fit(
            every if len(folds) > 1 else folds[0].training.table,
            columns={name: kind for name, kind in chosen.items() if kind != DROP},
            drop=[name for name, kind in chosen.items() if kind == DROP],
            scaling=self._scaling,
            every=every,
            **markers,
        )
        if problems := problems_of(schema, chosen):
            warnings.warn(f"X: {problems}", GpunnWarning, stacklevel=4)
        return schema

    def _train_networks(
        self, folds: Sequence[Fold], schema: Schema, seed: int
    ) -> tuple[list[Fitted], list[np.ndarray]]:
        several = len(folds) * self.n_ens > 1
        fitted, held = list[Fitted](), list[np.ndarray]()
        for fit in trained(self._fits(folds, schema, seed, several), several, self.progress):
            if fit.interrupted and (several or not fit.stopping.best_epoch):
                raise KeyboardInterrupt  # some network has no best epoch
            self._describe(fit.trainer.model, schema)
            if len(fitted) % self.n_ens == 0:
                held.append(fit.X_val)
            fitted.append(fit.result())
        networks = [each.network for each in fitted]
        # Few rows give an uncertain temperature, so a seed's networks of all folds share it.
        pairs = [(X, fold.validation) for X, fold in zip(held, folds, strict=True)]
        scales = [self._scale(networks[each :: self.n_ens], pairs) for each in range(self.n_ens)]
        fitted = [
            replace(each, temperature=scales[number % self.n_ens])
            for number, each in enumerate(fitted)
        ]
        outputs = [
            combined(networks[number * self.n_ens :][: self.n_ens]).predict_encoded(X)
            for number, X in enumerate(held)
        ]
        return fitted, outputs

    def _decide_from(
        self, network: Sequential, folds: Sequence[Fold], outputs: Sequence[np.ndarray]
    ) -> None:
        validation = [fold.validation for fold in folds]
        targets = np.concatenate([rows.targets for rows in validation])
        weights = [rows.weights for rows in validation if rows.weights is not None]
        held = HeldOut(targets, np.concatenate(weights) if weights else None)
        self._decide(network, np.concatenate(outputs), held)
        self.network_, self.schema_ = network, network.schema
        self.backend_, self.device_ = network.backend.name, device_of(network.backend)

    def _scoring(self, folds: Sequence[Fold]) -> Scoring:
        metric = none_if_auto(self.metric)
        outputs, metric = with_quantiles(self._task, self._outputs, metric, self._quantiles)
        transform = "log" if self._log else None
        self.metric_ = checked_metric(self._task, metric, outputs, transform)
        held_out = [
            HeldOut(
                fold.validation.targets, self._validation_weights(fold.training, fold.validation)
            )
            for fold in folds
        ]
        return Scoring(self._task, self.metric_, outputs, held_out, self._log, self._quantiles)

    @property
    def _quantiles(self) -> Sequence[float] | None:
        quantiles: Sequence[float] | None = getattr(self, "quantiles", None)
        return quantiles

    @property
    def _log(self) -> bool:
        return getattr(self, "target_transform", None) == "log"

    def _averaged(self, outputs: np.ndarray) -> np.ndarray:
        if self._task == "regression":
            return outputs.astype(np.float64)
        return self._predictions(outputs)

    def _set_scores(
        self, folds: Sequence[Fold], scores: np.ndarray, predictions: np.ndarray
    ) -> None:
        for name in ("cv_scores_", "oof_predictions_"):
            self.__dict__.pop(name, None)  # of an earlier fit
        self.validation_score_ = float(scores.mean())
        if len(folds) > 1:
            self.cv_scores_, self.oof_predictions_ = scores, np.empty_like(predictions)
            self.oof_predictions_[np.concatenate([fold.held for fold in folds])] = predictions

    def _fits(
        self, folds: Sequence[Fold], schema: Schema, seed: int, several: bool
    ) -> Iterator[Fit]:
        for number, fold in enumerate(folds):
            training = fold.training
            X = schema.encode(training.table, self.dtype)
            with warnings.catch_warnings():
                if fold.held is not None:  # may by chance have categories unseen in training
                    warnings.simplefilter("ignore", GpunnWarning)
                X_val = schema.encode(fold.validation.table, self.dtype)
            encoded = Encoded(schema, X, training, X_val, fold.validation)
            for member in range(self.n_ens):
                yield self._fit_of(encoded, seed_of(seed, number, member), several)

    def _fit_of(self, rows: Encoded, seed: int, several: bool) -> Fit:
        recipe = self._recipe(rows.schema, rows.X)
        network = Sequential(recipe.layers, rows.schema.width, self.backend, seed, self.dtype)
        trainer = Trainer(
            network,
            recipe.loss,
            recipe.optimizer,
            recipe.metrics,
            validation_metrics=recipe.validation_metrics,
        )
        options = dict(recipe.options)
        stopping, epochs = options["callbacks"][0], options["epochs"]
        custom = resolve_all(Callback, copy.deepcopy(list(self.callbacks)), "callbacks")
        # Each EarlyStopping restores its best epoch at the end; the one for `metric` must be last.
        custom.sort(key=lambda callback: not isinstance(callback, EarlyStopping))
        others = sum(isinstance(callback, EarlyStopping) for callback in custom)
        callbacks = [
            Describing(lambda: self._describe(network, rows.schema)),
            *custom[:others],
            stopping,
            DefinedMetric(stopping.monitor),
            *custom[others:],
        ]
        if self.progress and not several:
            title = type(self).__name__
            callbacks.append(TrainingProgress(title, len(rows.X), epochs, stopping))
        weights = self._validation_weights(rows.training, rows.validation)
        held = (rows.X_val, rows.validation.targets, weights)
        arguments = options | {
            "X": rows.X,
            "y": rows.training.targets,
            "validation_data": tuple(each for each in held if each is not None),
            "sample_weight": rows.training.weights,
            "class_weight": self._class_weight(),
            "progress": False,
            "callbacks": callbacks,
        }
        return Fit(trainer, recipe.metric, stopping, arguments, rows.X_val)

    def _describe(self, network: Sequential, schema: Schema) -> None:
        network.schema = schema
        self._name_outputs(network)

    def _network_outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        table = checked_table(self, X, first=False)
        return self._placed_network().predict(table)

    def _placed_network(self) -> Sequential:
        backend, current = get_backend(self.backend), self.network_.backend
        if (backend.name, backend.options) != (current.name, current.options):
            self.network_ = self.network_.to(backend)
        network: Sequential = self.network_
        return network

    @property
    def estimators_(self) -> list[Sequential]:
        """Copies of the trained networks, fold by fold. Each network predicts raw rows."""
        check_is_fitted(self)
        return separated(self._placed_network())

    def save(self, path: str | Path) -> None:
        """Save the fitted estimator to a model file for `load`. The file contains no code.

        `gpunn.load_model` can also read the file, and returns `network_`, including the schema.

        Parameters
        ----------
        path : str or Path
            Path of the file, usually with the suffix ".safetensors". An existing file is replaced.

        Raises
        ------
        OSError
            If the file can't be written; an existing file then stays unchanged.
        """
        check_is_fitted(self)
        classes = getattr(self, "classes_", None)
        names = getattr(self, "feature_names_in_", None)
        record = EstimatorRecord(
            kind=type(self).__name__,
            parameters=plain_parameters(self.get_params(deep=False)),
            n_features=int(self.n_features_in_),
            feature_names=None if names is None else [str(name) for name in names],
            classes=None if classes is None else plain_classes(classes),
            classes_dtype="" if classes is None else classes.dtype.str,
            metric=self.metric_,
            validation_score=self.validation_score_,
            best_epoch=self.best_epoch_,
            n_iter=self.n_iter_,
            temperature=getattr(self, "temperature_", 1.0),
            cv_scores=self.cv_scores_.tolist() if hasattr(self, "cv_scores_") else None,
            leaderboard=getattr(self, "leaderboard_", None),
        )
        network = self._placed_network()
        network.metadata[KEY] = asdict(record)
        network.save(path)

    @classmethod
    def load(cls, path: str | Path, backend: str | Backend | None = None) -> Self:
        """Load a fitted estimator from a file that `save` wrote.

        The loaded estimator has no `history_`, `oof_predictions_`, `backend_` and `device_`.

        Parameters
        ----------
        path : str or Path
            A file that `save` wrote.
        backend : str, Backend or None
            Where to compute; see the estimator's parameter `backend`.

        Returns
        -------
        Self
            An estimator of the same class.

        Raises
        ------
        ModelFileError
            If the file does not exist, is damaged, or contains another estimator.
        """
        network, record = read_estimator(path, cls.__name__, backend)
        known = cls._get_param_names()
        saved = record.original_parameters()
        parameters = {name: value for name, value in saved.items() if name in known}
        estimator = cls(**parameters, backend=backend)
        assert network.schema is not None
        estimator.network_, estimator.schema_ = network, network.schema
        estimator.n_features_in_ = record.n_features
        if record.feature_names is not None:
            estimator.feature_names_in_ = np.array(record.feature_names, dtype=object)
        if (classes := record.class_array()) is not None:
            estimator.classes_, estimator.temperature_ = classes, record.temperature
        estimator.metric_, estimator.validation_score_ = record.metric, record.validation_score
        estimator.best_epoch_, estimator.n_iter_ = record.best_epoch, record.n_iter
        if record.cv_scores is not None:
            estimator.cv_scores_ = np.array(record.cv_scores)
        if record.leaderboard is not None:
            estimator.leaderboard_ = record.leaderboard
        estimator._outputs = network.output_shape[0]
        estimator._multilabel = network.output_activation == "sigmoid"
        return estimator

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "network_" in state:
            state["network_"] = state["network_"].to("numpy")
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.input_tags.dict = True
        tags.non_deterministic = False
        return tags


@dataclass(eq=False, repr=False, kw_only=True)
class TabularClassifierBase(ClassifierMixin, TabularEstimator):  # type: ignore[misc]
    class_weight: Any = parameter(None, NONE, among("balanced"), MAPPING)
    threshold_for: str | None = parameter(None, NONE, CRITERION)
    temperature_scaling: bool = parameter(True, FLAG)

    @property
    def _task(self) -> str:
        return "multilabel" if self._multilabel else "classification"

    def _learn_targets(self, y: Any) -> np.ndarray:
        self._multilabel = has_several(y)
        if self._multilabel:
            indicators = checked_labels(y, self._markers())
            self._outputs = indicators.shape[1]
            self.classes_, self._label_names = np.arange(self._outputs), column_names(y)
            self._check_threshold("labels")
            return indicators
        labels = checked_classes(y, self._markers())
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                f"y: expected at least two classes; got one class, {self.classes_.tolist()[0]!r}, "
                f"in all {len(labels)} rows"
            )
        self._outputs = len(self.classes_)
        self._check_threshold("classes")
        return np.asarray(codes, dtype=np.int64)

    def _checked_targets(self, y: Any, argument: str) -> np.ndarray:
        if self._multilabel:
            indicators = checked_labels(y, self._markers(), argument)
            if indicators.shape[1:] != (self._outputs,):
                raise DataError(
                    f"{argument}: expected {self._outputs} labels per row, as in y; got shape "
                    f"{indicators.shape}"
                )
            return indicators
        labels = checked_classes(y, self._markers(), argument)
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise DataError(
                f"{argument}: has classes that y does not have: {unknown.tolist()!r:.80}; y has "
                f"the classes {self.classes_.tolist()!r:.80}"
            )
        return np.searchsorted(self.classes_, labels)

    def _labels(self, targets: np.ndarray) -> np.ndarray | None:
        return None if self._multilabel else targets

    def _class_weight(self) -> Mapping[int, float] | str | None:
        class_weight = self.class_weight
        if self._multilabel and class_weight is not None:
            raise InvalidParameterError(
                "class_weight: not supported for multilabel targets; use sample_weight"
            )
        if not isinstance(class_weight, Mapping):
            weights: str | None = class_weight
            return weights
        indices = {label: index for index, label in enumerate(self.classes_.tolist())}
        for label in class_weight:
            if label not in indices:
                raise InvalidParameterError(
                    f"class_weight: there is no class {label!r}; the classes are "
                    f"{self.classes_.tolist()!r:.80}"
                )
        return {
            indices[label]: check_number(f"class_weight[{label!r}]", factor, at_least=0)
            for label, factor in class_weight.items()
        }

    def _validation_weights(self, training: Rows, validation: Rows) -> np.ndarray | None:
        class_weight = self._class_weight()
        if class_weight is None:
            return validation.weights
        # As in the loss: otherwise, the metric would select an epoch against the class weights.
        counts = np.bincount(training.targets, training.weights, minlength=len(self.classes_))
        weights = class_factors(class_weight, counts)[validation.targets]
        if validation.weights is not None:
            weights = weights * validation.weights
        return weights if weights.any() else validation.weights

    def _name_outputs(self, network: Sequential) -> None:
        if self._multilabel:
            network.remember(None, self._label_names, network.output_activation)
            return
        names = [str(label) for label in self.classes_.tolist()]
        if len(set(names)) == len(names):
            network.classes = names

    def _check_threshold(self, kind: str) -> None:
        if self.threshold_for is not None and (kind == "labels" or self._outputs > 2):
            raise InvalidParameterError(
                f"threshold_for: a threshold needs two classes; y has {self._outputs} {kind}"
            )

    def _scale(
        self, networks: Sequence[Sequential], held: Sequence[tuple[np.ndarray, Rows]]
    ) -> float:
        if not self.temperature_scaling or self.class_weight is not None:
            return 1.0
        rows = [rows for _, rows in held]
        weights = [each.weights for each in rows if each.weights is not None]
        temperature = best_temperature(
            np.concatenate([logits_of(net, X) for net, (X, _) in zip(networks, held, strict=True)]),
            np.concatenate([each.targets for each in rows]),
            np.concatenate(weights) if weights else None,
            averages_members(networks[0]),
        )
        if len(networks) > 1:
            # The held-out rows show how overconfident one network is. The average of the folds'
            # networks, which predicts new rows, is less overconfident.
            temperature = math.sqrt(temperature)
        for network in networks:
            divide_logits(network, temperature)
        return temperature

    def _decide(self, network: Sequential, outputs: np.ndarray, held: HeldOut) -> None:
        if not self._multilabel:
            network.prediction_sets = fit_sets(self._predictions(outputs), *held)
        criterion = self.threshold_for
        if criterion is None:
            return
        second = held.targets == 1
        network.threshold, problem = chosen_threshold(criterion, outputs, second, held.weights)
        if problem:
            warnings.warn(f"threshold_for: {problem}", GpunnWarning, stacklevel=5)

    @property
    def threshold_(self) -> float:
        """The minimum probability at which the second of two classes is predicted."""
        check_is_fitted(self)
        threshold: float | None = self.network_.threshold
        return DEFAULT if threshold is None else threshold

    def predict(self, X: Any) -> np.ndarray:
        """Predict the class, or the labels, of each row.

        With two classes, the second class is predicted if its probability is at least `threshold_`.
        With more classes, the most probable class is predicted.

        Parameters
        ----------
        X : data frame, array, dict of columns or list of rows
            Raw rows, as for `fit`. A category unseen in training counts as a missing value, and a
            warning reports the number of such cells.

        Returns
        -------
        ndarray, shape (rows,) or (rows, labels)
            Classes, as in `classes_`. For multilabel targets: an indicator matrix, with 1 for each
            label whose probability is above 1/2, else 0.
        """
        outputs = self._network_outputs(X)
        if self._multilabel:
            return np.asarray(outputs > 0, dtype=np.int64)
        predicted: np.ndarray = self.classes_[decide(outputs, "softmax", self.network_.threshold)]
        return predicted

    def predict_sets(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Predict a set of classes for each row; most of the sets contain the true class.

        A set contains the predicted class and every class whose probability reaches a limit. The
        validation rows determine the limit (see `gpunn.prediction_sets`). `coverage` holds for the
        average over all rows; for rows of a rare class, the coverage may be lower.

        Parameters
        ----------
        X : data frame, array, dict of columns or list of rows
            As for `predict`.
        coverage : float, default=0.9
            Fraction of the rows whose set should contain the true class; a multiple of 0.01.

        Returns
        -------
        ndarray of bool, shape (rows, classes)
            Whether each class, in the order of `classes_`, is in the set.

        Raises
        ------
        ValueError
            If `coverage` is invalid, if there were too few validation rows for it, or if the
            targets are multilabel.
        """
        percent = percent_of("coverage", coverage)
        outputs, sets = self._network_outputs(X), self.network_.prediction_sets
        if self._multilabel:
            raise ValueError("predict_sets: needs one class per row; y is multilabel")
        if sets is None:
            raise ValueError(
                "predict_sets: an earlier release saved this model, without sets; fit again"
            )
        codes = decide(outputs, "softmax", self.network_.threshold)
        found: np.ndarray = classes_in_sets(self._predictions(outputs), codes, sets, percent)
        return found

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each class or label, in the order of `classes_`.

        Parameters
        ----------
        X : data frame, array, dict of columns or list of rows
            As for `predict`.

        Returns
        -------
        ndarray of float64, shape (rows, classes)
            Probabilities. Each row sums to 1, unless the targets are multilabel.
        """
        return self._predictions(self._network_outputs(X))

    def _predictions(self, outputs: np.ndarray) -> np.ndarray:
        kind = "sigmoid" if self._multilabel else "softmax"
        return probabilities(outputs.astype(np.float64), kind)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@dataclass(eq=False, repr=False, kw_only=True)
class TabularRegressorBase(RegressorMixin, TabularEstimator):  # type: ignore[misc]
    target_transform: str | None = parameter(None, NONE, among("log"))
    quantiles: Any = parameter(None, NONE, ARRAY_LIKE)

    _task = "regression"

    def _learn_targets(self, y: Any) -> np.ndarray:
        targets = self._checked_targets(y, "y")
        self._outputs = 1 if targets.ndim == 1 else targets.shape[1]
        return targets

    def _decide(self, network: Sequential, outputs: np.ndarray, held: HeldOut) -> None:
        quantiles = [] if self.quantiles is None else [float(each) for each in self.quantiles]
        network.intervals = fit_intervals(outputs, *held, quantiles, self.target_transform == "log")
        if quantiles:
            network.remember(None, [str(each) for each in quantiles], network.output_activation)

    def _checked_targets(self, y: Any, argument: str) -> np.ndarray:
        targets = checked_numbers(y, self._markers(), argument)
        if self.target_transform == "log":
            check_positive(targets, argument)
        return targets

    def predict(
        self, X: Any, interval: float | None = None
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predict the target of each row and, on request, a prediction interval.

        Intervals are conformal: their width is computed from the errors on the validation rows.
        The validation rows have also selected the best epoch. Without `quantiles`, all intervals
        have the same width. With `target_transform="log"`, they instead have the same ratio of
        upper to lower bound. See `gpunn.intervals`.

        Parameters
        ----------
        X : data frame, array, dict of columns or list of rows
            Raw rows, as for `fit`. A category unseen in training counts as a missing value, and a
            warning reports the number of such cells.
        interval : float or None
            Fraction of the rows whose interval should contain the target; a multiple of 0.01. With
            several targets, the fraction is for each target separately.

        Returns
        -------
        ndarray of float64, shape (rows,) or (rows, outputs)
            Predictions in the unit of the targets; with `quantiles`, the medians. If `interval` is
            set, a tuple of three such arrays: predictions, lower and upper bounds.

        Raises
        ------
        ValueError
            If `interval` is invalid, or there were too few validation rows for it.
        """
        outputs = self._network_outputs(X)
        if interval is None:
            return self._predictions(outputs)
        percent, intervals = percent_of("interval", interval), self.network_.intervals
        if intervals is None:
            raise ValueError(
                "interval: this estimator is from a file of an earlier release, which stored no "
                "intervals; fit it again"
            )
        triples = bounds(outputs.T.astype(np.float64), intervals, percent)
        columns = (np.stack(each, axis=1) for each in zip(*triples, strict=True))
        predicted, low, high = (each[:, 0] if len(triples) == 1 else each for each in columns)
        return predicted, low, high

    def _predictions(self, outputs: np.ndarray) -> np.ndarray:
        numbers, intervals = outputs.astype(np.float64), self.network_.intervals
        if intervals is not None and intervals["quantiles"]:
            return numbers[:, intervals["quantiles"].index(0.5)]
        return numbers[:, 0] if numbers.shape[1] == 1 else numbers

    def predict_quantiles(self, X: Any) -> np.ndarray:
        """Predict the `quantiles` of each row, in ascending order. Predicted quantiles never cross.

        Parameters
        ----------
        X : data frame, array, dict of columns or list of rows
            As for `predict`.

        Returns
        -------
        ndarray of float64, shape (rows, quantiles)
            The network's quantiles in the unit of the targets, without conformal calibration.

        Raises
        ------
        AttributeError
            If the estimator has no `quantiles`.
        """
        outputs = self._network_outputs(X).astype(np.float64)
        if not (self.network_.intervals or {}).get("quantiles"):
            raise AttributeError("predict_quantiles: set the parameter quantiles, and fit again")
        return outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
