"""Numbers that are far from all other numbers of their column."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from gpunn.tables.column_names import words_of
from gpunn.tables.inspection.finding import Finding
from gpunn.tables.inspection.sample import Sample
from gpunn.tables.inspection.sentinels import marks_in
from gpunn.tables.inspection.values import spelled
from gpunn.tables.table import row_name

FAR = 15
"""Reported numbers are farther from the median than this many interquartile ranges."""

ISOLATED = 2.5
"""Reported numbers are also this many times as far from the median as the next number. Long tails,
such as of prices, have no such gap."""

FEW = 0.01

OLDEST = 120
"""Larger numbers in a column of ages are reported even without a gap."""


def outliers(sample: Sample) -> Iterator[Finding]:
    for name, numbers in sample.columns_of_numbers():
        if not sample.column(name).is_number:
            continue
        # Half of each number, so that no difference overflows.
        numbers = np.where(np.isin(numbers, marks_in(numbers)), np.nan, numbers) / 2
        q25, median, q75 = np.nanquantile(numbers, [0.25, 0.5, 0.75])
        for extreme, sign in (("smallest", -1), ("largest", 1)):
            distances = np.sort(sign * (numbers[~np.isnan(numbers)] - median))
            distance = distances[-1]
            if not (q75 > q25 and distance / FAR > q75 - q25):
                continue
            value = 2 * (sign * distance + median)
            old = words_of(name)[-1] == "age" and value > OLDEST
            tail = distances[-(2 + int(FEW * len(distances))) :]
            gaps = (tail[1:] / ISOLATED >= tail[:-1]) & (2 / FAR * tail[1:] > q75 - q25)
            if not (gaps.any() or old):
                continue
            row = int(np.nanargmin(np.abs(numbers - value / 2)))
            yield Finding(
                name,
                f"the {extreme}, {spelled(value)} ({row_name(sample.table, row)}), is "
                f"{spelled(ratio_of(distance, q75 - q25))} interquartile ranges from the median",
                "Scaling limits the influence of such a number.",
                f"If it is wrong, correct the cell, or use --missing {spelled(value)}",
            )


def ratio_of(distance: float, unit: float) -> float:
    return float(round(min(float(distance) / float(unit), sys.float_info.max)))
