"""Base classes of the estimators for tables: from rows as they are to predictions."""

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
from gpunn.meaning import probabilities
from gpunn.network import Sequential
from gpunn.rows.cells import Markers
from gpunn.sklearn.base import device_of
from gpunn.sklearn.callbacks import DefinedMetric, Describing, TrainingProgress
from gpunn.sklearn.held_out import Apart, checked_apart, split_apart
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
from gpunn.tables.schema import checked_texts
from gpunn.tabular import Recipe
from gpunn.thresholds import DEFAULT, best_threshold, decide, is_criterion, margins
from gpunn.training.callbacks import Callback, EarlyStopping
from gpunn.training.trainer import Trainer

__all__ = [
    "TabularClassifier",
    "TabularEstimator",
    "TabularRegressor",
    "given",
]

MOST_PROBLEMS = 10
"""Columns of which a warning says what is wrong."""

MAPPING = Constraint("a mapping", lambda value: isinstance(value, Mapping))

CRITERION = Constraint(
    "a criterion: 'f1', 'balanced_accuracy', or such as 'precision=0.9' or 'recall=0.9'",
    lambda value: isinstance(value, str) and is_criterion(value),
)


def problems_of(schema: Schema, chosen: Container[str]) -> str:
    """Return which columns are dropped, and what looks wrong with those of no `chosen` kind."""
    problems = []
    for column in schema.columns:
        if column.doubtful:
            problems.append(
                f"column {column.name!r} is taken for categories; {column.reported}. If it is "
                f"right, say so by columns={{{column.name!r}: 'category'}}"
            )
        elif column.dropped or (column.reported and column.name not in chosen):
            problems.append(f"column {column.name!r}: {column.reported}")
    more = len(problems) - MOST_PROBLEMS
    return "; ".join(
        [*problems[:MOST_PROBLEMS], *([f"{more} more, in schema_.problems"] if more > 0 else [])]
    )


def given(parameter: Any) -> Any:
    """Return the value of a parameter; None if it is "auto"."""
    return None if isinstance(parameter, str) and parameter == "auto" else parameter


class Rows(NamedTuple):
    """Checked rows: a table, targets as the loss takes them, and sample weights, if any."""

    table: Table
    targets: np.ndarray
    weights: np.ndarray | None

    def take(self, rows: np.ndarray) -> Rows:
        """Return some of the rows."""
        weights = None if self.weights is None else self.weights[rows]
        return Rows(self.table.take(rows), self.targets[rows], weights)


@dataclass(eq=False, repr=False, kw_only=True)
class TabularEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of the estimators that take a table as it is, with text, dates and gaps."""

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

    # For scikit-learn's metadata routing: where groups are passed, rows are held out by them, too.
    __metadata_request__fit: ClassVar[Mapping[str, bool]] = {"groups": True, "times": True}
    _scaling: ClassVar[str]
    """How its schema scales numbers."""
    _multilabel = False
    """Whether a classifier has been fitted to several labels."""

    @property
    @abstractmethod
    def _task(self) -> str:
        """What it predicts, as `gpunn.tabular` calls it."""

    # ------------------------------------------------------------- what the subclasses differ in

    @abstractmethod
    def _recipe(self, schema: Schema, X: np.ndarray) -> Recipe:
        """Return the network for encoded training rows, and how it is trained."""

    def _settings(self, parameters: type) -> dict[str, Any]:
        """Return the values of a class's parameters by name; None for "auto"."""
        return {each.name: given(getattr(self, each.name)) for each in fields(parameters)}

    @abstractmethod
    def _learn_targets(self, y: Any) -> np.ndarray:
        """Return checked targets as the loss takes them, and learn what there is to know of them.

        That is `_outputs`, their number, or that of their classes, at least.
        """

    @abstractmethod
    def _checked_targets(self, y: Any, argument: str) -> np.ndarray:
        """Return further targets likewise."""

    def _labels(self, targets: np.ndarray) -> np.ndarray | None:
        """Return the classes by which validation rows are stratified, or None."""
        return None

    def _class_weight(self) -> Mapping[int, float] | str | None:
        """Return class weights as `Trainer.fit` takes them."""
        return None

    def _name_outputs(self, network: Sequential) -> None:
        """Give a network the names of its classes, if it has some."""

    def _decide(self, network: Sequential, X: np.ndarray, validation: Rows) -> None:
        """Choose what a network decides by, from encoded validation rows."""

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
        """Train on a table and its targets.

        If it fails, the estimator is as it was before.

        Parameters
        ----------
        X : data frame, array, dict of columns or list of rows
            Of pandas, Polars, pyarrow, NumPy and the like, as it is: numbers, text, categories,
            booleans, dates, and missing values in any of them. What its columns are is found by
            `gpunn.tables.Schema.fit`.
        y : array-like, shape (rows,) or (rows, outputs)
            Classes as text, numbers or truth values, or an indicator matrix of several labels, each
            0 or 1; for a regressor, numbers.
        sample_weight : array-like, shape (rows,), or None
            Weights in the loss and the metric. Rows with a weight of 0 are not set aside.
        X_val, y_val, sample_weight_val : as X, y and sample_weight, or None
            Rows that tell the best epoch. Without them `validation_fraction` of the rows are set
            aside.
        groups : array-like, shape (rows,), or None
            The group of each row, such as a patient. Whole groups are set aside, so that no group
            is both trained on and validated on. For a classifier, classes keep their proportions as
            far as groups allow.
        times : array-like, shape (rows,), or None
            The time of each row, as dates or numbers. The latest rows are set aside.

        Returns
        -------
        Self
            This estimator. Ctrl-C ends training, and keeps the best epoch so far.

        Raises
        ------
        ValueError
            If a parameter or the data is impossible; the message names it, and the cell.
        KeyboardInterrupt
            If Ctrl-C comes within the first epoch.

        Warns
        -----
        GpunnWarning
            If columns are dropped, such as identifiers, or look wrong; and of categories and gaps
            of `X_val` that `X` has not.
        """
        check_parameters(self)
        if (X_val is None) != (y_val is None) or (X_val is None and sample_weight_val is not None):
            raise ValueError("X_val and y_val belong together, sample_weight_val to both")
        state = self.__dict__
        before = dict(state)
        try:
            apart = checked_apart(groups, times, X_val is not None)
            return self._fit(X, y, sample_weight, X_val, y_val, sample_weight_val, apart)
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
        apart: Apart,
    ) -> Self:
        """Train as `fit` does; an error leaves some of what was learned behind."""
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
            if apart is None:
                kept, held = split(table.rows, fraction, seed, labels, weights)
            else:
                kept, held = split_apart(apart, table.rows, fraction, seed, labels, weights)
            self._train(every.take(kept), every.take(held), every.table, seed, set_aside=True)
        else:
            table = checked_table(self, X_val, first=False, argument="X_val")
            targets = self._checked_targets(y_val, "y_val")
            check_consistent_length(table, targets)
            weights = checked_row_weights(
                sample_weight_val, table.rows, self.dtype, "sample_weight_val"
            )
            validation = Rows(table, targets, weights)
            self._train(every, validation, every.table, seed, set_aside=False)
        return self

    def _markers(self) -> Markers:
        """Return the text that means a missing target, as it does in `X`; every number is one."""
        further = () if self.missing_values is None else self.missing_values
        return Markers(Markers.of(checked_texts("missing_values", further)).strings, ())

    def _train(
        self, training: Rows, validation: Rows, table: Table, seed: int, *, set_aside: bool
    ) -> None:
        """Train on some rows of a table, by which it is decided what its columns are."""
        given = {} if self.missing_values is None else {"missing_values": self.missing_values}
        schema = Schema.fit(
            training.table,
            columns=self.columns,
            scaling=self._scaling,
            seed=seed,
            every=table,
            **given,
        )
        if problems := problems_of(schema, self.columns or {}):
            warnings.warn(f"X: {problems}", GpunnWarning, stacklevel=4)
        X = schema.encode(training.table, self.dtype)
        with warnings.catch_warnings():
            if set_aside:  # by chance they have categories that those to train on have not
                warnings.simplefilter("ignore", GpunnWarning)
            X_val = schema.encode(validation.table, self.dtype)
        recipe = self._recipe(schema, X)
        network = Sequential(recipe.layers, schema.width, self.backend, seed, self.dtype)
        trainer = Trainer(network, recipe.loss, recipe.optimizer, [recipe.metric])
        options = dict(recipe.options)
        stopping, epochs = options["callbacks"][0], options["epochs"]
        further = resolve_all(Callback, copy.deepcopy(list(self.callbacks)), "callbacks")
        # Each goes back to its best epoch when training ends, so that of `metric` comes after them.
        further.sort(key=lambda callback: not isinstance(callback, EarlyStopping))
        others = sum(isinstance(callback, EarlyStopping) for callback in further)
        callbacks = [
            Describing(lambda: self._describe(network, schema)),
            *further[:others],
            stopping,
            DefinedMetric(stopping.monitor),
            *further[others:],
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
        self._decide(network, X_val, validation)
        self.network_, self.schema_, self.history_ = network, schema, trainer.history
        self.metric_, self.validation_score_ = recipe.metric, float(stopping.best)
        self.best_epoch_, self.n_iter_ = int(stopping.best_epoch), int(trainer.epoch)
        self.backend_, self.device_ = network.backend.name, device_of(network.backend)

    def _describe(self, network: Sequential, schema: Schema) -> None:
        """Have a network take rows as they are, and know the names of its classes."""
        network.schema = schema
        self._name_outputs(network)

    # ------------------------------------------------------------------------------- predicting

    def _network_outputs(self, X: Any) -> np.ndarray:
        """Return the network's outputs, shape (rows, outputs)."""
        check_is_fitted(self)
        table = checked_table(self, X, first=False)
        return self._placed_network().predict(table)

    def _placed_network(self) -> Sequential:
        """Return the network, on the backend of the parameter `backend`."""
        backend, present = get_backend(self.backend), self.network_.backend
        if (backend.name, backend.options) != (present.name, present.options):
            self.network_ = self.network_.to(backend)
        network: Sequential = self.network_
        return network

    # ----------------------------------------------------------------------------------- saving

    def save(self, path: str | Path) -> None:
        """Write the fitted estimator to a model file, which holds no code; `load` reads it.

        `gpunn.load_model` reads it, too: the file is that of `network_`, schema included.

        Parameters
        ----------
        path : str or Path
            Usually ending in ".safetensors". An existing file is replaced.

        Raises
        ------
        OSError
            If the file can't be written. An existing file is then unchanged.
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
        )
        network = self._placed_network()
        network.metadata[KEY] = asdict(record)
        network.save(path)

    @classmethod
    def load(cls, path: str | Path, backend: str | Backend | None = None) -> Self:
        """Return the estimator that `save` wrote to a file, fitted.

        It has no `history_`, `backend_` and `device_`: these are of a training.

        Parameters
        ----------
        path : str or Path
            A file that `save` wrote.
        backend : str, Backend or None
            Where to compute, as the parameter of that name.

        Returns
        -------
        Self
            An estimator of this class.

        Raises
        ------
        ModelFileError
            If there is no such file, it is damaged, or it is that of another estimator.
        """
        network, record = read_estimator(path, cls.__name__, backend)
        known = cls._get_param_names()
        parameters = {name: it for name, it in record.given_parameters().items() if name in known}
        estimator = cls(**parameters, backend=backend)
        assert network.schema is not None
        estimator.network_, estimator.schema_ = network, network.schema
        estimator.n_features_in_ = record.n_features
        if record.feature_names is not None:
            estimator.feature_names_in_ = np.array(record.feature_names, dtype=object)
        if (classes := record.class_array()) is not None:
            estimator.classes_ = classes
        estimator.metric_, estimator.validation_score_ = record.metric, record.validation_score
        estimator.best_epoch_, estimator.n_iter_ = record.best_epoch, record.n_iter
        estimator._outputs = network.output_shape[0]
        estimator._multilabel = network.output_activation == "sigmoid"
        return estimator

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy or pickle, whose network needs no device."""
        state = dict(super().__getstate__())
        if "network_" in state:
            state["network_"] = state["network_"].to("numpy")
        return state

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn which inputs are accepted."""
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
                    f"{argument}: expected {self._outputs} labels a row, as in `y`; got shape "
                    f"{indicators.shape}"
                )
            return indicators
        labels = checked_classes(y, self._markers(), argument)
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise DataError(
                f"{argument}: has classes that `y` has not: {unknown.tolist()!r:.80}; those of y "
                f"are {self.classes_.tolist()!r:.80}"
            )
        return np.searchsorted(self.classes_, labels)

    def _labels(self, targets: np.ndarray) -> np.ndarray | None:
        return None if self._multilabel else targets

    def _class_weight(self) -> Mapping[int, float] | str | None:
        given = self.class_weight
        if self._multilabel and given is not None:
            raise InvalidParameterError(
                "class_weight: is for one class per row; with several labels use sample_weight"
            )
        if not isinstance(given, Mapping):
            weights: str | None = given
            return weights
        places = {label: place for place, label in enumerate(self.classes_.tolist())}
        for label in given:
            if label not in places:
                raise InvalidParameterError(
                    f"class_weight: there is no class {label!r}; there are "
                    f"{self.classes_.tolist()!r:.80}"
                )
        return {
            places[label]: check_number(f"class_weight[{label!r}]", factor, at_least=0)
            for label, factor in given.items()
        }

    def _name_outputs(self, network: Sequential) -> None:
        if self._multilabel:
            network.remember(None, self._label_names, network.output_activation)
            return
        names = [str(label) for label in self.classes_.tolist()]
        if len(set(names)) == len(names):
            network.classes = names

    def _check_threshold(self, told: str) -> None:
        """Raise an InvalidParameterError if a threshold is asked for, but not between classes."""
        if self.threshold_for is not None and (told == "labels" or self._outputs > 2):
            raise InvalidParameterError(
                f"threshold_for: a threshold is between two classes; y has {self._outputs} {told}"
            )

    def _decide(self, network: Sequential, X: np.ndarray, validation: Rows) -> None:
        criterion = self.threshold_for
        if criterion is None:
            return
        margin, second = margins(network.predict_encoded(X)), validation.targets == 1
        choice = best_threshold(criterion, margin, second, validation.weights)
        if choice is None or not choice.reached:
            why = "are all of one class" if choice is None else f"don't reach {criterion}"
            kept = "stays 0.5" if choice is None else "is the nearest to it"
            warnings.warn(
                f"threshold_for: the validation rows {why}, so the threshold {kept}",
                GpunnWarning,
                stacklevel=5,
            )
        network.threshold = None if choice is None else choice.threshold

    @property
    def threshold_(self) -> float:
        """The probability from which on the second of two classes is predicted."""
        check_is_fitted(self)
        threshold: float | None = self.network_.threshold
        return DEFAULT if threshold is None else threshold

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row, what `threshold_` decides for, or its labels.

        Parameters
        ----------
        X : data frame, array, dict of columns or list of rows
            Rows as `fit` takes them. A category that the training rows had not counts as a missing
            one, and a warning counts them.

        Returns
        -------
        ndarray, shape (rows,) or (rows, labels)
            Of the type of `classes_`, or an indicator matrix: 1 where the probability is above 1/2.
        """
        outputs = self._network_outputs(X)
        if self._multilabel:
            return np.asarray(outputs > 0, dtype=np.int64)
        predicted: np.ndarray = self.classes_[decide(outputs, "softmax", self.network_.threshold)]
        return predicted

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, in the order of `classes_`, or of each label.

        Parameters
        ----------
        X : data frame, array, dict of columns or list of rows
            As for `predict`.

        Returns
        -------
        ndarray of float64, shape (rows, classes)
            Each row sums to 1, unless there are several labels.
        """
        kind = "sigmoid" if self._multilabel else "softmax"
        return probabilities(self._network_outputs(X).astype(np.float64), kind)

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn which targets are accepted."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class TabularRegressor(RegressorMixin, TabularEstimator):  # type: ignore[misc]
    """Base of the regressors."""

    _task = "regression"

    def _learn_targets(self, y: Any) -> np.ndarray:
        targets = checked_numbers(y, self._markers())
        self._outputs = 1 if targets.ndim == 1 else targets.shape[1]
        return targets

    def _checked_targets(self, y: Any, argument: str) -> np.ndarray:
        return checked_numbers(y, self._markers(), argument)

    def predict(self, X: Any) -> np.ndarray:
        """Return the prediction for each row.

        Parameters
        ----------
        X : data frame, array, dict of columns or list of rows
            Rows as `fit` takes them. A category that the training rows had not counts as a missing
            one, and a warning counts them.

        Returns
        -------
        ndarray of float64, shape (rows,) or (rows, outputs)
            In the unit of the targets.
        """
        outputs = self._network_outputs(X).astype(np.float64)
        return outputs[:, 0] if self._outputs == 1 else outputs

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn which targets are accepted."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
