"""The target columns of a table: classes, labels or numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from gpunn.errors import DataError
from gpunn.meaning import plural
from gpunn.rows.cells import Markers, number_of
from gpunn.rows.predictions import text_of_cell
from gpunn.tables.cells import category_names, coded, numbers_of
from gpunn.tables.encoders.base import wrong_cell
from gpunn.tables.encoders.number import finite_numbers
from gpunn.tables.formats import reading_of
from gpunn.tables.inspection.values import counted, extremes
from gpunn.tables.remarks import remark_on_case, remark_on_marks
from gpunn.tables.table import Coded, Table, row_name

MAX_CLASSES = 20
"""If a target has more distinct integers than this, they are numbers, not classes."""

LABELS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}
"""Maps the text of a label to its value; labels are several targets that are true or false."""


ADVICE = "Write plain numbers, such as 1200.5, or choose another column"


@dataclass(frozen=True)
class Target:
    """A target column.

    `values` has the classes or numbers in dictionary encoding. `texts` names each dictionary entry.
    `counts` has each class's name and number of rows, most frequent first. If there are too many
    distinct numbers for classes, `texts` and `counts` are empty. `numbers` is None if a cell is not
    a number. `present` marks rows with a value.
    """

    name: str
    values: Coded
    texts: list[str | None]
    numbers: np.ndarray | None
    present: np.ndarray
    counts: list[tuple[str, int]]
    distinct: int
    is_text: bool
    is_one_of_several: bool

    @property
    def is_label(self) -> bool:
        if not self.is_one_of_several or self.distinct > len(self.counts):
            return False
        return all(text.casefold() in LABELS for text, _ in self.counts)

    @property
    def has_classes(self) -> bool:
        return self.numbers is None or (
            not self.is_one_of_several
            and self.distinct <= MAX_CLASSES
            and not (self.numbers[self.present] % 1 != 0).any()
        )

    @property
    def description(self) -> str:
        if self.is_label:
            yes = sum(count for text, count in self.counts if LABELS[text.casefold()])
            return f"label; yes in {yes:,} of {plural(int(self.present.sum()), 'row')}"
        if not self.has_classes and self.numbers is not None:
            return f"numbers, {extremes(self.numbers)}"
        first = self.counts[:MAX_CLASSES]
        shown = [f"{text!r:.30} ({plural(count, 'row')})" for text, count in first]
        listed = ", ".join([*shown, "..."] if len(self.counts) > MAX_CLASSES else shown)
        return f"{plural(len(self.counts), 'class')}: {listed}"

    def problems(self, table: Table) -> list[str]:
        name, problems = self.name, []
        if self.numbers is not None and name in table.doubts:
            problems.append(f"{name}: {table.doubts[name]}")
        if not self.present.all():
            location = row_name(table, int(self.present.argmin()))
            count = plural(int((~self.present).sum()), "row")
            problems.append(
                f"{name}: the target has no value in {count}, first in {location}: fill in each "
                "missing target, or remove its row"
            )
        if self.distinct < 2:
            problems.append(
                f"{name}: the target is the same in every row, so there is nothing to learn"
            )
        if self.is_one_of_several and self.is_text:
            problems.append(
                f"{name}: with several targets, each must hold numbers, or labels 0 and 1; this "
                "target is text"
            )
        if remark := remark_on_case([text for text, _ in self.counts]):
            problems.append(f"{name}: {remark}")
        return problems


def target_of(table: Table, name: str, markers: Markers, is_one_of_several: bool) -> Target:
    cells = table.column(name)
    kind, form, _ = reading_of(cells, markers)
    is_date = kind == "datetime"
    kind = "category" if form or is_date else kind
    # Codes such as 007 count as numbers if there are too many of them for classes.
    are_codes = kind == "category" and not numbers_of(cells, markers)[1]
    numbers = finite_numbers(table, name, markers) if kind == "number" or are_codes else None
    unnamed = None if are_codes and not is_one_of_several else numbers
    values = coded(cells if unnamed is None else unnamed)
    texts, counts = list[str | None](), list[tuple[str, int]]()
    if unnamed is None or len(values.values) <= MAX_CLASSES:
        texts = class_names(values.values, markers)
        present = values.take(np.array([text is not None for text in texts], dtype=bool), False)
        counts = counted(values, texts)
        distinct = len(counts)
    else:
        present, distinct = ~np.isnan(unnamed), len(values.values)
    if is_date:
        refuse_dates(table, name, distinct)
    if numbers is None and (expected := why_no_classes({*texts} - {None}, form)):
        raise wrong_cell(table, name, cells, numbers_of(cells, markers)[1], expected, ADVICE)
    is_text, several = kind == "category" and numbers is None, is_one_of_several
    return Target(name, values, texts, numbers, present, counts, distinct, is_text, several)


def refuse_dates(table: Table, name: str, distinct: int) -> None:
    if distinct > MAX_CLASSES or isinstance(table.column(name), np.ndarray):
        raise DataError(
            f"{table.title}: the target {name!r} contains dates or times; choose a column of "
            "numbers or classes"
        )


def why_no_classes(names: Collection[str | None], form: str) -> str:
    numbers = sum(number_of(name or "") is not None for name in names)
    if len(names) <= MAX_CLASSES or numbers == len(names):
        return ""
    if 2 * numbers > len(names):
        return "the target must be a number, as in most rows"
    if form or remark_on_marks([name or "" for name in names]):
        return "the target must be a number, without a unit, separators or decimal commas"
    return ""


def class_names(values: Sequence[object], markers: Markers) -> list[str | None]:
    # The apostrophe that keeps spreadsheets from running a formula is not part of the name.
    plain = [text_of_cell(value) if isinstance(value, str) else value for value in values]
    return category_names(plain, markers)
