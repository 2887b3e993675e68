"""Models to compare with the networks on the same folds: baselines and boosted trees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import OneHotEncoder

from gpunn.backends.numpy.blas import limit_threads
from gpunn.errors import ArgumentError, suggest
from gpunn.optional import require
from gpunn.randomness import generator
from gpunn.tables import Schema
from gpunn.tables.scaling import SCALINGS

LINEAR_ROWS = 10_000
"""Maximum number of training rows of linear models, so that they take little time."""

SCALED, PENALTIES = ("standard", "quantile"), (0.1, 1.0, 10.0, 100.0)

TREES, PATIENCE = 4000, 50

BINS = 255
"""Maximum number of codes in a categorical column of `HistGradientBoostingClassifier`."""


@dataclass(frozen=True)
class EncodedRows:
    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Task:
    kind: str
    outputs: int
    log: bool
    quantiles: Sequence[float] | None
    seed: int


Model = Callable[[EncodedRows, EncodedRows, Schema, bool, int], np.ndarray]
"""Returns probabilities of all classes, or numbers, for the held-out rows. The arguments are
training rows, held-out rows, their schema, whether the targets are classes, and a seed. There is
one target per row, and training rows have all classes."""


def constant(
    training: EncodedRows, held: EncodedRows, schema: Schema, classes: bool, seed: int
) -> np.ndarray:
    if classes:
        predicted = np.bincount(training.y, training.weights) / training.weights.sum()
    else:
        predicted = np.average(training.y, weights=training.weights)
    return np.repeat(predicted[None], len(held.X), axis=0)


def linear(
    training: EncodedRows, held: EncodedRows, schema: Schema, classes: bool, seed: int
) -> np.ndarray:
    """Fit logistic or ridge regression.

    Each number becomes two inputs: the standardized value, and the quantile of the normal
    distribution at the number's rank. Categories are one-hot encoded. In regression, held-out rows
    select the penalty, and predictions are clipped to the range of the training targets.
    """
    rows = generator(seed, "linear").permutation(len(training.X))[:LINEAR_ROWS]
    start, drawn = len(schema.numbers), training.X[rows]
    scalings = [SCALINGS[name].fit([*drawn[:, :start].T], len(rows)) for name in SCALED]
    categories = [np.arange(column.size) for column in schema.categories]
    encoder = OneHotEncoder(categories=categories)

    def matrix(X: np.ndarray) -> Any:
        every, numbers = slice(None), X[:, :start]
        parts = [scaling.transform(numbers, every) for scaling in scalings if start]
        codes = [encoder.fit_transform(X[:, start:])] if categories else []
        return scipy.sparse.hstack([*map(scipy.sparse.csr_array, parts), *codes]).tocsr()

    inputs, held_inputs, y = matrix(drawn), matrix(held.X), training.y[rows]
    weights, predictions = training.weights[rows], list[np.ndarray]()
    with limit_threads(1):  # for such small arrays, one thread is fastest
        if classes:
            model = LogisticRegression(max_iter=200).fit(inputs, y, weights)
            probabilities = np.zeros((len(held.X), training.y.max() + 1))
            probabilities[:, model.classes_] = model.predict_proba(held_inputs)
            return probabilities
        for penalty in PENALTIES:
            ridge = Ridge(penalty, random_state=0).fit(inputs, y, weights)
            predictions.append(np.clip(ridge.predict(held_inputs), y.min(), y.max()))
    return min(predictions, key=lambda each: held.weights @ (each - held.y) ** 2)


def boosted_trees(
    training: EncodedRows, held: EncodedRows, schema: Schema, classes: bool, seed: int
) -> np.ndarray:
    numbers = [False] * len(schema.numbers)
    mask = numbers + [column.size <= BINS for column in schema.categories]
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    model = kind(categorical_features=mask, random_state=seed)
    model.fit(training.X, training.y, training.weights)
    return np.asarray(model.predict_proba(held.X) if classes else model.predict(held.X))


def lightgbm(
    training: EncodedRows, held: EncodedRows, schema: Schema, classes: bool, seed: int
) -> np.ndarray:
    library = library_of("lightgbm")
    kind = library.LGBMClassifier if classes else library.LGBMRegressor
    model = kind(n_estimators=TREES, random_state=seed, verbose=-1)
    model.fit(
        training.X,
        training.y,
        sample_weight=training.weights,
        eval_set=[(held.X, held.y)],
        eval_sample_weight=[held.weights],
        categorical_feature=list(range(len(schema.numbers), schema.width)),
        callbacks=[library.early_stopping(PATIENCE, verbose=False)],
    )
    return np.asarray(model.predict_proba(held.X) if classes else model.predict(held.X))


def xgboost(
    training: EncodedRows, held: EncodedRows, schema: Schema, classes: bool, seed: int
) -> np.ndarray:
    library = library_of("xgboost")
    kind = library.XGBClassifier if classes else library.XGBRegressor
    model = kind(
        n_estimators=TREES,
        early_stopping_rounds=PATIENCE,
        random_state=seed,
        enable_categorical=True,
        feature_types=["q"] * len(schema.numbers) + ["c"] * len(schema.categories),
    )
    model.fit(
        training.X,
        training.y,
        sample_weight=training.weights,
        eval_set=[(held.X, held.y)],
        sample_weight_eval_set=[held.weights],
        verbose=False,
    )
    return np.asarray(model.predict_proba(held.X) if classes else model.predict(held.X))


def catboost(
    training: EncodedRows, held: EncodedRows, schema: Schema, classes: bool, seed: int
) -> np.ndarray:
    library = library_of("catboost")
    start = len(schema.numbers)

    def pool(part: EncodedRows) -> Any:
        X = part.X.astype(object)
        X[:, start:] = part.X[:, start:].astype(int)
        columns = list(range(start, schema.width))
        return library.Pool(X, part.y, cat_features=columns, weight=part.weights)

    kind = library.CatBoostClassifier if classes else library.CatBoostRegressor
    model = kind(iterations=TREES, random_seed=seed, verbose=False, allow_writing_files=False)
    rows = pool(held)
    model.fit(pool(training), eval_set=rows, early_stopping_rounds=PATIENCE)
    return np.asarray(model.predict_proba(rows) if classes else model.predict(rows))


BASELINES: Mapping[str, Model] = {"constant": constant, "linear model": linear}
"""Models that every leaderboard contains."""

LIBRARIES: Mapping[str, Model] = {
    "lightgbm": lightgbm,
    "catboost": catboost,
    "xgboost": xgboost,
    "sklearn": boosted_trees,
}


def library_of(name: str) -> Any:
    return require(name, f"compare: {name!r}", f"pip install {name}")


def check_libraries(names: Iterable[str], quantiles: object) -> None:
    for name in names:
        if name not in LIBRARIES:
            raise ArgumentError(f"compare: unknown {name!r}; {suggest(f'{name}', LIBRARIES)}")
        if quantiles is not None:
            raise ArgumentError("compare: cannot be combined with quantiles")
        library_of(name)


def predicted(
    model: Model, training: EncodedRows, held: EncodedRows, schema: Schema, task: Task
) -> np.ndarray:
    if task.kind == "classification":
        return probabilities_of(model, training, held, schema, task.outputs, task.seed)
    columns = list[np.ndarray]()
    for y, y_held in zip(by_column(training.y), by_column(held.y), strict=True):
        parts = (
            EncodedRows(training.X, y, training.weights),
            EncodedRows(held.X, y_held, held.weights),
        )
        if task.kind == "multilabel":
            columns.append(probabilities_of(model, *parts, schema, 2, task.seed)[:, 1])
        else:
            columns += numbers_of(model, *parts, schema, task)
    return np.stack(columns, axis=1)


def by_column(y: np.ndarray) -> np.ndarray:
    return y.reshape(len(y), -1).T


def probabilities_of(
    model: Model, training: EncodedRows, held: EncodedRows, schema: Schema, classes: int, seed: int
) -> np.ndarray:
    # A class without training rows gets a tiny probability.
    known, codes = np.unique(training.y, return_inverse=True)
    probabilities = np.full((len(held.X), classes), np.finfo(np.float64).eps)
    if len(known) == 1:
        probabilities[:, known] = 1
        return probabilities
    # Held-out rows of other classes have no weight in early stopping.
    places = np.minimum(np.searchsorted(known, held.y), len(known) - 1)
    weights = np.where(known[places] == held.y, held.weights, 0.0)
    parts = EncodedRows(training.X, codes, training.weights), EncodedRows(held.X, places, weights)
    probabilities[:, known] = model(*parts, schema, True, seed)
    return probabilities


def numbers_of(
    model: Model, training: EncodedRows, held: EncodedRows, schema: Schema, task: Task
) -> list[np.ndarray]:
    if task.log:
        training = EncodedRows(training.X, np.log(training.y), training.weights)
        held = EncodedRows(held.X, np.log(held.y), held.weights)
    numbers = model(training, held, schema, False, task.seed)
    columns = [numbers]
    if task.quantiles is not None:
        errors = training.y - model(training, training, schema, False, task.seed)
        quantiles = np.quantile(
            errors, task.quantiles, weights=training.weights, method="inverted_cdf"
        )
        columns = [numbers + quantile for quantile in quantiles]
    return [np.exp(column) for column in columns] if task.log else columns
