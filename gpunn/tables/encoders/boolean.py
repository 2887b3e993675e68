"""Columns of Booleans, encoded as the codes 2 for true and 1 for false."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gpunn.rows.cells import Markers, boolean_text
from gpunn.tables.columns import Column
from gpunn.tables.encoders.base import CSource, Rows, wrong_cell
from gpunn.tables.encoders.category import Category, encode_category
from gpunn.tables.onnx_nodes import Value
from gpunn.tables.remarks import is_marker
from gpunn.tables.table import Cells, Coded

BOOLEANS = ("False", "True")


def encode_boolean(
    column: dict[str, Any], cell: str, row: list[float], scaled: Callable[..., float]
) -> None:
    """Set the code: 2 for true, 1 for false, and 0 if the cell is missing or unknown."""
    encode_category(column, boolean_text(cell), row, scaled)


class Boolean(Category):
    name = "boolean"
    cell = staticmethod(encode_boolean)
    field = "int "

    def accepts(self, cells: Cells, markers: Markers) -> bool:
        if isinstance(cells, np.ndarray):
            return cells.dtype.kind == "b"
        values = [value for value in cells.values if not is_marker(value, markers)]
        return bool(values) and all(map(is_boolean, values))

    def named(self, cells: Coded, markers: Markers) -> list[str | None]:
        texts = super().named(cells, markers)
        return [None if text is None else boolean_text(text) for text in texts]

    def learn(self, rows: Rows) -> tuple[Column, Mapping[str, np.ndarray]]:
        column, none = super().learn(rows)
        return replace(column, categories=BOOLEANS), none

    def doubts(
        self, rows: Rows, cells: Coded, texts: list[str | None]
    ) -> tuple[list[str], bool, bool]:
        known = (None, *BOOLEANS)
        others = [number for number, text in enumerate(texts) if text not in known]
        if others:
            raise wrong_cell(rows.table, rows.name, cells, others, "expected true or false")
        return [], False, False

    def code_nodes(self, column: Column, cells: Value) -> Any:
        codes = [(cells == number).astype("int64") * (number + 1) for number in (0, 1)]
        return codes[0] + codes[1]

    def c(self, described: Mapping[str, Any], cell: str, source: CSource) -> str:
        no, yes = (described["codes"][text] for text in BOOLEANS)
        choice = f"{cell} == 1 ? {yes} : {cell} == 0 ? {no} : 0"
        return f"input[{described['places']['']}] = {choice};\n"


def is_boolean(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().casefold() in ("true", "false")
    return isinstance(value, (bool, np.bool_))
