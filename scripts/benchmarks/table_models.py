"""Models for tables: each gets the raw frame in the way that its documentation shows.

A model is a function of `Parts` and a seed. The model fits on the training rows, may use the
validation rows, and returns a function from a frame to predictions: numbers, or probabilities of
the classes. Models without support for dates get their parts as numbers.
"""

import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import peak_bytes
from benchmarks.published_tables import TABLES, Parts, parts_of, without_dates
from benchmarks.tabm_package import tabm_package

__all__ = ["MODELS", "main"]

Predict = Callable[[Any], np.ndarray]
Model = Callable[[Parts, bool, int], Predict]


def predictions_of(fitted: Any, classes: bool, prepare: Callable[[Any], Any] = lambda x: x) -> Any:
    method = fitted.predict_proba if classes else fitted.predict
    return lambda frame: np.asarray(method(prepare(frame)))


def estimator_of(kind: str, classes: bool, parts: Parts, **options: Any) -> Any:
    import gpunn.sklearn

    name = f"{kind}{'Classifier' if classes else 'Regressor'}"
    estimator = getattr(gpunn.sklearn, name)(backend="numpy", **options)
    (X, y), (X_val, y_val) = parts.train, parts.validation
    return estimator.fit(X, y, X_val=X_val, y_val=y_val)


def gpunn(kind: str, **options: Any) -> Model:
    return lambda parts, classes, seed: predictions_of(
        estimator_of(kind, classes, parts, random_state=seed, **options), classes
    )


def all_rows(parts: Parts, classes: bool, seed: int, distill: bool = False) -> Predict:
    import pandas as pd

    import gpunn.sklearn

    (X, y), (X_val, y_val) = parts.train, parts.validation
    kind = gpunn.sklearn.TabularClassifier if classes else gpunn.sklearn.TabularRegressor
    fitted = kind(backend="numpy", random_state=seed, distill=distill)
    return predictions_of(fitted.fit(pd.concat([X, X_val]), np.r_[y, y_val]), classes)


def categorical(parts: Parts) -> Callable[[Any], Any]:
    import pandas as pd

    frame = parts.train[0]
    known = {
        name: pd.CategoricalDtype(sorted(frame[name].dropna().unique().tolist(), key=str))
        for name in frame.select_dtypes(exclude="number")
    }
    return lambda each: each.astype(known)


def lightgbm(parts: Parts, classes: bool, seed: int, early: bool, **chosen: Any) -> Predict:
    import lightgbm

    prepare = categorical(parts)
    kind = lightgbm.LGBMClassifier if classes else lightgbm.LGBMRegressor
    (X, y), (X_val, y_val) = parts.train, parts.validation
    options: dict[str, Any] = {}
    model = kind(random_state=seed, verbose=-1, **chosen)
    if early:
        model.set_params(n_estimators=4000)
        stop = lightgbm.early_stopping(50, verbose=False)
        options = {"eval_set": [(prepare(X_val), y_val)], "callbacks": [stop]}
    return predictions_of(model.fit(prepare(X), y, **options), classes, prepare)


def xgboost(parts: Parts, classes: bool, seed: int, early: bool) -> Predict:
    import xgboost

    prepare = categorical(parts)
    kind = xgboost.XGBClassifier if classes else xgboost.XGBRegressor
    (X, y), (X_val, y_val) = parts.train, parts.validation
    options: dict[str, Any] = {}
    model = kind(random_state=seed, enable_categorical=True)
    if early:
        model.set_params(n_estimators=4000, early_stopping_rounds=50)
        options = {"eval_set": [(prepare(X_val), y_val)], "verbose": False}
    return predictions_of(model.fit(prepare(X), y, **options), classes, prepare)


def catboost(parts: Parts, classes: bool, seed: int, early: bool) -> Predict:
    import catboost

    names = list(parts.train[0].select_dtypes(exclude="number"))

    def prepare(frame: Any) -> Any:
        return frame.assign(**{name: frame[name].astype(object).fillna("") for name in names})

    kind = catboost.CatBoostClassifier if classes else catboost.CatBoostRegressor
    (X, y), (X_val, y_val) = parts.train, parts.validation
    model = kind(random_seed=seed, cat_features=names, verbose=False, allow_writing_files=False)
    options: dict[str, Any] = {}
    if early:
        model.set_params(iterations=4000)
        options = {"eval_set": (prepare(X_val), y_val), "early_stopping_rounds": 50}
    return predictions_of(model.fit(prepare(X), y, **options), classes, prepare)


def hist_gradient_boosting(parts: Parts, classes: bool, seed: int) -> Predict:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.preprocessing import OrdinalEncoder

    X, y = parts.train
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    text = list(X.select_dtypes(exclude="number"))
    few = [name for name in text if X[name].nunique() < 255]
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan
    )
    encoder.fit(X[text])

    def prepare(frame: Any) -> Any:
        return frame.assign(**dict(zip(text, encoder.transform(frame[text]).T, strict=True)))

    model = kind(random_state=seed, categorical_features=few)
    return predictions_of(model.fit(prepare(X), y), classes, prepare)


def sklearn_mlp(parts: Parts, classes: bool, seed: int) -> Predict:
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    text = OneHotEncoder(handle_unknown="ignore", max_categories=100, sparse_output=False)
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (text, make_column_selector(dtype_exclude="number")),
    )
    kind = MLPClassifier if classes else MLPRegressor
    model = make_pipeline(columns, kind(random_state=seed))
    return predictions_of(model.fit(*parts.train), classes)


def fitted_by_pytabkit(variant: str, classes: bool, parts: Parts, **options: Any) -> Any:
    import pytabkit
    import torch

    (X, y), (X_val, y_val) = parts.train, parts.validation
    medians = X.select_dtypes("number").median()
    kind = f"RealMLP_{variant}_{'Classifier' if classes else 'Regressor'}"
    # By default it sets PyTorch's threads to the number of processor cores.
    fixed = {"device": "cpu", "n_cv": 1, "n_threads": torch.get_num_threads(), "verbosity": 0}
    model = getattr(pytabkit, kind)(**fixed, **options)
    model.fit(X.fillna(medians), y, X_val.fillna(medians), y_val)
    return model, lambda frame: frame.fillna(medians)


def pytabkit(parts: Parts, classes: bool, seed: int) -> Predict:
    model, prepare = fitted_by_pytabkit("TD", classes, parts, random_state=seed)
    return predictions_of(model, classes, prepare)


# `-all`: with its own validation rows or folds. `-early`: up to 4000 trees, and the best number of
# them on the validation rows.
MODELS: dict[str, Model] = {
    "gpunn-tabm": gpunn("TabM"),
    "gpunn-realmlp": gpunn("RealMLP"),
    "gpunn-pair": gpunn("Tabular"),
    "gpunn-pair-all": all_rows,
    "gpunn-distilled": partial(all_rows, distill=True),
    "gpunn-10m": gpunn("Tabular", time_limit=600),
    "pytabkit-realmlp": pytabkit,
    "tabm-package": tabm_package,
    **{
        f"{library.__name__}{'-early' if early else ''}": partial(library, early=early)
        for library in (lightgbm, xgboost, catboost)
        for early in (False, True)
    },
    "sklearn-hgb": hist_gradient_boosting,
    "sklearn-mlp": sklearn_mlp,
}


def calibration_error(y: np.ndarray, predicted: np.ndarray) -> float:
    """Return the expected calibration error of the predicted classes, in 15 bins of equal width.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    confidence = predicted.max(axis=1)
    excess = confidence - (predicted.argmax(axis=1) == y)
    bins = np.minimum((confidence * 15).astype(int), 14)
    return float(np.abs(np.bincount(bins, excess)).sum() / len(y))


def scores_of(name: str, y: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    from sklearn import metrics

    functions: dict[str, Callable[[], float]] = {
        "rmse": lambda: metrics.root_mean_squared_error(y, predicted),
        "accuracy": lambda: metrics.accuracy_score(y, predicted.argmax(axis=1)),
        "auc": lambda: metrics.roc_auc_score(
            y, predicted[:, 1] if predicted.shape[1] == 2 else predicted, multi_class="ovr"
        ),
        "log_loss": lambda: metrics.log_loss(y, predicted),
        "calibration_error": lambda: calibration_error(y, predicted),
    }
    return {score: float(functions[score]()) for score in TABLES[name].scores}


def main(
    name: str, path: str, model: str, seed: int, rows: int | None = None, split: int = 0
) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    parts = parts_of(name, Path(path), seed if rows else split, rows)
    classes = TABLES[name].classes
    if not model.startswith("gpunn"):
        parts = Parts(*((without_dates(name, frame), y) for frame, y in parts))
    began, cpu = time.perf_counter(), time.process_time()
    predict = MODELS[model](parts, classes, seed)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {
        "validation": scores_of(name, parts.validation[1], predict(parts.validation[0])),
        "test": scores_of(name, parts.test[1], predict(parts.test[0])),
        "seconds": wall,
        "cpu_seconds": cpu,
        "peak_mib": peak_bytes() / 2**20,
    }
