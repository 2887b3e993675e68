"""Targets with a long tail, such as incomes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gpunn.tables.inspection.finding import Finding
from gpunn.tables.inspection.sample import Sample
from gpunn.tables.inspection.values import spelled
from gpunn.tables.table import row_name

SKEWED = 2.5
"""Minimum skewness of a reported target. The skewness of exponential numbers is 2. Without the
outermost thousandths, lognormal numbers with sigma = 1 have 3.4."""

TRIMMED = 1000
"""At each end, one number in this many is left out (at least one), since it may be wrong."""

LARGE = 0.08
"""A target is skewed if its largest 1 % of values make at least this fraction of the total sum."""

MIN_ROWS = 100


def skewed_targets(sample: Sample) -> Iterator[Finding]:
    """Yield a finding for each nonnegative target that is much more skewed than its logarithm."""
    for target in sample.targets:
        if target.numbers is None or target.has_classes or target.is_label:
            continue
        rows = np.flatnonzero(~np.isnan(target.numbers))
        rows = rows[np.argsort(target.numbers[rows], kind="stable")]
        cut = max(1, len(rows) // TRIMMED)
        y = target.numbers[rows[cut:-cut]]
        if len(rows) < MIN_ROWS or target.numbers[rows[0]] < 0 or not y[-1] > y[0]:
            continue
        skewness = skewness_of(y)
        if skewness < SKEWED or abs(skewness_of(np.log1p(y / np.median(y[y > 0])))) > skewness / 2:
            continue
        share = target.numbers[rows[-max(1, len(rows) // 100) :]].sum() / target.numbers[rows].sum()
        if share < LARGE:
            continue
        largest = int(rows[-1])
        constant = "" if target.numbers[rows[0]] > 0 else "add 1 to the target, and "
        yield Finding(
            target.name,
            "the target is skewed: the largest 1 % of the values, such as "
            f"{spelled(target.numbers[largest])} ({row_name(sample.table, largest)}), make up "
            f"{100 * share:.0f} % of the sum of all values",
            "A squared error then depends mostly on these rows.",
            f"If relative differences matter, {constant}use "
            "--set model.parameters.target_transform=log",
        )


def skewness_of(numbers: np.ndarray) -> float:
    scaled = numbers / np.abs(numbers).max()  # so that no power overflows
    deviations = scaled - scaled.mean()
    return float((deviations**3).mean() / (deviations**2).mean() ** 1.5)
