"""Base classes of the tabular estimators, from raw rows to predictions."""

from __future__ import annotations

import copy
import warnings
from abc import abstractmethod
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted

from gpunn.backends import Backend, get_backend
from gpunn.configurable import check_number, resolve_all
from gpunn.data.frames import column_names
from gpunn.errors import DataError, GpunnWarning
from gpunn.layers.outputs import check_positive
from gpunn.meaning import probabilities
from gpunn.network import Sequential
from gpunn.rows.cells import Markers
from gpunn.sklearn.base import INCOMPLETE_VALIDATION, device_of
from gpunn.sklearn.callbacks import DefinedMetric, Describing, TrainingProgress
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
    parameter,
    real,
)
from gpunn.sklearn.tabular_files import (
    KEY,
    EstimatorRecord,
    plain_classes,
    plain_parameters,
    read_estimator,
)
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
from gpunn.tables.schema import checked_strings
from gpunn.tabular import Recipe, scale_temperature
from gpunn.thresholds import DEFAULT, best_threshold, decide, is_criterion, margins
from gpunn.training.callbacks import Callback, EarlyStopping
from gpunn.training.trainer import Trainer

__all__ = [
    "TabularClassifier",
    "TabularEstimator",
    "TabularRegressor",
    "none_if_auto",
]

MAX_PROBLEMS = 10
"""Maximum number of columns that a warning describes."""

MAPPING = Constraint("a mapping", lambda value: isinstance(value, Mapping))

CRITERION = Constraint(
    "a criterion: 'f1', 'balanced_accuracy', or a bound such as 'precision=0.9' or 'recall=0.8'",
    lambda value: isinstance(value, str) and is_criterion(value),
)


def problems_of(schema: Schema, chosen: Container[str]) -> str:
    """Describe dropped columns, and suspicious columns with kinds that the user did not choose."""
    problems = []
    for column in schema.columns:
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


def none_if_auto(parameter: Any) -> Any:
    """Return the value of a parameter, or None if it is "auto"."""
    return None if isinstance(parameter, str) and parameter == "auto" else parameter


class Rows(NamedTuple):
    """Checked rows: a table, targets for the loss, and sample weights or None."""

    table: Table
    targets: np.ndarray
    weights: np.ndarray | None

    def take(self, rows: np.ndarray) -> Rows:
        """Return the rows with these indices."""
        weights = None if self.weights is None else self.weights[rows]
        return Rows(self.table.take(rows), self.targets[rows], weights)


@dataclass(eq=False, repr=False, kw_only=True)
class TabularEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of the estimators for raw tables with text, dates and missing values."""

    metric: str = parameter(
        "auto", Constraint("the name of a metric", lambda value: isinstance(value, str))
    )
    validation_fraction: float = parameter(0.2, real(0, 1, ends="()"))
    columns: Any = parameter(None, NONE, MAPPING)
    missing_values: Any = parameter(None, NONE, ARRAY_LIKE)
    backend: Any = parameter(None, *BACKEND)
    dtype: str = parameter("float32", among("float32", "float64"))
    random_state: Any = parameter(None, RANDOM_STATE)
    callbacks: Any = parameter((), CALLBACKS)
    progress: bool = parameter(False, FLAG)

    # For scikit-learn's metadata routing: if groups are passed, they also decide which rows to hold
    # out.
    __metadata_request__fit: ClassVar[Mapping[str, bool]] = {"groups": True, "times": True}
    _scaling: ClassVar[str]
    """Name of the schema's scaling of numbers."""
    _multilabel = False
    """Whether the classifier predicts several labels per row."""

    @property
    @abstractmethod
    def _task(self) -> str:
        """The task: the name in `gpunn.tabular` for the kind of targets."""

    # -------------------------------------------------------------- methods that subclasses define

    @abstractmethod
    def _recipe(self, schema: Schema, X: np.ndarray) -> Recipe:
        """Return the network for encoded training rows, and its loss, optimizer and options."""

    def _settings(self, parameters: type) -> dict[str, Any]:
        """Return the values of the fields of the class `parameters`, by name; None for "auto"."""
        return {each.name: none_if_auto(getattr(self, each.name)) for each in fields(parameters)}

    @abstractmethod
    def _learn_targets(self, y: Any) -> np.ndarray:
        """Check the training targets, set the fitted attributes, and return targets for the loss.

        `_outputs` is the number of targets or classes.
        """

    @abstractmethod
    def _checked_targets(self, y: Any, argument: str) -> np.ndarray:
        """Check validation targets, and return them for the loss."""

    def _labels(self, targets: np.ndarray) -> np.ndarray | None:
        """Return the classes by which validation rows are stratified, or None."""
        return None

    def _class_weight(self) -> Mapping[int, float] | str | None:
        """Return class weights for `Trainer.fit`."""
        return None

    def _name_outputs(self, network: Sequential) -> None:
        """Set the names of the network's classes, if it has classes."""

    def _calibrate(self, network: Sequential, X: np.ndarray, validation: Rows) -> None:
        """Fit to encoded validation rows how the network's outputs become predictions."""

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
            `gpunn.tables.Schema.fit` detects the kind of each column.
        y : array-like, shape (rows,) or (rows, outputs)
            For a classifier, classes as strings, numbers or Booleans, or an indicator matrix of
            several labels, each 0 or 1. For a regressor, numbers.
        sample_weight : array-like, shape (rows,), or None
            Weights in the loss and the metric. Rows with a weight of 0 are not held out.
        X_val, y_val, sample_weight_val : as X, y and sample_weight, or None
            Validation rows, on which the best epoch is selected. Without `X_val`, the fraction
            `validation_fraction` of the rows is held out.
        groups : array-like, shape (rows,), or None
            The group of each row, such as a patient. Whole groups are held out: no group is in both
            training and validation. For a classifier, the proportions of the classes are kept as
            far as the groups allow.
        times : array-like, shape (rows,), or None
            The time of each row, as dates or numbers. The latest rows are held out.

        Returns
        -------
        Self
            This estimator. After Ctrl-C, training ends with the best epoch so far.

        Raises
        ------
        ValueError
            If a parameter or the data is invalid; the message names the parameter or the cell.
        KeyboardInterrupt
            If Ctrl-C is pressed during the first epoch.

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
            return self._fit(X, y, sample_weight, X_val, y_val, sample_weight_val, split_by)
        except BaseException:  # names of columns or classes must not meet an earlier fit's network
            state.clear()
            state.update(before)
            raise

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        X_val: Any,
        y_val: Any,
        sample_weight_val: Any,
        split_by: SplitBy,
    ) -> Self:
        """Train as `fit` does. If this method raises an error, attributes may have changed."""
        table = checked_table(self, X, first=True)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        targets = self._learn_targets(y)
        check_consistent_length(table, targets)
        weights = checked_row_weights(sample_weight, table.rows, self.dtype, "sample_weight")
        every = Rows(table, targets, weights)
        seed = int(check_random_state(self.random_state).randint(2**31))
        if X_val is None:
            labels = self._labels(targets)
            fraction = self.validation_fraction
            if split_by is None:
                kept, held = split(table.rows, fraction, seed, labels, weights)
            else:
                kept, held = split_rows_by(split_by, table.rows, fraction, seed, labels, weights)
            self._train(every.take(kept), every.take(held), every.table, seed, held_out=True)
        else:
            table = checked_table(self, X_val, first=False, argument="X_val")
            targets = self._checked_targets(y_val, "y_val")
            check_consistent_length(table, targets)
            weights = checked_row_weights(
                sample_weight_val, table.rows, self.dtype, "sample_weight_val"
            )
            validation = Rows(table, targets, weights)
            self._train(every, validation, every.table, seed, held_out=False)
        return self

    def _markers(self) -> Markers:
        """Return the strings that mark missing targets, which are those of `X` except numbers."""
        additional = () if self.missing_values is None else self.missing_values
        return Markers(Markers.of(checked_strings("missing_values", additional)).strings, ())

    def _train(
        self, training: Rows, validation: Rows, table: Table, seed: int, *, held_out: bool
    ) -> None:
        """Fit the schema and the network to training rows; `table` has all rows."""
        markers = {} if self.missing_values is None else {"missing_values": self.missing_values}
        schema = Schema.fit(
            training.table,
            columns=self.columns,
            scaling=self._scaling,
            seed=seed,
            every=table,
            **markers,
        )
        if problems := problems_of(schema, self.columns or {}):
            warnings.warn(f"X: {problems}", GpunnWarning, stacklevel=4)
        X = schema.encode(training.table, self.dtype)
        with warnings.catch_warnings():
            if held_out:  # held-out rows may by chance have categories unseen in training
                warnings.simplefilter("ignore", GpunnWarning)
            X_val = schema.encode(validation.table, self.dtype)
        recipe = self._recipe(schema, X)
        network = Sequential(recipe.layers, schema.width, self.backend, seed, self.dtype)
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
            Describing(lambda: self._describe(network, schema)),
            *custom[:others],
            stopping,
            DefinedMetric(stopping.monitor),
            *custom[others:],
        ]
        if self.progress:
            title = type(self).__name__
            callbacks.append(TrainingProgress(title, len(X), epochs, stopping))
        options["callbacks"] = callbacks
        held = [
            each for each in (X_val, validation.targets, validation.weights) if each is not None
        ]
        trainer.fit(
            X=X,
            y=training.targets,
            validation_data=tuple(held),
            sample_weight=training.weights,
            class_weight=self._class_weight(),
            progress=False,
            **options,
        )
        if not stopping.best_epoch and trainer.stop_reason.startswith("interrupted"):
            raise KeyboardInterrupt  # there is no best epoch yet
        self._describe(network, schema)
        self._calibrate(network, X_val, validation)
        self.network_, self.schema_, self.history_ = network, schema, trainer.history
        self.metric_, self.validation_score_ = recipe.metric, float(stopping.best)
        self.best_epoch_, self.n_iter_ = int(stopping.best_epoch), int(trainer.epoch)
        self.backend_, self.device_ = network.backend.name, device_of(network.backend)

    def _describe(self, network: Sequential, schema: Schema) -> None:
        """Set the network's schema and class names, so that the network accepts raw rows."""
        network.schema = schema
        self._name_outputs(network)

    # ------------------------------------------------------------------------------- predicting

    def _network_outputs(self, X: Any) -> np.ndarray:
        """Return the network's outputs, shape (rows, outputs)."""
        check_is_fitted(self)
        table = checked_table(self, X, first=False)
        return self._placed_network().predict(table)

    def _placed_network(self) -> Sequential:
        """Return the network on the backend that the parameter `backend` names."""
        backend, current = get_backend(self.backend), self.network_.backend
        if (backend.name, backend.options) != (current.name, current.options):
            self.network_ = self.network_.to(backend)
        network: Sequential = self.network_
        return network

    # ----------------------------------------------------------------------------------- saving

    def save(self, path: str | Path) -> None:
        """Save the fitted estimator to a model file, which contains no code; `load` reads it.

        `gpunn.load_model` can also read the file, which contains `network_` with the schema.

        Parameters
        ----------
        path : str or Path
            Path of the file, usually with the suffix ".safetensors". An existing file is replaced.

        Raises
        ------
        OSError
            If the file can't be written. In this case, an existing file is unchanged.
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
        )
        network = self._placed_network()
        network.metadata[KEY] = asdict(record)
        network.save(path)

    @classmethod
    def load(cls, path: str | Path, backend: str | Backend | None = None) -> Self:
        """Load a fitted estimator from a file that `save` wrote.

        The loaded estimator has no `history_`, `backend_` and `device_`, since these describe a
        training.

        Parameters
        ----------
        path : str or Path
            A file that `save` wrote.
        backend : str, Backend or None
            Where to compute; as the estimators' parameter `backend`.

        Returns
        -------
        Self
            The estimator, which is of the same class.

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
        estimator._outputs = network.output_shape[0]
        estimator._multilabel = network.output_activation == "sigmoid"
        return estimator

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy or pickle, with the network on the host."""
        state = dict(super().__getstate__())
        if "network_" in state:
            state["network_"] = state["network_"].to("numpy")
        return state

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags, with the inputs that the estimator accepts."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.input_tags.dict = True
        tags.non_deterministic = False
        return tags


@dataclass(eq=False, repr=False, kw_only=True)
class TabularClassifier(ClassifierMixin, TabularEstimator):  # type: ignore[misc]
    """Base of the classifiers."""

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
                f"y: expected at least two classes; all {len(labels)} rows have one class, "
                f"{self.classes_.tolist()[0]!r}"
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
                "class_weight: not supported for several labels; use sample_weight"
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

    def _name_outputs(self, network: Sequential) -> None:
        if self._multilabel:
            network.remember(None, self._label_names, network.output_activation)
            return
        names = [str(label) for label in self.classes_.tolist()]
        if len(set(names)) == len(names):
            network.classes = names

    def _check_threshold(self, kind: str) -> None:
        """Raise an InvalidParameterError if `threshold_for` is set without exactly two classes."""
        if self.threshold_for is not None and (kind == "labels" or self._outputs > 2):
            raise InvalidParameterError(
                f"threshold_for: a threshold needs two classes; y has {self._outputs} {kind}"
            )

    def _calibrate(self, network: Sequential, X: np.ndarray, validation: Rows) -> None:
        self.temperature_ = 1.0
        if self.temperature_scaling and self.class_weight is None:
            targets, weights = validation.targets, validation.weights
            self.temperature_ = scale_temperature(network, X, targets, weights)
        self._decide(network, X, validation)

    def _decide(self, network: Sequential, X: np.ndarray, validation: Rows) -> None:
        """Choose the network's threshold by `threshold_for` on encoded validation rows."""
        criterion = self.threshold_for
        if criterion is None:
            return
        margin, second = margins(network.predict_encoded(X)), validation.targets == 1
        choice = best_threshold(criterion, margin, second, validation.weights)
        if choice is None or not choice.reached:
            reason = (
                "the validation rows are all of one class, so the threshold is 0.5"
                if choice is None
                else f"no threshold reaches {criterion} on the validation rows, so the closest one "
                "is used"
            )
            warnings.warn(
                f"threshold_for: {reason}",
                GpunnWarning,
                stacklevel=6,
            )
        network.threshold = None if choice is None else choice.threshold

    @property
    def threshold_(self) -> float:
        """The minimum probability at which the second of two classes is predicted."""
        check_is_fitted(self)
        threshold: float | None = self.network_.threshold
        return DEFAULT if threshold is None else threshold

    def predict(self, X: Any) -> np.ndarray:
        """Predict the class, or the labels, of each row.

        With two classes, `threshold_` decides; with more classes, the most probable class is
        predicted.

        Parameters
        ----------
        X : data frame, array, dict of columns or list of rows
            Raw rows, as for `fit`. A category unseen in training counts as a missing value, and a
            warning reports the number of such cells.

        Returns
        -------
        ndarray, shape (rows,) or (rows, labels)
            Classes, as in `classes_`, or an indicator matrix, which is 1 for labels with a
            probability above 1/2.
        """
        outputs = self._network_outputs(X)
        if self._multilabel:
            return np.asarray(outputs > 0, dtype=np.int64)
        predicted: np.ndarray = self.classes_[decide(outputs, "softmax", self.network_.threshold)]
        return predicted

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each class or label, in the order of `classes_`.

        Parameters
        ----------
        X : data frame, array, dict of columns or list of rows
            As for `predict`.

        Returns
        -------
        ndarray of float64, shape (rows, classes)
            Probabilities. Each row sums to 1, unless there are several labels.
        """
        kind = "sigmoid" if self._multilabel else "softmax"
        return probabilities(self._network_outputs(X).astype(np.float64), kind)

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags, with the targets that the classifier accepts."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@dataclass(eq=False, repr=False, kw_only=True)
class TabularRegressor(RegressorMixin, TabularEstimator):  # type: ignore[misc]
    """Base of the regressors."""

    target_transform: str | None = parameter(None, NONE, among("log"))

    _task = "regression"

    def _learn_targets(self, y: Any) -> np.ndarray:
        targets = self._checked_targets(y, "y")
        self._outputs = 1 if targets.ndim == 1 else targets.shape[1]
        return targets

    def _checked_targets(self, y: Any, argument: str) -> np.ndarray:
        targets = checked_numbers(y, self._markers(), argument)
        if self.target_transform == "log":
            check_positive(targets, argument)
        return targets

    def predict(self, X: Any) -> np.ndarray:
        """Predict the target of each row.

        Parameters
        ----------
        X : data frame, array, dict of columns or list of rows
            Raw rows, as for `fit`. A category unseen in training counts as a missing value, and a
            warning reports the number of such cells.

        Returns
        -------
        ndarray of float64, shape (rows,) or (rows, outputs)
            Predictions in the unit of the targets.
        """
        outputs = self._network_outputs(X).astype(np.float64)
        return outputs[:, 0] if self._outputs == 1 else outputs

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags, with the targets that the regressor accepts."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
