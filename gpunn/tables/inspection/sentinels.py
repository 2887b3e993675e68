"""Numbers and dates that mean a missing value, such as -999 or 9999-12-31."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gpunn.meaning import plural
from gpunn.tables.inspection.finding import Finding
from gpunn.tables.inspection.sample import Sample
from gpunn.tables.inspection.values import spelled
from gpunn.tables.table import row_name

MIN_OTHERS = 10
"""Minimum number of distinct values other than the sentinel. Scales such as -1, 0, 1 have fewer."""

GAP = 0.5
"""Minimum distance of a sentinel from all other numbers, relative to their range."""

ANSWERS = frozenset((-1, -7, -8, -9))
"""Numbers that mean "unknown" or "no answer" in surveys."""

MIN_SHARE = 0.005
"""Minimum fraction of rows that contain one of `ANSWERS`. Rarer numbers may be ordinary values."""

LIMITS = frozenset(
    (-(2**15), 2**15 - 1, 2**16 - 1, -(2**31), 2**31 - 1, 2**32 - 1, 1e20, -1e20, 1e30, -1e30)
)
"""Limits of integer types, and numbers that mean a missing value in files of gridded data."""

FILLERS = ("1753-01-01", "1899-12-30", "1899-12-31", "1900-01-01", "1970-01-01", "9999-12-31")
"""Dates that databases and spreadsheets store if there is no date."""


def sentinels(sample: Sample) -> Iterator[Finding]:
    for name, numbers in sample.columns_of_numbers():
        if found := marks_in(numbers):
            yield finding_of(sample, name, numbers, found, [*map(spelled, found)])
    for column in sample.inputs:
        if column.kind == "datetime":
            dates = sample.dates(column.name)
            spellings = {microseconds(text): text for text in FILLERS}
            values, counts = np.unique(dates[~np.isnan(dates)], return_counts=True)
            ends = [values[k] for k in (0, -1) if values[k] in spellings and counts[k] > 1]
            found = [end for end in ends if is_far(end, values[values != end])]
            if found:
                yield finding_of(
                    sample, column.name, dates, found, [spellings[each] for each in found]
                )


def marks_in(numbers: np.ndarray) -> list[float]:
    values, counts = np.unique(numbers[~np.isnan(numbers)], return_counts=True)
    found = [*low_sentinels(values), *(-each for each in leading_sentinels(-values[::-1]))]
    rows = counts[np.isin(values, found)].sum()
    share = MIN_SHARE if ANSWERS.issuperset(found) else 0
    return found if rows > 1 and rows >= share * counts.sum() else []


def finding_of(
    sample: Sample, name: str, numbers: np.ndarray, found: Sequence[float], texts: Sequence[str]
) -> Finding:
    rows = np.flatnonzero(np.isin(numbers, found))
    first = row_name(sample.table, int(rows[0]))
    options = " ".join(f"--missing {text}" for text in texts)
    return Finding(
        name,
        f"{' and '.join(texts)} in {plural(len(rows), 'row')}, the first in {first}, probably "
        f"{'means' if len(texts) == 1 else 'mean'} a missing value",
        "The network treats such a value as an ordinary value that is far from all others.",
        f"Use {options}",
    )


def low_sentinels(values: np.ndarray) -> list[float]:
    # In a column without other negative numbers, -1, -7, -8 and -9 are also sentinels.
    negative, others = values[values < 0], values[values >= 0]
    if len(negative) and len(others) >= MIN_OTHERS and set(negative) <= ANSWERS:
        return list(negative)
    return leading_sentinels(values)


def leading_sentinels(values: np.ndarray) -> list[float]:
    """Return the sentinels, such as -999 and -998, at the beginning of ascending `values`."""
    if not len(values) or not is_nines_or_limit(values[0]):
        return []
    near = values <= values[0] + (2 if abs(values[0]) < 10**6 else 0)
    return list(values[near]) if is_far(values[0], values[~near]) else []


def is_nines_or_limit(value: float) -> bool:
    digits = f"{abs(value):.10g}".replace(".", "")
    return (len(digits) > 1 and set(digits) == {"9"}) or value in LIMITS


def is_far(value: float, others: np.ndarray) -> bool:
    if len(others) < MIN_OTHERS:
        return False
    with np.errstate(over="ignore"):
        return bool(np.abs(others - value).min() > GAP * (others.max() - others.min()))


def microseconds(text: str) -> float:
    return float(np.datetime64(text, "us").astype(np.int64))
