"""Tables with a row for each competitor and a group of rows for each network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks import verdict
from benchmarks.catalogue import SUBJECTS
from benchmarks.table import number, table, times

Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], str]]


def listing(
    rows: Sequence[Row], columns: Sequence[Column], compared: Sequence[tuple[str, str]]
) -> str:
    """Return the table.

    Parameters
    ----------
    rows : sequence of mapping
        With "cell" and "competitor".
    columns : sequence of (str, callable)
        Each a title, and what to show of a row.
    compared : sequence of (str, str)
        Each a title and the key whose ratio to each subject's gets a column.
    """
    subjects = [name for name in SUBJECTS if any(row["competitor"] == name for row in rows)]
    head = ["", "competitor", *(title for title, _ in columns)]
    head += [f"{title} / {subject}" for title, _ in compared for subject in subjects]
    body, last = [], None
    for row in rows:
        line = ["" if row["cell"] == last else row["cell"], row["competitor"]]
        line += [show(row) for _, show in columns]
        for _, key in compared:
            for subject in subjects:
                own = next(
                    (r for r in rows if (r["cell"], r["competitor"]) == (row["cell"], subject)), {}
                )
                line.append(times(verdict.ratio(row.get(key), own.get(key))))
        body.append(line)
        last = row["cell"]
    return table(head, body)


def plain(key: str, scale: float = 1.0) -> Callable[[Row], str]:
    """Return a function that shows a number of a row, "-" if it is not there."""
    return lambda row: number(None if row.get(key) is None else scale * row[key])


def marked(key: str, scale: float = 1.0) -> Callable[[Row], str]:
    """Return the same for a figure that is marked if no turn was quiet."""
    show = plain(key, scale)
    return lambda row: ("" if row["quiet"] or row.get(key) is None else "~") + show(row)
