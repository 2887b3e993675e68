"""Codes that are read as numbers, such as postal codes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gpunn.tables.column_names import is_named_as_code, quoted
from gpunn.tables.encoders.number import identifiers
from gpunn.tables.inspection.finding import Finding
from gpunn.tables.inspection.sample import Sample
from gpunn.tables.inspection.values import spelled
from gpunn.tables.table import row_name

FEW_ROWS = 2
"""Minimum average number of rows per code. Rarer codes do not help to predict new rows."""


def codes_as_numbers(sample: Sample) -> Iterator[Finding]:
    for name, numbers in sample.columns_of_numbers():
        present = numbers[~np.isnan(numbers)]
        if not is_named_as_code(name) or name in sample.chosen or (present % 1 != 0).any():
            continue
        count = len(np.unique(present))
        if count <= 2 or identifiers(name, present):
            continue
        row = int(np.isfinite(numbers).argmax())
        yield Finding(
            name,
            f"codes such as {spelled(numbers[row])} ({row_name(sample.table, row)}) are read as "
            "numbers",
            "The network then computes with codes, as if a larger code meant more.",
            f"Use --column {quoted(name)}=category"
            if count * FEW_ROWS <= len(present)
            else f"The {count:,} codes occur in fewer than {FEW_ROWS} rows on average, so use "
            f"--drop {quoted(name)}, or replace the codes by codes of larger groups or areas",
        )
