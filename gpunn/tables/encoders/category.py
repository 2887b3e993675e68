"""Columns of categories, which are encoded as codes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from gpunn.meaning import plural
from gpunn.rows.cells import Markers, is_code, number_of
from gpunn.tables.cells import category_names, coded, other_spelling, spellings
from gpunn.tables.columns import Column, Kind
from gpunn.tables.encoders.base import CSource, Encoded, Encoder, GraphRows, Rows
from gpunn.tables.features import Feature, Group
from gpunn.tables.onnx_nodes import Value, concatenate
from gpunn.tables.remarks import FEW, Remarks, remarks_on_categories
from gpunn.tables.table import Cells, Coded, Table
from gpunn.tables.unseen_values import UnseenValues

ML = "ai.onnx.ml"
"""Name of ONNX's set of operators (domain) for machine learning on tables."""

MANY_CATEGORIES = 1000

CODES = (
    "{!r:.40} begins with 0, so the values are treated as codes; if they are numbers, make the "
    "column a number (--column NAME=number)"
)


def encode_category(
    column: dict[str, Any], cell: str, row: list[float], scaled: Callable[..., float]
) -> None:
    row[column["places"][""]] = column["codes"].get(cell, 0)


class Category(Encoder):
    """Columns of text, encoded as the codes 1, 2, ... of the categories in the training rows."""

    name: ClassVar[Kind] = "category"
    cell = staticmethod(encode_category)
    field = "const char *"

    def accepts(self, cells: Cells, markers: Markers) -> bool:
        return True

    def named(self, cells: Coded, markers: Markers) -> list[str | None]:
        return category_names(cells.values, markers)

    def learn(self, rows: Rows) -> tuple[Column, Mapping[str, np.ndarray]]:
        cells = coded(rows.table.column(rows.name))
        texts = self.named(cells, rows.markers)
        doubts, is_other, is_unique = self.doubts(rows, cells, texts)
        occurring = {text for text in texts if text is not None}
        present = int(cells.take(are_named(texts), False).sum())
        remarks = Remarks(rows.name, len(cells) - present, len(cells))
        constant, count = len(occurring) <= 1, len(occurring)
        if is_unique and not constant:
            remarks.drop_because("every row has a different value, like an identifier")
        elif not is_other and (count > MANY_CATEGORIES or (count >= FEW and count > present / 2)):
            remarks.add(
                f"{count:,} categories in {present:,} rows: if the column is an identifier, drop it"
            )
        dropped = remarks.drop(constant)
        if not dropped:  # doubts quote cells; a model's file must hold no cells of dropped columns
            for doubt in doubts:
                remarks.add(doubt)
        column = Column(
            name=rows.name,
            kind=self.name,
            categories=() if dropped else tuple(sorted(occurring)),
            missing=len(cells) - present,
            constant=constant,
            dropped=dropped,
            doubtful=is_other and not dropped,
            reported=remarks.text,
        )
        return column, {}

    def doubts(
        self, rows: Rows, cells: Coded, texts: list[str | None]
    ) -> tuple[list[str], bool, bool]:
        """Return remarks and two Booleans: (1) most values are not text, (2) all values differ."""
        if cells.categorical or rows.chosen:
            return [], False, False
        if rows.every is not rows.table:
            cells = coded(rows.every.column(rows.name))
            texts = self.named(cells, rows.markers)
        remarks, is_other = remarks_on_categories(rows.every, rows.name, cells, texts, rows.markers)
        code = next((text for text in texts if text is not None and is_code(text)), None)
        if code is not None and not remarks:  # a remark means other text
            remarks.append(CODES.format(code))
        present = int(cells.take(are_named(texts), False).sum())
        all_differ = present >= FEW and len(set(texts) - {None}) == present
        return remarks, is_other, all_differ and not is_other

    def features(self, column: Column) -> list[Feature]:
        return [Feature(column.name, "", Group.CODE)]

    def becomes(self, column: Column) -> str:
        return plural(len(column.categories), "category")

    def encode(
        self, column: Column, table: Table, markers: Markers, unseen: UnseenValues
    ) -> Iterator[Encoded]:
        cells = coded(table.column(column.name))
        codes = self.codes(column, cells, markers, unseen)
        yield Encoded([Feature(column.name)], cells.take(codes, 0))

    def codes(
        self, column: Column, cells: Coded, markers: Markers, unseen: UnseenValues
    ) -> np.ndarray:
        texts = self.named(cells, markers)
        if not column.missing:
            gaps = cells.take(~are_named(texts), True)
            if gaps.any():
                unseen.missing[column.name] = int(gaps.sum())
        known = {text: code for code, text in enumerate(column.categories, 1)}
        codes = np.array([known.get(text, 0) for text in texts], dtype=np.int64)  # type: ignore[arg-type]
        others = {
            index: text for index, text in enumerate(texts) if text is not None and not codes[index]
        }
        if others:
            # A number that is not text matches any spelling of a category, such as "7.0" for 7.
            ordered = reversed(known.items())
            spelt = {number_of(text): code for text, code in ordered if not is_code(text)}
            spelt.pop(None, None)
            for index, text in list(others.items()):
                if isinstance(cells.values[index], str):
                    code = known.get(other_spelling(text) or "")
                else:
                    code = spelt.get(number_of(text))
                if code is not None:
                    codes[index] = code
                    del others[index]
            unseen.note_unknown(column.name, cells, others)
        return codes

    def nodes(self, columns: Sequence[Column], rows: GraphRows) -> Iterator[Encoded]:
        codes = [self.code_nodes(column, rows.inputs[column.name]) for column in columns]
        features = [Feature(column.name) for column in columns]
        yield Encoded(features, concatenate(codes).astype("float64"))

    def code_nodes(self, column: Column, cells: Value) -> Any:
        known = spellings(column.categories) or {"": 0}
        return cells.node(
            "LabelEncoder",
            cells,
            dtype="int64",
            domain=ML,
            keys_strings=list(known),
            values_int64s=list(known.values()),
            default_int64=0,
        )

    def c(self, described: Mapping[str, Any], cell: str, source: CSource) -> str:
        codes = described["codes"]
        call = f"{source.name('code_of')}({cell}, names, codes, {len(codes)})"
        return (
            source.array("names", list(codes), f"column {described['name']!r}")
            + source.array("codes", list(codes.values()), "codes")
            + f"input[{described['places']['']}] = {call};\n"
        )


def are_named(texts: Sequence[str | None]) -> np.ndarray:
    return np.array([text is not None for text in texts], dtype=bool)
