"""Find copies of rows: a random split would put them into both training and test rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from gpunn.randomness import generator
from gpunn.tables.encoders.number import identifiers
from gpunn.tables.inspection.finding import ROWS, Finding
from gpunn.tables.inspection.sample import Sample
from gpunn.tables.table import row_name

MIN_SHARE = 0.02
"""Minimum fraction of rows that repeat an earlier row. Fewer rows change a metric by less than its
random error."""

FINE = 0.05
"""In a fine column, two random rows agree with at most this probability. In a table without a fine
column, whole rows may agree by chance."""

COPIED, LIFT = 0.2, 20
"""Repeated rows are copies if rows that agree in all other columns often agree in each column. At
least the fraction `COPIED` of the pairs that would differ by chance must agree. In a fine column,
it suffices if pairs agree `LIFT` times as often as random pairs."""

MIXING = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)
"""Shifts and factors of SplitMix64, which let each bit of an integer affect all other bits."""

MAX_ROWS = 100_000
"""Maximum number of rows in which pairs of equal rows are counted."""


def repeated_rows(sample: Sample) -> Iterator[Finding]:
    if sample.split not in (None, "random") or not sample.inputs:
        return
    whole = np.zeros(sample.table.rows, np.uint64)
    for each in hashes(sample):
        whole += each
    values, first, inverse = np.unique(whole, return_index=True, return_inverse=True)
    repeated = sample.table.rows - len(values)
    if repeated < max(2, MIN_SHARE * sample.table.rows):
        return
    rows = sample.some_rows(MAX_ROWS)
    whole = whole[rows]
    some = [each[rows] for each in hashes(sample)]
    chances = [2 * pairs_in(each) / (len(rows) * (len(rows) - 1)) for each in some]
    shares = [pairs_in(whole) / max(1, pairs_in(whole - each)) for each in some]
    if min(chances) > FINE or not all(map(are_copies, shares, chances)):
        return
    copy = int((first[inverse] < np.arange(sample.table.rows)).argmax())
    original = int(first[inverse[copy]])
    table = sample.table
    yield Finding(
        ROWS,
        f"{repeated:,} of {table.rows:,} rows repeat an earlier row in every column; for example, "
        f"{row_name(table, copy)} is equal to {row_name(table, original)}",
        "A random split puts equal rows into both training and test rows, so test metrics are too "
        "good.",
        "Remove the copies from the file; if a column identifies the person or thing in each row, "
        "use --split group=COLUMN",
    )


def are_copies(share: float, chance: float) -> bool:
    # `share` is the fraction of the pairs of these rows that agree in the column, and `chance` is
    # the fraction of all pairs that agree in it.
    return share - chance >= COPIED * (1 - chance) or (chance < FINE and share >= LIFT * chance)


def hashes(sample: Sample) -> Iterator[np.ndarray]:
    """Yield the hashes of each column: a 64-bit number for each row, shape (rows,).

    Columns of identifiers are omitted. Two rows are equal if the sums of their hashes over all
    columns are equal.
    """
    draw = generator(0, "inspection of rows")
    # Copies of a row have different identifiers.
    identified = {
        name for name, each in sample.columns_of_numbers() if identifiers(name, each[each == each])
    }
    names = [column.name for column in sample.inputs if column.name not in identified]
    columns = map(sample.values, names)
    for values in itertools.chain(columns, (target.values.codes for target in sample.targets)):
        numbers = (values + 0.0).view(np.uint64) + draw.integers(2**63, dtype=np.uint64)
        for shift, factor in MIXING:
            numbers = (numbers ^ (numbers >> shift)) * factor
        yield numbers


def pairs_in(values: np.ndarray) -> float:
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1)).sum() / 2)
