"""Published tables with mixed columns, unchanged: with text, missing values and oddities."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np


class PublishedTable(NamedTuple):
    """How a published file is read: its name and the target column.

    `classes`: whether the target is a class. `drop`: columns that are no inputs, such as row
    numbers or parts of the target. `logarithm`: whether log(1 + target) is predicted. `scores`: the
    metrics. `dates`: columns of dates, as text.
    """

    file: str
    target: str
    classes: bool
    drop: tuple[str, ...] = ()
    logarithm: bool = False
    scores: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()


RMSE, CLASSES = ("rmse",), ("accuracy", "auc", "log_loss", "calibration_error")

TABLES = {
    "diamonds": PublishedTable("diamonds.csv", "price", False, scores=RMSE),
    "electricity": PublishedTable(
        "electricity.csv", "class", True, ("Unnamed: 0",), scores=CLASSES
    ),
    "credit risk": PublishedTable("credit_risk.csv", "loan_status", True, scores=CLASSES),
    "Ames": PublishedTable("ames.tsv", "SalePrice", False, ("Order", "PID"), True, RMSE),
    "dry beans": PublishedTable("dry_beans.csv", "Class", True, scores=CLASSES),
    "bike sharing": PublishedTable(
        *("bike_sharing.csv", "count", False, ("casual", "registered"), True, RMSE, ("datetime",))
    ),
    "mushroom": PublishedTable("mushroom.csv", "class", True, scores=CLASSES),
    "heart": PublishedTable("heart_2020.csv.gz", "HeartDisease", True, scores=CLASSES),
}

FILES = ", ".join(f"{name} ({each.file})" for name, each in TABLES.items())

PARTS_OF_DATES = ("year", "month", "day", "dayofweek", "hour")


class Parts(NamedTuple):
    """The splits of a table; each is a data frame and its targets.

    Classes are integers from 0. Targets of regressions are in standard deviations over all rows, or
    logarithms.
    """

    train: tuple[Any, np.ndarray]
    validation: tuple[Any, np.ndarray]
    test: tuple[Any, np.ndarray]


def found_in(folder: Path, name: str, file: str) -> Path | None:
    for path in (folder / file, folder / "tables" / file):
        if path.exists():
            return path
    click.echo(f"left out: {name} ({file} is missing)", err=True)
    return None


def tables_in(folder: Path, only: list[str] | None) -> Iterator[tuple[str, Path]]:
    for name, source in TABLES.items():
        if (only is None or name in only) and (path := found_in(folder, name, source.file)):
            yield name, path


def read(name: str, path: Path) -> tuple[Any, np.ndarray]:
    import pandas as pd

    source = TABLES[name]
    frame = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")
    frame = frame.drop(columns=list(source.drop))
    target = frame.pop(source.target)
    if source.classes:
        return frame, np.unique(target, return_inverse=True)[1].astype(np.int64)
    y = target.to_numpy(float)
    return frame, np.log1p(y) if source.logarithm else y / y.std()


def without_dates(name: str, frame: Any) -> Any:
    import pandas as pd

    for column in TABLES[name].dates:
        times = pd.to_datetime(frame[column]).dt
        parts = {f"{column} {part}": getattr(times, part) for part in PARTS_OF_DATES}
        frame = frame.drop(columns=column).assign(**parts)
    return frame


def split(
    rows: np.ndarray, labels: np.ndarray | None, seed: int, size: float = 0.2
) -> tuple[np.ndarray, np.ndarray]:
    """Return 80 % and 20 % of the indices of rows, the same ones for a seed."""
    from sklearn.model_selection import train_test_split

    stratify = None if labels is None else labels[rows]
    kept, held = train_test_split(rows, test_size=size, random_state=seed, stratify=stratify)
    return kept, held


def parts_of(name: str, path: Path, seed: int = 0, rows: int | None = None) -> Parts:
    """Return the parts. With `rows`, only so many rows, drawn by the seed, are not for testing."""
    frame, y = read(name, path)
    labels = y if TABLES[name].classes else None
    rest, test = split(np.arange(len(y)), labels, seed if rows is None else 0)
    if rows is not None:
        _, rest = split(rest, labels, seed, rows)
    train, validation = split(rest, labels, seed)
    parts = ((frame.iloc[rows], y[rows]) for rows in (train, validation, test))
    return Parts(*parts)
