"""Scalings against their formulas, including the limits of float64."""

import statistics

import numpy as np
import pytest
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from gpunn.errors import ArgumentError
from gpunn.tables.scaling import SCALINGS, QuantileScaling, RobustScaling, StandardScaling
from gpunn.tables.scaling.normal import normal_quantiles

RANDOM = np.random.default_rng(0)
COLUMN = np.round(RANDOM.lognormal(size=2000), 2)


def fitted(kind, *columns):
    return kind.fit(columns, len(columns[0]))


def transformed(scaling, x, column):
    matrix = np.zeros((len(x), len(scaling.median)))
    matrix[:, column] = x
    return scaling.transform(matrix, slice(None))[:, column]


def test_robust():
    q25, median, q75 = np.quantile(COLUMN, [0.25, 0.5, 0.75])
    z = (COLUMN - median) / (q75 - q25)
    scaling = fitted(RobustScaling, np.arange(5.0), COLUMN)
    np.testing.assert_allclose(transformed(scaling, COLUMN, 1), z / np.sqrt(1 + (z / 3) ** 2))
    assert scaling.median.tolist() == [2, median]


def test_robust_with_equal_quartiles():
    x = np.array([5.0] * 12 + [4, 8, 9, 99999])  # 99999 means a missing value
    z = (x - 5) * 2 / 3.5
    np.testing.assert_allclose(
        transformed(fitted(RobustScaling, x), x, 0), z / np.sqrt(1 + (z / 3) ** 2)
    )


def test_standard():
    expected = StandardScaler().fit_transform(COLUMN[:, None])[:, 0]
    scaled = transformed(fitted(StandardScaling, COLUMN), COLUMN, 0)
    np.testing.assert_allclose(scaled, expected, rtol=1e-9, atol=1e-12)


def test_quantiles():
    """The same as scikit-learn's, from the same noisy column."""
    scaling = fitted(QuantileScaling, COLUMN)
    scale = np.minimum(COLUMN.std(), COLUMN)
    noise = np.random.default_rng(0).normal(0, 1e-5, 2000) * scale
    reference = QuantileTransformer(n_quantiles=2000 // 30, output_distribution="normal")
    reference.fit((COLUMN + noise)[:, None])
    new = np.concatenate([COLUMN, [-5.0, 1e300]])
    expected = reference.transform(new[:, None])[:, 0]
    known = expected[: len(COLUMN)]
    np.testing.assert_allclose(
        transformed(scaling, new, 0), expected.clip(known.min(), known.max()), atol=1e-9
    )
    saved = {name: scaling.arrays()[name] for name in ("median", "quantiles")}  # by version 0.2.0
    old = QuantileScaling.from_arrays(saved, 1)
    np.testing.assert_allclose(transformed(old, new, 0), expected, atol=1e-9)


@pytest.mark.parametrize(
    "x", [np.arange(4.0).repeat([800, 600, 400, 200]), COLUMN, np.full(9, 5.0)]
)
def test_a_number_outside_of_the_range_has_the_nearest_rank(x):
    beyond = np.array([x.min() - 1, x.min() - 1e-3, x.max() + 1e-3, x.max() + 1, 1e300])
    scaled = transformed(fitted(QuantileScaling, x), np.concatenate([x, beyond]), 0)
    known, outside = scaled[: len(x)], scaled[len(x) :]
    assert outside.tolist() == [known.min()] * 2 + [known.max()] * 3


def test_a_number_that_equals_several_quantiles():
    ends = np.array([0.001]), np.array([0.999])
    scaling = QuantileScaling(np.zeros(1), np.array([[1.0, 2, 2, 2, 2, 2, 3]]), *ends)
    assert transformed(scaling, np.array([2.0]), 0) == pytest.approx(0, abs=1e-15)
    assert transformed(scaling, np.array([1.5]), 0) == pytest.approx(
        normal_quantiles(np.array([1 / 12]))
    )


def test_numbers_that_many_rows_have_may_be_rounded():
    """As float32, 1.1 is larger than the column's largest number."""
    x = np.arange(1, 12).repeat(200) / 10
    scaling = fitted(QuantileScaling, x)
    z = transformed(scaling, x, 0)
    np.testing.assert_allclose(transformed(scaling, x.astype("float32"), 0), z, atol=0.01)
    np.testing.assert_allclose(transformed(scaling, x + 1e-9, 0), z, atol=0.01)


def test_quantiles_of_numbers_from_tiny_to_huge():
    x = 10.0 ** np.random.default_rng(0).uniform(0, 30, 2000)
    z = transformed(fitted(QuantileScaling, x), x, 0)
    expected = normal_quantiles((np.argsort(np.argsort(x)) + 0.5) / len(x))
    assert np.abs(z - expected)[np.abs(expected) < 2].max() < 0.1


@pytest.mark.parametrize("share", [0.001, 0.05])
def test_quantiles_of_a_column_with_outliers(share):
    known = np.random.default_rng(0).normal(40, 10, 2000)
    unknown = np.full(int(share * len(known)), 999_999_999.0)
    z = transformed(fitted(QuantileScaling, np.concatenate([known, unknown])), known, 0)
    assert 0.8 < z.std() < 1.1


@pytest.mark.parametrize(("rows", "count"), [(20, 10), (3000, 100), (40_000, 1000)])
def test_number_of_quantiles(rows, count):
    x = np.linspace(0, 1, rows)
    assert fitted(QuantileScaling, x).quantiles.shape == (1, count)


def test_normal_quantiles():
    p = np.concatenate([np.geomspace(1e-11, 0.5, 40), 1 - np.geomspace(1e-7, 0.4, 40)])
    expected = [statistics.NormalDist().inv_cdf(each) for each in p]
    np.testing.assert_allclose(normal_quantiles(p), expected, rtol=1e-12, atol=1e-15)


EXTREME = [
    np.array([-1.7e308, 0, 1.7e308]),
    np.array([0, 5e-324, 1e-323]),
    np.array([1e300, 1e300, 1e300, 1e300, 2e300]),
    np.array([-1.7e308, -1.7e308, -1.7e308, -1.7e308, 1.7e308]),
    np.array([1.0, 1 + 2**-52]),
    np.array([1e200, -1e-200, 0.0]),
]


@pytest.mark.parametrize("kind", ["robust", "quantile", "standard"])
@pytest.mark.parametrize("x", EXTREME, ids=str)
def test_extreme_numbers_stay_finite_and_in_order(kind, x):
    scaling = fitted(SCALINGS[kind], x)
    for array in scaling.arrays().values():
        assert np.isfinite(array).all()
    new = np.sort(np.concatenate([x, [-1.7e308, 0, 1.7e308]]))
    scaled = transformed(scaling, new, 0)
    assert np.isfinite(scaled).all()
    assert (np.diff(scaled) >= 0).all()


@pytest.mark.parametrize("kind", SCALINGS)
def test_arrays_and_back(kind):
    scaling = fitted(SCALINGS[kind], COLUMN, COLUMN**2)
    again = SCALINGS[kind].from_arrays(scaling.arrays(), 2)
    assert np.array_equal(transformed(again, COLUMN, 1), transformed(scaling, COLUMN, 1))
    empty = SCALINGS[kind].fit([], 5)
    assert all(len(array) == 0 for array in empty.arrays().values())
    SCALINGS[kind].from_arrays(empty.arrays(), 0)


ONE = np.ones(1)
QUANTILES = {"median": ONE, "quantiles": np.array([[1.0, 2]])}


@pytest.mark.parametrize(
    ("kind", "arrays", "problem"),
    [
        ("robust", {"median": ONE}, "robust scaling has .'factor', 'median'.; got .'median'."),
        ("none", {"median": ONE, "factor": ONE}, "none scaling has"),
        ("none", {"median": np.ones(2)}, r"'median': expected float64 of shape \(1,\).*\(2,\)"),
        ("none", {"median": np.ones(1, "float32")}, "expected float64"),
        ("none", {"median": np.ones((1, 1))}, "expected float64"),
        ("none", {"median": np.array([np.nan])}, "contains NaN or infinity"),
        ("robust", {"median": ONE, "factor": -ONE}, "'factor' holds numbers below 0"),
        ("standard", {"median": ONE, "mean": ONE, "deviation": 0 * ONE}, "expected numbers > 0"),
        ("quantile", {"median": ONE, "quantiles": np.ones((1, 1))}, "at least two"),
        ("quantile", {"median": ONE, "quantiles": np.array([[2.0, 1]])}, "two ascending"),
        ("quantile", QUANTILES | {"lowest": 0 * ONE}, "expected 0 < 'lowest' <= 'highest' < 1"),
        ("quantile", QUANTILES | {"lowest": 0.6 * ONE, "highest": 0.4 * ONE}, "<= 'highest' < 1"),
        ("quantile", QUANTILES | {"highest": ONE}, "'highest' < 1"),
    ],
)
def test_invalid_arrays(kind, arrays, problem):
    with pytest.raises(ArgumentError, match=problem):
        SCALINGS[kind].from_arrays(arrays, 1)
