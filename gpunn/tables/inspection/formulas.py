"""Find targets that are a sum, difference or product of columns, or a copy of a column."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gpunn.tables.column_names import quoted
from gpunn.tables.inspection.finding import Finding
from gpunn.tables.inspection.sample import Sample
from gpunn.tables.inspection.targets import Target

# Smaller tables are not checked. From larger tables, `MAX_ROWS` rows are drawn at random.
MIN_ROWS, MAX_ROWS = 30, 3000

MAX_COLUMNS = 60
"""The least-squares fit uses only this number of columns, those most correlated with the target."""

MAX_MISSING = 0.2
"""Columns with a larger fraction of missing values are not considered."""

EXACT = 1e-3
"""Maximum standard deviation of a formula's errors, relative to the target's standard deviation.
The maximum is above 0, because columns may be rounded."""

FORMS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "sum": (np.asarray, -np.inf),
    "product": (np.log, 0.0),
}
"""Maps each form to a function f and to the number above which f is defined. If a target has the
form, f(target) is a weighted sum of f(column)."""


def formula_of(sample: Sample, target: Target) -> Finding | None:
    if target.numbers is None or target.is_label or target.distinct < 3:
        return None
    for name, each in sample.columns_of_numbers():
        if np.array_equal(each, target.numbers, equal_nan=True):
            return finding_of(target, "copy", [(name, 1.0)], len(each))
    for form in FORMS:
        parts, rows = parts_of(sample, target, form)
        if parts:
            return finding_of(target, form, parts, rows)
    return None


def finding_of(target: Target, form: str, parts: Sequence[tuple[str, float]], rows: int) -> Finding:
    # `parts` has each column with its factor or, in a product, its exponent.
    names = [repr(name) for name, _ in parts]
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    factors = np.array([factor for _, factor in parts])
    if len(parts) == 1:
        formula = {"copy": "a copy", "sum": "a linear function", "product": "a power"}[form]
    elif (np.abs(factors - 1) < EXACT).all():
        formula = f"the {form}"
    elif (np.abs(np.abs(factors) - 1) < EXACT).all():
        formula = "a difference" if form == "sum" else "a ratio"
    else:
        formula = "a linear function" if form == "sum" else "a product of powers"
    options = " ".join(f"--drop {quoted(name)}" for name, _ in parts)
    return Finding(
        target.name,
        f"the target is {formula} of {listed} in all {rows:,} compared rows",
        "The network then learns nothing but this formula.",
        f"If {'this column is' if len(parts) == 1 else 'these columns are'} unknown at prediction "
        f"time, use {options}",
    )


def parts_of(sample: Sample, target: Target, form: str) -> tuple[list[tuple[str, float]], int]:
    # Each column comes with its weight or, in a product, with its exponent. The last value is the
    # number of compared rows.
    assert target.numbers is not None
    function, above = FORMS[form]
    rows = sample.some_rows(MAX_ROWS)
    y = target.numbers[rows]
    numbers = {name: each[rows] for name, each in sample.columns_of_numbers()}
    numbers = {
        name: each
        for name, each in numbers.items()
        if np.isnan(each).mean() <= MAX_MISSING and not (each <= above).any()
    }
    if not numbers:
        return [], 0
    table = np.column_stack([y, *numbers.values()])
    table = table[~np.isnan(table).any(axis=1)]
    if len(table) < MIN_ROWS or (table[:, 0] <= above).any():
        return [], 0
    table = function(table)
    with np.errstate(over="ignore", invalid="ignore"):
        y, X = standardized(table[:, 0]), standardized(table[:, 1:])
        correlations = np.abs(y @ X)
    most = min(MAX_COLUMNS, len(table) // 4)
    chosen = [int(k) for k in np.argsort(-correlations) if np.isfinite(X[:, k]).all()][:most]
    if not (np.isfinite(y).all() and y.any() and chosen):
        return [], 0
    if difference(X[:, chosen], y) > EXACT:
        return [], 0
    for k in reversed(chosen):
        fewer = [each for each in chosen if each != k]
        if fewer and difference(X[:, fewer], y) <= EXACT:
            chosen = fewer
    chosen = sorted(chosen)
    weights = np.linalg.lstsq(X[:, chosen], y, rcond=None)[0]
    names = list(numbers)
    scales = table.std(axis=0)
    parts = [
        (names[k], float(weight * scales[0] / scales[k + 1]))
        for k, weight in zip(chosen, weights, strict=True)
    ]
    return parts, len(table)


def standardized(numbers: np.ndarray) -> np.ndarray:
    deviations = numbers - numbers.mean(axis=0)
    scales = deviations.std(axis=0)
    scaled: np.ndarray = deviations / np.where(scales > 0, scales, 1)
    return scaled


def difference(X: np.ndarray, y: np.ndarray) -> float:
    """Return the root mean square error of the linear function of `X` that best fits `y`."""
    weights = np.linalg.lstsq(X, y, rcond=None)[0]
    return float(np.sqrt(((X @ weights - y) ** 2).mean()))
