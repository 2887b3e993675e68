"""Find columns that predict the target too well, probably since they contain later facts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from gpunn.meaning import plural
from gpunn.randomness import generator
from gpunn.tables.column_names import is_named_as_identifier, is_named_as_period, quoted
from gpunn.tables.columns import Column
from gpunn.tables.inspection.finding import Finding
from gpunn.tables.inspection.formulas import formula_of
from gpunn.tables.inspection.sample import Sample
from gpunn.tables.inspection.targets import Target
from gpunn.tables.splitting import shared_values, split_by

PERFECT = 0.98
"""Columns with at least this score, 1 - error / baseline, are reported. On held-out rows, `error`
is the error of predictions from the column, and `baseline` the error of the best constant."""

GOOD_FOR_CLASSES, GOOD_FOR_NUMBERS, BETTER = 0.85, 0.95, 1.6
"""A column is also reported if its score is at least `GOOD_FOR_CLASSES` or `GOOD_FOR_NUMBERS`, and
`BETTER` times the score of all other columns together. The limit is higher for numbers, because a
single cause often explains 80 or 90 % of the variance, as temperature does for sales of ice cream.
"""

# Smaller tables are not checked. From larger tables, `MAX_ROWS` rows are drawn at random.
MIN_ROWS, MAX_ROWS = 50, 10_000

MIN_GROUPS = 10
"""A column with fewer distinct values probably does not name groups of rows."""

NEIGHBORS = (1, 15)
"""Numbers k to try: a value's prediction is the mean target of the k rows with nearest values."""

MAX_OTHERS, BINS = 60, 16
"""The score of all other columns together uses at most `MAX_OTHERS` of them, the best ones. Each
column is divided into `BINS` intervals with equally many rows."""

PAIRS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "sum": np.add,
    "difference": np.subtract,
    "product": np.multiply,
    "ratio": np.divide,
}
"""Formulas of two columns that may decide a class, such as a score of at least 50 in two tests."""

FIRST_ROWS, BEST_PAIRS = 200, 5
"""If a formula decides the class, the class changes rarely in `FIRST_ROWS` rows sorted by it. The
`BEST_PAIRS` formulas with the fewest changes are compared on all rows."""

CLEARLY = 5
"""A formula's error must be at most the error of its better column, divided by this number."""

FREQUENT = 100
"""Number of the most frequent classes that are distinguished; all other classes count as one."""


def leaks(sample: Sample) -> Iterator[Finding]:
    for target in sample.targets:
        rows = sample.some_rows(MAX_ROWS)
        rows = rows[target.present[rows]]
        if len(rows) >= MIN_ROWS and target.distinct > 1:
            formula = formula_of(sample, target)
            yield from [formula] if formula else Comparison(sample, target, rows).findings()


class Comparison:
    """Compares how well columns predict the target in held-out rows, about half of all rows.

    Each group is held out completely or not at all. Otherwise, a column that identifies groups
    would predict what the rows of a group have in common.
    """

    def __init__(self, sample: Sample, target: Target, rows: np.ndarray) -> None:
        self.sample, self.target, self.rows = sample, target, rows
        self.answers = answers_of(target, rows)
        self.is_numbers = self.answers.shape[1] == 1
        draw = generator(0, "inspection of columns")
        group = group_of(sample)
        keys = np.arange(len(rows)) if group is None else sample.codes(group)[rows] + 1
        # A key is held out as a whole; -1 (no group) is a group as well.
        self.held = draw.permutation(int(keys.max()) + 1)[keys] % 2 == 1
        self.group = group

    def findings(self) -> Iterator[Finding]:
        if not (self.held.any() and (~self.held).any()) or self._baseline() == 0:
            return
        if len(self.sample.inputs) == 1:  # a single input is meant to predict the target
            return
        positions = {column.name: self.positions(column) for column in self.sample.inputs}
        scores = {name: self.score_of(*each) for name, each in positions.items()}
        if not self.is_numbers:
            ordered = {name: score for name, score in scores.items() if positions[name][1]}
            yield from self.thresholds(ordered)
        for name, score in scores.items():
            good = GOOD_FOR_NUMBERS if self.is_numbers else GOOD_FOR_CLASSES
            if score < good or name == self.group:
                continue
            others = None
            if score < PERFECT:
                names = [other for other in scores if other != name]
                best = sorted(names, key=lambda other: -scores[other])[:MAX_OTHERS]
                others = self.score_together([positions[other][0] for other in best])
                if score < BETTER * others:
                    continue
            yield self.finding(name, score, others)

    def thresholds(self, known: Mapping[str, float]) -> Iterator[Finding]:
        """Yield a finding if two columns' sum, difference, product or ratio decides the class."""
        every = {name: each[self.rows] for name, each in self.sample.measures()}
        every = {name: each for name, each in every.items() if not np.isnan(each).any()}
        # Score times like numbers: a sum of a number and a time often has the order of the times.
        scores = {
            name: known[name] if name in known else self.score_of(each, True)
            for name, each in every.items()
        }
        names = [name for name in every if scores[name] < PERFECT and name != self.group]
        best = sorted(names, key=lambda name: -scores[name])[:MAX_OTHERS]
        pairs = list(itertools.combinations(sorted(best, key=names.index), 2))
        some = np.linspace(0, len(self.rows) - 1, min(len(self.rows), FIRST_ROWS)).astype(np.int64)
        classes = self.answers[some].argmax(axis=1)
        found = list[tuple[int, str, tuple[str, str]]]()
        for form, combine in PAIRS.items():
            for pair in pairs:
                with np.errstate(all="ignore"):
                    order = np.argsort(combine(*(every[name][some] for name in pair)))
                changes = int(np.count_nonzero(np.diff(classes[order])))
                found.append((changes, form, pair))
        for _, form, pair in sorted(found)[:BEST_PAIRS]:
            with np.errstate(all="ignore"):
                score = self.score_of(PAIRS[form](*(every[name] for name in pair)), True)
            error = 1 - max(scores[name] for name in pair)
            if score >= PERFECT and 1 - score <= error / CLEARLY:
                listed = " and ".join(map(repr, pair))
                yield Finding(
                    self.target.name,
                    f"the {form} of {listed} predicts {self.accuracy(score)} of "
                    f"{plural(int(self.held.sum()), 'row')} correctly",
                    "The network then learns only this formula.",
                    "If these columns are unknown at prediction time, use "
                    + " ".join(f"--drop {quoted(name)}" for name in pair),
                )
                return

    def finding(self, name: str, score: float, others: float | None) -> Finding:
        rows = plural(int(self.held.sum()), "row")
        if self.is_numbers:
            found = f"the column alone explains {percent(score)} of the target's variance in {rows}"
        else:
            found = f"the column alone predicts {self.accuracy(score)} of {rows} correctly"
        if others is not None:
            together = percent(max(others, 0.0)) if self.is_numbers else self.accuracy(others)
            found += f" (all other columns together: {together})"
        remedy = f"Unless the column is known before the target, use --drop {quoted(name)}"
        if self.sample.column(name).kind == "category" and (
            shared_values(self.sample.table, name, self.sample.markers) >= MIN_GROUPS
        ):
            remedy += f"; if its values name groups of rows, use --split group={quoted(name)}"
        return Finding(
            name,
            found,
            "If a column is filled in after the target is known, test metrics are too good, and "
            "later predictions are wrong.",
            remedy,
        )

    def positions(self, column: Column) -> tuple[np.ndarray, bool]:
        # The Boolean says whether close numbers mean similar values. For a time, the number only
        # tells whether the time is present. If rows of similar times have similar targets, the time
        # is not a leak, but a reason for a split by time.
        name = column.name
        if not column.is_time_of_day and (column.kind == "datetime" or is_named_as_period(name)):
            return (self.sample.codes(name)[self.rows] >= 0).astype(np.float64), False
        if column.kind == "number" or column.is_time_of_day:
            cells = self.sample.dates if column.kind == "datetime" else self.sample.numbers
            numbers = cells(name)[self.rows]
            return np.where(np.isnan(numbers), -np.inf, numbers), True
        return self.sample.codes(name)[self.rows].astype(np.float64), False

    def score_of(self, positions: np.ndarray, is_ordered: bool) -> float:
        order = np.argsort(positions[~self.held], kind="stable")
        known = positions[~self.held][order]
        totals = np.zeros((len(known) + 1, self.answers.shape[1]))
        np.cumsum(self.answers[~self.held][order], axis=0, out=totals[1:])
        values, inverse = np.unique(positions[self.held], return_inverse=True)
        start, stop = np.searchsorted(known, values), np.searchsorted(known, values, "right")
        best = -np.inf
        for count in NEIGHBORS if is_ordered else (0,):
            # Widen intervals of equal values that have fewer than `count` rows.
            spare = np.maximum(count - (stop - start), 0)
            low = np.clip(start - spare // 2, 0, len(known))
            high = np.clip(stop + spare - spare // 2, 0, len(known))
            sizes = (high - low)[:, None]
            means = np.where(
                sizes > 0,
                (totals[high] - totals[low]) / np.maximum(sizes, 1),
                totals[-1] / len(known),
            )
            best = max(best, self.score(means[inverse]))
        return best

    def score_together(self, columns: Sequence[np.ndarray]) -> float:
        blocks = []
        for positions in columns:
            values, codes = np.unique(positions, return_inverse=True)
            if len(values) > BINS:
                order = np.argsort(np.argsort(positions, kind="stable"), kind="stable")
                codes = order * BINS // len(order)
            blocks.append(np.eye(int(codes.max()) + 1)[codes])
        if not blocks:
            return 0.0
        X = np.column_stack(blocks)
        known, answers = X[~self.held], self.answers[~self.held]
        mean = answers.mean(axis=0)
        products = known.T @ known + np.eye(X.shape[1])
        weights = np.linalg.solve(products, known.T @ (answers - mean))
        return self.score(X[self.held] @ weights + mean)

    def score(self, predicted: np.ndarray) -> float:
        return 1 - self._error(predicted) / self._baseline()

    def accuracy(self, score: float) -> str:
        return percent(1 - (1 - score) * self._baseline())

    def _error(self, predicted: np.ndarray) -> float:
        answers = self.answers[self.held]
        if self.is_numbers:
            return float(((predicted - answers) ** 2).mean())
        return float((predicted.argmax(axis=1) != answers.argmax(axis=1)).mean())

    def _baseline(self) -> float:
        constant = self.answers[~self.held].mean(axis=0)
        return self._error(np.broadcast_to(constant, (int(self.held.sum()), len(constant))))


def group_of(sample: Sample) -> str | None:
    kind, name = split_by(sample.split) or ("", "")
    if kind == "group":
        return name
    names = (column.name for column in sample.inputs if is_named_as_identifier(column.name))
    return next((name for name in names if shared_values(sample.table, name, sample.markers)), None)


def answers_of(target: Target, rows: np.ndarray) -> np.ndarray:
    """Return the targets of rows.

    Numbers become ranks from 0 to 1, of shape (rows, 1). Classes become one-hot rows, of shape
    (rows, classes).
    """
    if target.numbers is not None and not (target.has_classes or target.is_label):
        _, ranks, counts = np.unique(target.numbers[rows], return_inverse=True, return_counts=True)
        return ((np.cumsum(counts) - counts / 2) / len(rows))[ranks][:, None]
    names = {text: min(k, FREQUENT) for k, (text, _) in enumerate(target.counts)}
    codes = np.array([-1 if text is None else names[text] for text in target.texts])
    answers: np.ndarray = np.eye(min(len(names), FREQUENT + 1))[codes[target.values.codes[rows]]]
    return answers


def percent(fraction: float) -> str:
    return f"{int(100 * fraction + 1e-9)} %"
