"""The importance of a table's columns to a network, and the network's errors by category."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gpunn.errors import GpunnWarning
from gpunn.experiment.predictions import interpret
from gpunn.experiment.splits import Split, Splits
from gpunn.losses import Loss
from gpunn.meaning import plural
from gpunn.network import Sequential
from gpunn.randomness import generator
from gpunn.reporting.charts import Chart, ranking
from gpunn.reporting.text import number_text
from gpunn.tables import Schema, Table
from gpunn.tables.columns import Column
from gpunn.thresholds import decide

MAX_ROWS = 4096

PERMUTATIONS = 3

MAX_BARS = 20

MAX_SPREADS = 8
"""Maximum number of categorical columns to draw, beginning with the most important columns."""


@dataclass(frozen=True)
class Spread:
    column: str
    categories: list[str]
    rows: list[int]
    errors: list[float]


@dataclass(frozen=True)
class ColumnFindings:
    """The importance of columns: the rise of the error if a column's cells are shuffled."""

    split: str
    measure: str
    rows: int
    importance: dict[str, float]
    spread_split: str
    spread_measure: str
    overall: float
    spreads: list[Spread]


def examine_columns(model: Sequential, loss: Loss, splits: Splits) -> ColumnFindings:
    # Importances are computed on the validation rows, and errors by category on the test rows. If a
    # split does not exist, the last existing split is used.
    last, rows = list(splits.by_name.items())[-1]
    name, validated = ("validation", splits.validation) if splits.validation else (last, rows)
    assert validated is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GpunnWarning)  # about unknown categories, reported before
        importance, count = importances(model, loss, validated)
        errors, overall, spread_measure = errors_of_rows(model, loss, rows)
        spreads = spreads_of(model, rows, errors, spread_measure == "RMSE", list(importance))
    measure = "log loss"
    if spread_measure == "RMSE":  # see `common_error`
        several = model.output_shape != (1,)
        measure = "mean RMSE in standard deviations" if several else "RMSE"
    return ColumnFindings(name, measure, count, importance, last, spread_measure, overall, spreads)


def importances(model: Sequential, loss: Loss, split: Split) -> tuple[dict[str, float], int]:
    assert model.schema is not None
    chosen = np.unique(np.linspace(0, split.rows - 1, min(split.rows, MAX_ROWS)).astype(np.int64))
    split = split.take(chosen)
    table = split.inputs()
    assert isinstance(table, Table)
    random = generator(model.seed, "importance")
    orders = [random.permutation(split.rows) for _ in range(PERMUTATIONS)]

    def error(rows: Table) -> float:
        return common_error(model.predict(rows), split, loss)

    before = error(table)
    rises = {
        column.name: float(np.mean([error(shuffled(table, column.name, each)) for each in orders]))
        - before
        for column in model.schema.columns
        if not column.dropped
    }
    return dict(sorted(rises.items(), key=lambda item: -item[1])), split.rows


def shuffled(table: Table, name: str, order: np.ndarray) -> Table:
    other = table.take(order)
    return Table(
        table.names,
        len(table),
        lambda index: (other if table.names[index] == name else table).column(table.names[index]),
        named=table.named,
        title=table.title,
    )


def common_error(raw: np.ndarray, split: Split, loss: Loss) -> float:
    # With several numbers per row, each output's RMSE is divided by the standard deviation of its
    # targets, and the error is the mean of these ratios.
    targets = loss.check_targets(split.targets(), raw.shape[1])
    probabilities = interpret(raw, loss.output_activation, None).probabilities
    if probabilities is None:
        errors = np.sqrt(np.mean((means(raw, loss) - targets) ** 2, axis=0))
        spread = np.std(targets, axis=0) if raw.shape[1] > 1 else np.ones(1)
        return float(np.mean(errors / np.where(spread > 0, spread, 1)))
    truth = loss.class_indices(targets)
    if truth is None:
        right = np.where(targets > 0.5, probabilities, 1 - probabilities)
    else:
        right = probabilities[np.arange(len(truth)), truth]
    return float(-np.mean(np.log(np.maximum(right, 1e-15))))


def errors_of_rows(model: Sequential, loss: Loss, split: Split) -> tuple[np.ndarray, float, str]:
    # A row's error is 1 for a wrong class or label, or the squared error of numbers.
    raw = model.predict(split.inputs())
    targets = loss.check_targets(split.targets(), raw.shape[1])
    predictions = interpret(raw, loss.output_activation, None)
    if predictions.probabilities is None:
        squares = np.mean((means(raw, loss) - targets) ** 2, axis=1)
        return squares, float(np.sqrt(squares.mean())), "RMSE"
    truth = loss.class_indices(targets)
    if truth is None:
        wrong = np.mean(predictions.values != (targets > 0.5), axis=1)
    else:
        wrong = decide(raw, loss.output_activation, model.threshold) != truth
    return wrong.astype(np.float64), float(wrong.mean()), "error rate"


def means(raw: np.ndarray, loss: Loss) -> np.ndarray:
    """Return exp(min(raw, 300)) if the output activation is "exponential", else `raw`."""
    numbers = raw.astype(np.float64)
    return np.exp(np.minimum(numbers, 300)) if loss.output_activation == "exponential" else numbers


def codes_of(schema: Schema, split: Split, dtype: str) -> Iterator[tuple[Column, np.ndarray]]:
    # A column of several schemas is yielded once, with the codes of the first schema.
    found = set[str]()
    for each in schema.parts:
        columns = [column for column in each.columns if column.is_category]
        if not found.issuperset(column.name for column in columns):
            codes = each.encode(split.inputs(), dtype)[:, len(each.numbers) :].astype(np.int64)
            for column, code in zip(columns, codes.T, strict=True):
                if column.name not in found:
                    yield column, code
            found.update(column.name for column in columns)


def spreads_of(
    model: Sequential, split: Split, errors: np.ndarray, are_squares: bool, order: Sequence[str]
) -> list[Spread]:
    assert model.schema is not None
    spreads = {}
    for column, code in codes_of(model.schema, split, model.dtype):
        names = ["missing or unknown", *column.categories]
        counts = np.bincount(code, minlength=len(names))
        sums = np.bincount(code, errors, minlength=len(names))
        ranked = [index for index in np.argsort(-counts, kind="stable").tolist() if counts[index]]
        kept, rest = ranked[:MAX_BARS], ranked[MAX_BARS:]
        groups = [(names[index], [index]) for index in kept]
        if rest:
            groups.append((f"{plural(len(rest), 'other category')}", rest))
        rows = [int(counts[members].sum()) for _, members in groups]
        each = [
            float(sums[members].sum()) / count
            for (_, members), count in zip(groups, rows, strict=True)
        ]
        if are_squares:
            each = [error**0.5 for error in each]
        spreads[column.name] = Spread(column.name, [name for name, _ in groups], rows, each)
    return [spreads[name] for name in order if name in spreads][:MAX_SPREADS]


def column_charts(findings: ColumnFindings, key: str) -> list[Chart]:
    names, values = list(findings.importance), list(findings.importance.values())
    rise = f"rise of the {findings.measure}"
    note = (
        f"The mean rise of the {findings.measure} if a column's cells are shuffled among "
        f"{findings.rows:,} {findings.split} rows ({PERMUTATIONS} times). If two columns have the "
        "same information, the network needs only one, so both seem less important."
    )
    if len(names) > MAX_BARS:
        note += f" The chart shows the {MAX_BARS} most important of {len(names):,} columns."
    charts = [
        ranking(
            f"{key}-importance",
            "Which columns matter",
            names,
            values,
            maximum=MAX_BARS,
            label=rise,
            columns=("column", rise),
            rows=list(zip(names, values, strict=True)),
            texts=list(map(number_text, values)),
            description=f"Bar chart of {plural(len(names), 'column')}. The most important is "
            f"{names[0]}: shuffling it raises the {findings.measure} by {values[0]:.4g}.",
            note=note,
        )
    ]
    for number, spread in enumerate(findings.spreads):
        worst = int(np.argmax(spread.errors))
        charts.append(
            ranking(
                f"{key}-errors-{number}",
                f"Errors by {spread.column}",
                spread.categories,
                spread.errors,
                maximum=MAX_BARS + 1,
                label=findings.spread_measure,
                columns=("category", "rows", findings.spread_measure),
                rows=list(zip(spread.categories, spread.rows, spread.errors, strict=True)),
                texts=[plural(count, "row") for count in spread.rows],
                reference=findings.overall,
                description=f"Bar chart of {plural(len(spread.categories), 'category')}. The error "
                f"is largest for {spread.categories[worst]}: {spread.errors[worst]:.4g}, on "
                f"{plural(spread.rows[worst], 'row')}.",
                note=f"Errors on the {findings.spread_split} split. The line shows the error on "
                f"all rows of this split, {number_text(findings.overall)}. Categories with the "
                "most rows come first.",
            )
        )
    return charts
