"""`fit(X, y, groups=...)` and `times=...`: which rows are held out, also in cross-validation."""

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    TimeSeriesSplit,
    cross_val_score,
    cross_validate,
)

from gpunn.errors import GpunnWarning
from gpunn.sklearn import (
    MLPClassifier,
    MLPRegressor,
    RealMLPClassifier,
    RealMLPRegressor,
    TabMClassifier,
    TabMRegressor,
    held_out,
)

pandas = pytest.importorskip("pandas")

FAST = {"backend": "numpy", "random_state": 0, "hidden_layer_sizes": (4,)}
TABULAR = [
    RealMLPClassifier(epochs=1, **FAST),
    RealMLPRegressor(epochs=1, **FAST),
    TabMClassifier(epochs=1, members=2, **FAST),
    TabMRegressor(epochs=1, members=2, **FAST),
]
EVERY = [
    *TABULAR,
    MLPClassifier(early_stopping=True, validation_fraction=0.2, max_iter=2, **FAST),
    MLPRegressor(early_stopping=True, validation_fraction=0.2, max_iter=2, **FAST),
]
FOR_EVERY_TYPE = [EVERY[0], EVERY[4]]

RANDOM = np.random.default_rng(0)
ROWS = 100
X = RANDOM.normal(size=(ROWS, 3))
y = RANDOM.integers(0, 2, ROWS)
GROUPS = RANDOM.permutation(np.repeat(np.arange(20), 5))
TIMES = RANDOM.permutation(ROWS)


@pytest.fixture
def splits(monkeypatch):
    splits = []
    for name in ("split_groups", "split_times"):
        real = getattr(held_out, name)

        def spy(values, *given, real=real, name=name):
            kept, held = real(values, *given)
            splits.append((name, values, kept, held))
            return kept, held

        monkeypatch.setattr(held_out, name, spy)
    return splits


@pytest.mark.parametrize("estimator", EVERY, ids=lambda each: type(each).__name__)
def test_rows_that_are_held_out(estimator, splits):
    names = np.array([f"patient {group}" for group in GROUPS])
    few = None if estimator in FOR_EVERY_TYPE else 1  # the others pass them on alike
    for groups in (GROUPS, names.tolist(), pandas.Series(names, dtype="category"))[:few]:
        clone(estimator).fit(X, y, groups=groups)
        name, _, kept, held = splits.pop()
        assert name == "split_groups"
        assert not set(GROUPS[kept]) & set(GROUPS[held])
        assert len(held) == 20
    days = np.datetime64("2026-01-01") + TIMES
    for times in (TIMES, TIMES / 7, days, days.astype(str), pandas.Series(days))[:few]:
        clone(estimator).fit(X, y, times=times)
        name, _, kept, held = splits.pop()
        assert name == "split_times"
        assert TIMES[kept].max() < TIMES[held].min()
        assert len(held) == 20
    clone(estimator).fit(X, y)
    assert not splits


def test_held_out_rows_are_the_validation_rows():
    """The held-out rows, passed as X_val, select the same epoch with the same score."""
    _, held = held_out.split_times(TIMES, 0.2)
    kept = np.setdiff1d(np.arange(ROWS), held)
    first = clone(TABULAR[0]).set_params(epochs=3).fit(X, y, times=TIMES)
    second = clone(first).fit(X[kept], y[kept], X_val=X[held], y_val=y[held])
    assert first.validation_score_ == second.validation_score_
    assert (first.predict_proba(X) == second.predict_proba(X)).all()


@pytest.mark.parametrize(
    ("estimator", "routing"), [(FOR_EVERY_TYPE[0], True), (FOR_EVERY_TYPE[1], False)]
)
def test_cross_validation(estimator, routing, splits):
    with sklearn.config_context(enable_metadata_routing=routing):
        given = {"params": {"groups": GROUPS}} | ({} if routing else {"groups": GROUPS})
        cross_validate(estimator, X, y, cv=GroupKFold(2), **given, error_score="raise")
        assert [len(set(values)) for _, values, *_ in splits] == [10, 10]
        splits.clear()
        given = {"cv": TimeSeriesSplit(2), "error_score": "raise"}
        cross_val_score(estimator, X, y, params={"times": np.arange(ROWS)}, **given)
        assert [values.max() for _, values, *_ in splits] == [33, 66]
        splits.clear()
        cross_val_score(estimator, X, y, **given)
        assert not splits
        search = GridSearchCV(estimator, {"random_state": [0]}, cv=GroupKFold(2))
        search.fit(X, y, groups=GROUPS)
        assert [len(set(values)) for _, values, *_ in splits] == [10, 10, 20] * routing


@pytest.mark.parametrize("estimator", FOR_EVERY_TYPE, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"groups": GROUPS, "times": TIMES}, "groups: cannot be combined with times"),
        ({"groups": GROUPS, "X_val": X, "y_val": y}, "groups: cannot be combined with X_val"),
        ({"times": TIMES, "X_val": X, "y_val": y}, "times: cannot be combined with X_val"),
        ({"groups": GROUPS[:9]}, "groups: expected one value for each of 100 rows; got 9"),
        ({"times": X}, r"times: expected shape \(rows,\), one value for each row; got shape"),
        ({"groups": [None] * ROWS}, "row 0, column 'groups': the group is missing here"),
        ({"times": [*TIMES[1:], np.nan]}, "row 99, column 'times': the time is missing here"),
        ({"times": ["soon"] * ROWS}, "row 0, column 'times': expected a date"),
        ({"groups": np.zeros(ROWS)}, "groups: all rows belong to one group"),
        ({"times": np.zeros(ROWS)}, "times: all rows have the same time"),
    ],
)
def test_invalid_groups_and_times(estimator, given, problem):
    with pytest.raises(ValueError, match=problem):
        clone(estimator).fit(X, y, **given)


def test_classes_and_weights():
    late = (TIMES >= 90).astype(int)
    with pytest.warns(GpunnWarning, match="times: y has 1 class without training rows; all"):
        clone(TABULAR[0]).fit(X, late, times=TIMES)
    weights = (TIMES < 80).astype(float)
    with pytest.raises(ValueError, match="sample_weight: all validation rows have a weight of"):
        clone(TABULAR[0]).fit(X, y, weights, times=TIMES)
    clone(TABULAR[0]).fit(X, y, 1 - weights * (TIMES % 2), times=TIMES)
