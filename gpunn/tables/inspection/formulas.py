"""Find targets that are a formula of columns, such as a sum or a product, or a copy of a column."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from gpunn.tables.column_names import quoted
from gpunn.tables.inspection.finding import Finding
from gpunn.tables.inspection.sample import Sample
from gpunn.tables.inspection.targets import Target

# Smaller tables are not checked. From larger tables, `MAX_ROWS` rows are drawn at random.
MIN_ROWS, MAX_ROWS = 30, 3000

MAX_COLUMNS = 60
"""The least-squares fit uses only this number of columns, those most correlated with the target."""

MAX_TERMS = 6

MAX_MISSING = 0.2

EXACT = 1e-3
"""Maximum deviation of a formula's errors, relative to the target's; columns may be rounded."""

FORMS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "sum": (np.asarray, -np.inf),
    "product": (np.log, 0.0),
    "sum of products": (np.asarray, -np.inf),
}
"""Maps each form to a function f and to the number above which f is defined. If a target has the
form, f(target) is a weighted sum of f(column), and for "sum of products" also of products of two
columns."""

Part: TypeAlias = tuple[tuple[str, ...], float]
"""A column or a product of columns, with its factor or, in a product of powers, its exponent."""


def formula_of(sample: Sample, target: Target) -> Finding | None:
    if target.numbers is None or target.is_label or target.distinct < 3:
        return None
    for name, each in sample.columns_of_numbers():
        if np.array_equal(each, target.numbers, equal_nan=True):
            return finding_of(target, "copy", [((name,), 1.0)], len(each))
    for form in FORMS:
        parts, rows = parts_of(sample, target, form)
        if parts:
            return finding_of(target, form.partition(" ")[0], parts, rows)
    return None


def finding_of(target: Target, form: str, parts: Sequence[Part], rows: int) -> Finding:
    names = [" * ".join(map(repr, columns)) for columns, _ in parts]
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
    columns = dict.fromkeys(name for columns, _ in parts for name in columns)
    these = "this column is" if len(columns) == 1 else "these columns are"
    options = " ".join(f"--drop {quoted(name)}" for name in columns)
    return Finding(
        target.name,
        f"the target is {formula} of {listed} in all {rows:,} compared rows",
        "The network then learns only this formula.",
        f"If {these} unknown at prediction time, use {options}",
    )


def parts_of(sample: Sample, target: Target, form: str) -> tuple[list[Part], int]:
    assert target.numbers is not None
    function, above = FORMS[form]
    rows = sample.some_rows(MAX_ROWS)
    y = target.numbers[rows]
    numbers = {(name,): each[rows] for name, each in sample.measures()}
    numbers = {
        names: each
        for names, each in numbers.items()
        if np.isnan(each).mean() <= MAX_MISSING and not (each <= above).any()
    }
    if not numbers:
        return [], 0
    table = np.column_stack([y, *numbers.values()])
    table = table[~np.isnan(table).any(axis=1)]
    if len(table) < MIN_ROWS or (table[:, 0] <= above).any():
        return [], 0
    table, names = function(table), list[tuple[str, ...]](numbers)
    y, X = standardized(table[:, 0]), standardized(table[:, 1:])
    most = min(MAX_COLUMNS, len(table) // 4)
    chosen = best_columns(X, y)[:most]
    if not (np.isfinite(y).all() and y.any() and chosen):
        return [], 0
    if form == "sum of products":
        pairs = list(itertools.combinations_with_replacement(chosen, 2))
        names += [names[i] + names[k] for i, k in pairs]
        with np.errstate(over="ignore"):
            table = np.column_stack([table, *(table[:, i + 1] * table[:, k + 1] for i, k in pairs)])
        X, chosen, rest = standardized(table[:, 1:]), [], y
        while len(chosen) < min(MAX_TERMS, most) and rest.std() > EXACT:
            chosen.append(best_columns(X, rest)[0])
            rest = y - X[:, chosen] @ np.linalg.lstsq(X[:, chosen], y, rcond=None)[0]
    if root_mean_square_error(X[:, chosen], y) > EXACT:
        return [], 0
    for k in reversed(chosen):
        fewer = [each for each in chosen if each != k]
        if fewer and root_mean_square_error(X[:, fewer], y) <= EXACT:
            chosen = fewer
    chosen = sorted(chosen)
    weights = np.linalg.lstsq(X[:, chosen], y, rcond=None)[0]
    scales = table.std(axis=0)
    parts = [
        (names[k], float(weight * scales[0] / scales[k + 1]))
        for k, weight in zip(chosen, weights, strict=True)
    ]
    return parts, len(table)


def standardized(numbers: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        deviations = numbers - numbers.mean(axis=0)
        scales = deviations.std(axis=0)
        scaled: np.ndarray = deviations / np.where(scales > 0, scales, 1)
    return scaled


def best_columns(X: np.ndarray, y: np.ndarray) -> list[int]:
    with np.errstate(over="ignore", invalid="ignore"):
        correlations = np.abs(y @ X)
    return [int(k) for k in np.argsort(-correlations) if np.isfinite(X[:, k]).all()]


def root_mean_square_error(X: np.ndarray, y: np.ndarray) -> float:
    weights = np.linalg.lstsq(X, y, rcond=None)[0]
    return float(np.sqrt(((X @ weights - y) ** 2).mean()))
