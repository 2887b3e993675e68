"""A predictor makes of a table's cells what the schema makes of them."""

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn.errors import DataError
from gpunn.experiment.streams import RowsOfCells
from gpunn.interchange.predictor.python_source import python_source
from gpunn.layers import Dropout
from gpunn.tables import Schema
from gpunn.tables.files import read_table

NUMBERS = ["1", "2.5", "-3", "1e3", "", "NA", "?", " 7 ", "+4", ".5", "5.", "nan", "NULL", "1e-310"]
NUMBERS += ["999", "1E2", "0x1", "1_0", "inf", "12345678901234567890"]
TEXTS = [
    "7",
    "07",
    "+7",
    "7.00",
    "-nan",
    "1.0",
    "a",
    "A",
    "",
    "NA",
    " b ",
    "1.0",
    "2",
    "é",
    "'=1",
    "=1",
    "yes",
    "true",
    "1e400",
    "nan",
]
CODES = ["0999", "+999", "007", "12", "0013", "", "?", "7.0", "3"]
BOOLEANS = ["1.0", "01", "yes", "no", "y", "N", "TRUE", "false", "1", "0", "", "NA", "T"]
DATES = ["999", "2020-01-31", "2021/02/28", "2020-12-31 23:59:59", "2019-07-01T00:30", "", "NaT"]
DATES += ["2020-02-30", "2020-W01-1", "20200101", "2020-05-05 10:00:00+02:00", "2020-01-01 01"]
DATES += ["2020-06-07 01:02:03.5", "2021-11-11T11:11:11Z"]
KINDS = {"n": NUMBERS, "t": TEXTS, "c": CODES, "b": BOOLEANS, "d": DATES}


def write(path: Path, kinds: list[str], rows: int, delimiter: str, draw: random.Random) -> None:
    columns = []
    for kind in kinds:
        some = draw.sample(KINDS[kind], k=draw.randint(2, 6))
        columns.append([draw.choice(some) for _ in range(rows)])
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow([f"{kind}{place}" for place, kind in enumerate(kinds)])
        writer.writerows(zip(*columns, strict=True))


def drawn(folder: Path, draw: random.Random) -> tuple[Schema, str] | None:
    """Return the schema of a random table, and its delimiter."""
    kinds = [draw.choice("nntcbd") for _ in range(draw.randint(1, 4))]
    delimiter = draw.choice(",;\t")
    codes = [f"{kind}{place}" for place, kind in enumerate(kinds) if kind == "c"]
    write(folder / "a.csv", kinds, 24, delimiter, draw)
    write(folder / "b.csv", kinds, 8, delimiter, draw)
    try:
        schema = Schema.fit(
            read_table(folder / "a.csv", text=codes, delimiter=delimiter),
            columns=dict.fromkeys(codes, "category"),
            missing_values=draw.choice([(), ("999",)]),
            scaling=draw.choice(["robust", "quantile", "standard", "none"]),
        )
    except DataError:  # no column is left, or a number is infinite
        return None
    return schema, delimiter


def predictor_of(schema: Schema) -> dict[str, Any]:
    """Return the names in the file of a network that does nothing but encode."""
    model = gpunn.Sequential([Dropout(0.1)], schema.width, "numpy", dtype="float64")
    model.schema = schema
    predictor: dict[str, Any] = {"__name__": "predictor"}
    exec(compile(python_source(model, pure=True), "predictor.py", "exec"), predictor)
    return predictor


def rows_in(text: str, predictor: dict[str, Any], delimiter: str = ",") -> list[list[str]]:
    """Return the cells of rows, as the predictor reads them."""
    layout = predictor["MODEL"]["input"] | {"delimiter": delimiter}
    lines = predictor["Lines"]([text.encode()])
    return [cells for _, cells in predictor["cells_of_csv"](lines, layout, predictor["refused"])]


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.filterwarnings("ignore::gpunn.errors.GpunnWarning")
def test_random_tables(tmp_path, seed):
    """Cells of each kind, in odd spellings: the same numbers, or an error, row by row.

    So do `gpunn predict`, which knows the schema and reads a stream, and whoever reads a whole
    file, with categories as text.
    """
    draw = random.Random(seed)
    while (found := drawn(tmp_path, draw)) is None:
        pass
    schema, delimiter = found
    predictor = predictor_of(schema)
    for name in ("a.csv", "b.csv"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        rows = rows_in(text, predictor, delimiter)
        encoded = []
        for row in rows:
            counts: dict[tuple[str, str | None], int] = {}
            try:
                expected, findings = schema.encode_and_find(RowsOfCells(schema, [row]), "float64")
            except DataError:
                with pytest.raises(ValueError, match=r"column "):
                    predictor["encoded"]([row])
                continue
            encoded += predictor["encoded"]([row], counts)
            np.testing.assert_allclose(encoded[-1], expected[0], 1e-12, 1e-12)
            known = {(column, None): count for column, count in findings.missing.items()}
            for column, texts in findings.unknown.items():
                known |= {(column, each): count for each, count in texts.items()}
            assert counts == known
        if len(encoded) < len(rows):
            continue
        texts = [column.name for column in schema.columns if column.kind in ("category", "boolean")]
        table = read_table(tmp_path / name, text=texts, delimiter=delimiter)
        np.testing.assert_allclose(encoded, schema.encode(table, "float64"), 1e-12, 1e-12)


def test_categories_that_are_the_same_number_go_by_their_text():
    """Whatever rows come with them: what a column is says the schema."""
    schema = Schema.fit({"code": ["2", "02", "x", "2.0"] * 6})
    expected = {"02": 1, "2": 2, "2.0": 3, "2.00": 0, "x": 4, "y": 0}
    predictor = predictor_of(schema)
    for text, code in expected.items():
        rows = [[text], ["2"]]
        assert schema.encode_and_find(RowsOfCells(schema, rows))[0].tolist() == [[code], [2]]
        assert predictor["encoded"](rows) == [[code], [2]]


def test_columns_without_names_go_by_their_order():
    schema = Schema.fit([[1.0, 5.0], [2.0, 7.0], [4.0, 8.0]])
    predictor = predictor_of(schema)
    rows = rows_in("1.5,6\n3,9\n", predictor)
    expected = schema.encode([[1.5, 6.0], [3.0, 9.0]], "float64")
    np.testing.assert_allclose(predictor["encoded"](rows), expected, 1e-12)
    with pytest.raises(ValueError, match="expected 2 columns; got 3"):
        rows_in("1,2,3\n", predictor)
