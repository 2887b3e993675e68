"""Which columns of a table matter to a network, and in which categories it errs most."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpunn.errors import GpunnWarning
from gpunn.experiment.parts import Part, Parts
from gpunn.experiment.predictions import interpret
from gpunn.losses import Loss
from gpunn.meaning import plural
from gpunn.network import Sequential
from gpunn.randomness import generator
from gpunn.reporting.charts import Chart, ranking
from gpunn.reporting.text import number_text
from gpunn.tables import Table
from gpunn.thresholds import decide

__all__ = ["ColumnFindings", "Spread", "column_charts", "examine_columns", "means"]

MOST_ROWS = 4096
"""Rows that are permuted."""

PERMUTATIONS = 3

MOST_BARS = 20
"""Columns, or categories of one, that are drawn."""

MOST_SPREADS = 8
"""Columns of categories that are drawn, those that matter most."""


@dataclass(frozen=True)
class Spread:
    """Errors by the categories of one column: those with the most rows, and last the rest."""

    column: str
    categories: list[str]
    rows: list[int]
    errors: list[float]


@dataclass(frozen=True)
class ColumnFindings:
    """What was found of a table's columns.

    Part and measure are which rows the importances are of, and what rises. An importance is by how
    much the error rises if a column's cells are shuffled among the rows; the largest comes first.
    `overall` is the error over all rows of the spreads.
    """

    part: str
    measure: str
    rows: int
    importance: dict[str, float]
    spread_part: str
    spread_measure: str
    overall: float
    spreads: list[Spread]


def examine_columns(model: Sequential, loss: Loss, parts: Parts) -> ColumnFindings:
    """Return what the columns of a table are to a network that has a schema.

    Importances are those of the validation rows, spreads those of the test rows; where there are
    none, those of the last part that there is.
    """
    last, rows = list(parts.by_name.items())[-1]
    name, validated = ("validation", parts.validation) if parts.validation else (last, rows)
    assert validated is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GpunnWarning)  # of unknown categories, which were said
        importance, count = importances(model, loss, validated)
        errors, overall, spread_measure = errors_of_rows(model, loss, rows)
        spreads = spreads_of(model, rows, errors, spread_measure == "RMSE", list(importance))
    measure = "log loss"
    if spread_measure == "RMSE":  # see `common_error`
        several = model.output_shape != (1,)
        measure = "mean RMSE in standard deviations" if several else "RMSE"
    return ColumnFindings(name, measure, count, importance, last, spread_measure, overall, spreads)


def importances(model: Sequential, loss: Loss, part: Part) -> tuple[dict[str, float], int]:
    """Return by how much the error rises for each column that is shuffled, and of how many rows."""
    assert model.schema is not None
    chosen = np.unique(np.linspace(0, part.rows - 1, min(part.rows, MOST_ROWS)).astype(np.int64))
    part = part.take(chosen)
    table = part.inputs()
    assert isinstance(table, Table)
    random = generator(model.seed, "importance")
    orders = [random.permutation(part.rows) for _ in range(PERMUTATIONS)]

    def error(rows: Table) -> float:
        return common_error(model.predict(rows), part, loss)

    before = error(table)
    found = {
        column.name: float(np.mean([error(shuffled(table, column.name, each)) for each in orders]))
        - before
        for column in model.schema.columns
        if not column.dropped
    }
    return dict(sorted(found.items(), key=lambda item: -item[1])), part.rows


def shuffled(table: Table, name: str, order: np.ndarray) -> Table:
    """Return a table with the cells of one column in another order."""
    other = table.take(order)
    return Table(
        table.names,
        len(table),
        lambda place: (other if table.names[place] == name else table).column(table.names[place]),
        named=table.named,
        title=table.title,
    )


def common_error(raw: np.ndarray, part: Part, loss: Loss) -> float:
    """Return one error of predictions: the log loss of classes and labels, the RMSE of numbers.

    Of several numbers it is the mean of RMSE / standard deviation of the truth.
    """
    targets = loss.check_targets(part.targets(), raw.shape[1])
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


def errors_of_rows(model: Sequential, loss: Loss, part: Part) -> tuple[np.ndarray, float, str]:
    """Return an error of each row, that of all of them, and what it is.

    Of classes and labels it is 1 where the prediction is wrong, of numbers the square of what is
    wrong; the whole is the part that is wrong, or the RMSE.
    """
    raw = model.predict(part.inputs())
    targets = loss.check_targets(part.targets(), raw.shape[1])
    found = interpret(raw, loss.output_activation, None)
    if found.probabilities is None:
        squares = np.mean((means(raw, loss) - targets) ** 2, axis=1)
        return squares, float(np.sqrt(squares.mean())), "RMSE"
    truth = loss.class_indices(targets)
    if truth is None:
        wrong = np.mean(found.values != (targets > 0.5), axis=1)
    else:
        wrong = decide(raw, loss.output_activation, model.threshold) != truth
    return wrong.astype(np.float64), float(wrong.mean()), "part that is wrong"


def means(raw: np.ndarray, loss: Loss) -> np.ndarray:
    """Return the numbers that outputs stand for; a rate is at most exp(300), which can be drawn."""
    numbers = raw.astype(np.float64)
    return np.exp(np.minimum(numbers, 300)) if loss.output_activation == "exponential" else numbers


def spreads_of(
    model: Sequential, part: Part, errors: np.ndarray, are_squares: bool, order: Sequence[str]
) -> list[Spread]:
    """Return the errors by category, of the columns that matter most."""
    schema = model.schema
    assert schema is not None
    codes = schema.encode(part.inputs(), model.dtype)[:, len(schema.numbers) :].astype(np.int64)
    columns = [column for column in schema.columns if column.is_category]
    found = {}
    for column, code in zip(columns, codes.T, strict=True):
        names = ["missing or unknown", *column.categories]
        counts = np.bincount(code, minlength=len(names))
        sums = np.bincount(code, errors, minlength=len(names))
        ranked = [place for place in np.argsort(-counts, kind="stable").tolist() if counts[place]]
        kept, rest = ranked[:MOST_BARS], ranked[MOST_BARS:]
        groups = [(names[place], [place]) for place in kept]
        if rest:
            groups.append((f"{plural(len(rest), 'other category')}", rest))
        rows = [int(counts[places].sum()) for _, places in groups]
        each = [
            float(sums[places].sum()) / count
            for (_, places), count in zip(groups, rows, strict=True)
        ]
        if are_squares:
            each = [error**0.5 for error in each]
        found[column.name] = Spread(column.name, [name for name, _ in groups], rows, each)
    return [found[name] for name in order if name in found][:MOST_SPREADS]


# ------------------------------------------------------------------------------------- charts


def column_charts(found: ColumnFindings, key: str) -> list[Chart]:
    """Return a chart of the columns' importance, and one of errors by each column's categories."""
    names, values = list(found.importance), list(found.importance.values())
    rise = f"rise of the {found.measure}"
    note = (
        f"By how much the {found.measure} rises if a column's cells are shuffled among "
        f"{found.rows:,} {found.part} rows; mean of {PERMUTATIONS} shuffles. Columns that say the "
        "same stand in for each other, and each of them seems to matter less."
    )
    if len(names) > MOST_BARS:
        note += f" The {MOST_BARS} that matter most of {len(names):,} are drawn."
    charts = [
        ranking(
            f"{key}-importance",
            "Which columns matter",
            names,
            values,
            most=MOST_BARS,
            label=rise,
            columns=("column", rise),
            rows=list(zip(names, values, strict=True)),
            texts=list(map(number_text, values)),
            description=f"Bar chart of {plural(len(names), 'column')}. The most important is "
            f"{names[0]}, whose shuffling makes the {found.measure} rise by {values[0]:.4g}.",
            note=note,
        )
    ]
    for number, spread in enumerate(found.spreads):
        worst = int(np.argmax(spread.errors))
        charts.append(
            ranking(
                f"{key}-errors-{number}",
                f"Errors by {spread.column}",
                spread.categories,
                spread.errors,
                most=MOST_BARS + 1,
                label=found.spread_measure,
                columns=("category", "rows", found.spread_measure),
                rows=list(zip(spread.categories, spread.rows, spread.errors, strict=True)),
                texts=[plural(count, "row") for count in spread.rows],
                reference=found.overall,
                description=f"Bar chart of {plural(len(spread.categories), 'category')}. The error "
                f"is largest for {spread.categories[worst]}: {spread.errors[worst]:.4g}, on "
                f"{plural(spread.rows[worst], 'row')}.",
                note=f"On the {found.spread_part} part; the line is the error of all its rows, "
                f"{number_text(found.overall)}. Categories with the most rows come first.",
            )
        )
    return charts
