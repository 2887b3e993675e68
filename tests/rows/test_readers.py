"""`load_csv`, `read_table` and streams read the same rows, with the same messages."""

import codecs
import gzip
from typing import Any

import numpy as np
import pytest

from gpunn.data import load_csv
from gpunn.errors import DataFileError
from gpunn.rows.cells import Markers, date_of, finite_number
from gpunn.rows.lines import chunks_of
from gpunn.rows.predict_stream import predict_stream
from gpunn.tables import read_table

LAYOUT: dict[str, Any] = {"names": ["x", "y"], "positions": [0, 1], "width": None, "numeric": [0]}
LAYOUT |= {"header": None, "delimiter": None, "decimal": None}

ROWS = b"x,y\n1,p\n2.5,q\n"

ZIPPED = gzip.compress(ROWS)


def from_csv(path):
    data = load_csv(path, "y", features=["x"])
    return data.X.ravel().tolist(), [data.classes[code] for code in data.y]


def from_table(path):
    table = read_table(path)
    texts = table.column("y")
    return table.column("x").tolist(), [texts.values[code] for code in texts.codes]


def from_stream(path):
    rows: list[list[str]] = []

    def answered(block):
        return block, {}

    def written(form):
        return rows.extend

    with open(path, "rb") as file:
        try:
            predict_stream(chunks_of(file), LAYOUT, "csv", answered, written, print, False)
        except ValueError as error:
            raise DataFileError(f"{path}: {error}") from error
    return [float(x) for x, _ in rows], [y for _, y in rows]


READERS = pytest.mark.parametrize("reader", [from_csv, from_table, from_stream])


@READERS
@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        codecs.BOM_UTF8 + ROWS,
        ROWS.replace(b"\n", b"\r\n"),
        ROWS.replace(b"\n", b"\r"),
        ROWS[:-1],
        b"\n \n" + ROWS.replace(b"\n", b"\n\n   \n"),
        ROWS.replace(b",", b" , "),
        b'"x", "y"\n"1", "p"\n "2.5","q"\n',
        b"note,y,x\n,p,1\n,q,2.5\n",
        ZIPPED,
        gzip.compress(ROWS[:5]) + gzip.compress(ROWS[5:]) + b"\0" * 1000,
    ],
    ids=str,
)
def test_dialects(tmp_path, reader, content):
    (tmp_path / "a.csv").write_bytes(content)
    assert reader(tmp_path / "a.csv") == ([1.0, 2.5], ["p", "q"])


@READERS
@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ('"p,\nq"', "p,\nq"),
        ('"p ""q"""', 'p "q"'),
        ("p\x0b\u2028q", "p\x0b\u2028q"),
        ("日本", "日本"),
    ],
)
def test_cells_of_text(tmp_path, reader, cell, text):
    (tmp_path / "a.csv").write_text(f"x,y\n1,{cell}\n2,z\n", newline="")
    assert reader(tmp_path / "a.csv")[1] == [text, "z"]


WIDTH = "expected 2 cells, as in the first row; got "


@READERS
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"x,y\n1,p\n1,p,3\n", f"line 3: {WIDTH}3; is ',' the right delimiter?"),
        (b"x,y\n1,p\n\n1\n", f"line 4: {WIDTH}1; is ',' the right delimiter?"),
        (b'x,y\n1,"p\nq"\n2,"p\n3,q\n', "line 4: the row that begins here has an unclosed"),
        (b'x,y\n1,"p"q\n', "line 2: text follows a closing quotation mark (',' expected"),
        (b"x,y\n" + b"1,p\n" * 9999 + b"1,caf\xe9\n", "expected text in UTF-8; got the byte 0xe9"),
        ("x,y\n1,p\n".encode("utf-16"), "expected text in UTF-8; got UTF-16; save it as UTF-8"),
        (b"PK\x03\x04\x14\0\xad", "expected text; got a ZIP archive, such as an XLSX file; save"),
        (ZIPPED[:-9], "the gzip stream is incomplete; download or copy it again"),
        (ZIPPED + b"junk", "the gzip stream is damaged (Error -3 while decompressing data:"),
        (gzip.compress((1023 * b" " + b"\n") * 2**15), "the gzip stream expands to more than 200"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_damaged_files(tmp_path, reader, content, problem):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataFileError) as raised:
        reader(tmp_path / "a.csv")
    assert problem in str(raised.value)
    assert str(raised.value).startswith(f"{tmp_path / 'a.csv'}: ")


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("1,5;2,5\n3,5;4,5\n", ["0", "1"], [[1.5, 3.5], [2.5, 4.5]]),
        ("a;b\n1,5;2,5\n", ["a", "b"], [[1.5], [2.5]]),
        ("1,2;3\n4,5;6\n", ["0", "1"], [[1.2, 4.5], [3, 6]]),
        ("a,b;c\n1,2;3\n", ["a", "b;c"], [[1], ["2;3"]]),
    ],
)
def test_delimiters_are_found(tmp_path, text, names, rows):
    (tmp_path / "a.csv").write_text(text)
    table = read_table(tmp_path / "a.csv")
    assert [*table.names] == names
    for name, cells in zip(names, rows, strict=True):
        column = table.column(name)
        assert (column.tolist() if isinstance(column, np.ndarray) else column.values) == cells


@pytest.mark.parametrize("cell", ["x", "inf", "nan", "1_0", "-999", "-999.0", ""])
def test_numbers_that_are_refused(cell):
    with pytest.raises(ValueError, match=f"^column 'a': expected a finite number; got '{cell}'"):
        finite_number(cell, "a", [-999.0])


def test_markers_of_missing_values():
    markers = Markers.of(["-999", "1900-01-01"])
    assert [
        text in markers for text in ("na", "-999.0", "-9.99e2", "1900-01-01", "999", "none")
    ] == [
        *[True] * 4,
        *[False] * 2,
    ]
    assert "007" not in Markers.of(["7"])
    assert Markers.of(["7"]).is_missing_number("007")
    assert date_of(" 2026/05/31 14:30 ").isoformat() == "2026-05-31T14:30:00"
    assert date_of("2026-05-31T14:30+02:00").isoformat() == "2026-05-31T14:30:00"
    assert [date_of(text) for text in ("20260531", "2026-02-30", "31.05.2026", "")] == [None] * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("December 26th, 2013", "2013-12-26T00:00:00"),
        (" 26 Dec 2013", "2013-12-26T00:00:00"),
        ("26-DEC-2013", "2013-12-26T00:00:00"),
        ("Sept. 1st 2013 14:30", "2013-09-01T14:30:00"),
        ("3 may, 2013", "2013-05-03T00:00:00"),
        ("29 Feb 2013", None),
        ("26 De 2013", None),
        ("26 Dec 13", None),
        ("Dec 2013", "2013-12-01T00:00:00"),
        ("2013-q4", "2013-10-01T00:00:00"),
        ("2013Q3", "2013-07-01T00:00:00"),
        ("Q2 2013", "2013-04-01T00:00:00"),
        ("q1-2013", "2013-01-01T00:00:00"),
        ("Q5 2013", None),
        ("Q1 13", None),
        ("5551Q2", None),
        ("2013/02", "2013-02-01T00:00:00"),
        ("5551-02", None),
        ("Dec 13", None),
        ("Room 26, 2013", None),
        ("\u0663 Dec 2013", None),
        ("26 Dec 2013 or 2014", None),
    ],
)
def test_dates_with_named_months(text, expected):
    date = date_of(text)
    assert (None if date is None else date.isoformat()) == expected
