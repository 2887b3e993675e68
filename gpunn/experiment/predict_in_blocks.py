"""Predicts the rows of a stream in blocks of a fixed size, for `gpunn predict`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gpunn.data.text_rows import numbers_of as spelled
from gpunn.network import Sequential
from gpunn.rows.cells import Markers, finite_number
from gpunn.tables import Schema, Table
from gpunn.tables.files import CellReader
from gpunn.tables.table import Cells

BLOCK = 64
"""Rows per block: fixed, so that a row's prediction does not depend on the rows around it."""

Counts: TypeAlias = dict[tuple[str, str | None], int]
Answer: TypeAlias = Callable[[list[list[str]]], tuple[np.ndarray, Counts]]


def answers(model: Sequential, layout: dict[str, Any]) -> Answer:
    """Return a function that computes the outputs of rows of cells.

    The function also counts the cells whose values are unseen in training.
    """
    schema = model.schema

    def answer(rows: list[list[str]]) -> tuple[np.ndarray, Counts]:
        counts: Counts = {}
        if not rows:
            X = np.zeros((0, *model.input_shape))
        elif schema is None:
            X = numbers_of(rows, layout).reshape(len(rows), *model.input_shape)
        else:
            X, findings = schema.encode_with_unseen(RowsOfCells(schema, rows), model.dtype)
            counts |= {(name, None): count for name, count in findings.missing.items()}
            for name, texts in findings.unknown.items():
                counts |= {(name, text): count for text, count in texts.items()}
        padding = np.zeros((-len(X) % BLOCK, *X.shape[1:]), X.dtype)
        return model.predict_encoded(np.concatenate([X, padding]), BLOCK)[: len(X)], counts

    return answer


def numbers_of(rows: list[list[str]], layout: dict[str, Any]) -> np.ndarray:
    names, missing = layout["names"] or layout["positions"], layout["missing"]
    numbers = spelled([cell for row in rows for cell in row])
    if numbers is not None and np.isfinite(numbers).all() and not np.isin(numbers, missing).any():
        return numbers
    return np.array(
        [
            [finite_number(cell, name, missing) for name, cell in zip(names, row, strict=True)]
            for row in rows
        ]
    )


class RowsOfCells(Table):
    def __init__(self, schema: Schema, rows: list[list[str]]) -> None:
        columns = [column for column in schema.columns if not column.dropped]
        cells = list(zip(*rows, strict=True))
        markers = Markers.of(schema.missing_values)

        def read(index: int) -> Cells:
            is_text = columns[index].kind != "number"
            reader = CellReader(markers, commas=False, is_text=is_text)
            reader.add(cells[index])
            return reader.finish()

        super().__init__([column.name for column in columns], len(rows), read)

    def place(self, name: str, row: int) -> str:
        """Name only the column, because the code that reads the stream adds the line number."""
        return f"column {name!r}"
