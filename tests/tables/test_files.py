"""Tables from files: cells, their types, and the messages for damaged files."""

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gpunn.errors import (
    ArgumentError,
    DataError,
    DataFileError,
    MissingPackageError,
)
from gpunn.tables import Schema, files, read_table

TABLES = Path(os.environ.get("GPUNN_DATA", "")) / "tables"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.csv"


def cells(table, name):
    column = table.column(name)
    if isinstance(column, np.ndarray):
        return column.tolist()
    return [column.values[code] for code in column.codes]


@pytest.mark.parametrize(
    ("text", "options", "columns"),
    [
        ("a,b\n1,x\n2,y\n", {}, {"a": [1, 2], "b": ["x", "y"]}),
        ('a;b\n"1";"x;y"\n2;z', {}, {"a": [1, 2], "b": ["x;y", "z"]}),
        ("a\tb\n1\t x \n2\ty\n\n", {}, {"a": [1, 2], "b": ["x", "y"]}),
        ("a|b\n1|x,y\n2|z\n", {}, {"a": [1, 2], "b": ["x,y", "z"]}),
        ("a\n1\n2\n", {}, {"a": [1, 2]}),
        ("a,\n1,x\n2,y\n", {}, {"a": [1, 2], "Unnamed: 1": ["x", "y"]}),
        ("1,2\n3,4\n", {}, {"0": [1, 3], "1": [2, 4]}),
        ("a;b\n1,5;1.5\n2;-2\n", {}, {"a": [1.5, 2], "b": [1.5, -2]}),
        ("a;b\n1,5;1,5\n2.5;x\n", {}, {"a": ["1,5", "2.5"], "b": ["1,5", "x"]}),
        ('a,b\n"1,5",2\n"2,5",3\n', {}, {"a": ["1,5", "2,5"], "b": [2, 3]}),
        ("a;b\n1.234,5;1\n2;2\n", {}, {"a": ["1.234,5", "2"], "b": [1, 2]}),
        ("a,b\n1_000,1e3\n2,-.5\n", {}, {"a": ["1_000", "2"], "b": [1000, -0.5]}),
        ('a,b\n"1,5",2\n"2,5",3\n', {"decimal": ","}, {"a": [1.5, 2.5], "b": [2, 3]}),
        ("a;b\n1,5;2\n", {"decimal": "."}, {"a": ["1,5"], "b": [2]}),
        ("a\n+7\n8\n", {"text": ["a"]}, {"a": ["+7", "8"]}),
        ("a,b\n+7,x\n", {"header": False}, {"0": ["a", "+7"], "1": ["b", "x"]}),
        ("a,b\n+7,x\n", {"delimiter": ";"}, {"a,b": ["+7,x"]}),
    ],
    ids=repr,
)
def test_cells(text, options, columns, path):
    path.write_bytes(text.encode())
    table = read_table(path, **options)
    assert table.names == tuple(columns)
    for name, expected in columns.items():
        assert cells(table, name) == expected


COMMA = "'1,000' was read as 1; if its comma separates thousands, remove such separators"
POINT = "'1.250' was read as 1.25; if its point separates thousands, remove such separators"


@pytest.mark.parametrize(
    ("text", "options", "doubts"),
    [
        ("a;b\n999;1\n1,000;2\n", {}, {"a": COMMA}),
        ("a;b\n1,000;2.5\n2,000;3.5\n", {}, {"a": COMMA}),
        ("a;b\n1.250;2,5\n12.000;3\n", {}, {"a": POINT}),
        ("a;b\n1.250;2\n12.000;3\n", {"decimal": ","}, {"a": POINT}),
        ("a;b\n1,000;2,5\n2,000;1,25\n", {}, {}),
        ("a;b\n1,000;2\n0,500;3\n", {}, {}),
        ("a;b\n1,000;2\n1,5;3\n", {}, {}),
        ("a;b\n1.250;2\n12.000;3\n", {}, {}),
        ("a;b\n1,000;2\nx;3\n", {}, {}),
        ("a,b\n1.250,2\n12.000,3\n", {}, {}),
        ('a,b\n"1,000",2\n"2,000",3\n', {"decimal": ","}, {}),
    ],
    ids=repr,
)
def test_marks_that_may_separate_thousands(text, options, doubts, path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_CELLS", 2)  # a row
    path.write_text(text)
    table = read_table(path, **options)
    assert table.doubts == doubts
    assert Schema.fit(table).problems == [f"{name}: {text}" for name, text in doubts.items()]
    assert Schema.fit(table.take([1, 0]), columns=dict.fromkeys(doubts, "number")).problems == []


NO_NAMES = (
    "this name is a number; if the first row has no column names, set header=False (--no-header)"
)


@pytest.mark.parametrize(
    ("text", "options", "doubts"),
    [
        ("x,5.1,y\nz,2,y\n", {}, {"5.1": NO_NAMES}),
        ("39,x,13\n40,y,14\n", {}, {"39": NO_NAMES}),
        ("x,2019,2020\ny,1,2\n", {}, {}),
        ("x,5.1,y\nz,2,y\n", {"header": True}, {}),
        ("x,5.1,y\nz,2,y\n", {"header": False}, {}),
        ("5\n6\n", {}, {}),
    ],
    ids=str,
)
def test_names_that_may_be_cells(text, options, doubts, path):
    path.write_text(text)
    assert read_table(path, **options).doubts == doubts


def test_integers_that_are_rounded(path):
    path.write_text(f"a,b,c\n{2**53 + 1},{2**53},{2**60}.0\n1,2,3\n")
    read = read_table(path)
    assert Schema.fit(read).problems == [
        "a: 9007199254740993 was read as 9007199254740992, since numbers of 2^53 and more are "
        "rounded; if the column contains codes, make it a category"
    ]


def test_missing_cells(path):
    path.write_text("a,b,c\n1,x,\n?,?,\nna,, \n-,-,\n")
    table = read_table(path, missing_values=["-"])
    assert np.array_equal(table.column("a"), [1, *[np.nan] * 3], equal_nan=True)
    assert np.isnan(table.column("c")).all()
    schema = Schema.fit(table, missing_values=["-"])
    assert [column.missing for column in schema.columns] == [3, 3, 4]


def test_columns_that_turn_out_late_to_be_text(path, monkeypatch):
    """The file is read again only for them; cells that spell numbers keep their spelling."""
    monkeypatch.setattr(files, "BLOCK_CELLS", 8)
    rows = [(f"{number:03}", f"{number}", "u" if number < 9 else "1") for number in range(20)]
    rows[15] = ("x", "15", "u")
    path.write_text("a,b,c\n" + "".join(",".join(row) + "\n" for row in rows))
    table = read_table(path)
    assert cells(table, "a") == [row[0] for row in rows]
    assert cells(table, "b") == list(range(20))
    assert cells(table, "c") == [row[2] for row in rows]


def test_messages_name_the_line(path):
    path.write_text('a,b\n1,"x\ny"\n\ninf,z\n')
    with pytest.raises(DataError, match=r"table\.csv: line 5, column 'a': expected a finite num"):
        Schema.fit(read_table(path))
    with pytest.raises(DataError, match=r"table\.csv: line 5, column 'a': expected a finite num"):
        Schema.fit(read_table(path).take([1, 0]))


@pytest.mark.parametrize(
    ("content", "options", "error", "problem"),
    [
        (b"", {}, DataFileError, "the file is empty"),
        (b"\n\n", {}, DataFileError, "the file is empty"),
        (b"a,b\n", {}, DataFileError, "there are no rows below the header"),
        (b"a,a\n1,2\n", {}, DataFileError, "columns 0 and 1, counted from 0, are both called 'a'"),
        (
            b"0,x,0\n1,y,2\n",
            {},
            DataFileError,
            r"are both called '0'; rename one of them; if the first row has no column names, set",
        ),
        (b"a,a\n1,2\n", {"header": True}, DataFileError, "called 'a'; rename one of them$"),
        pytest.param(
            b"1," * 100_001,
            {},
            DataFileError,
            "expected at most 100,000 columns; got 100,002",
            id="many columns",
        ),
        (b"a,b\n1,2\n", {"text": ["c"]}, ArgumentError, "text: there is no column 'c'; valid: 'a'"),
        (b"a,b\n1,2\n", {"delimiter": ""}, ArgumentError, "delimiter: expected one character"),
        (b"a,b\n1,2\n", {"decimal": ";"}, ArgumentError, "decimal: expected"),
        (b"a,b\n1,2\n", {"header": "no"}, ArgumentError, "header: expected True, False"),
        (b"a,b\n1,2\n", {"text": "a"}, TypeError, "text: expected a list of strings; got 'a'"),
        (b"a,b\n1,2\n", {"missing_values": "NA"}, TypeError, "missing_values: expected a list"),
        (b"a,b\n1,2\n", {"missing_values": [0]}, TypeError, "missing_values: expected a list"),
    ],
    ids=str,
)
def test_what_can_not_be_read(content, options, error, problem, path):
    path.write_bytes(content)
    with pytest.raises(error, match=problem):
        read_table(path, **options)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingPackageError, match=r"reading Parquet files needs .* 'pyarrow'"):
        read_table(tmp_path / "table.parquet")


def test_parquet(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"a": [1, None], "b": ["x", "y"]}
    path = tmp_path / "table.parquet"
    parquet.write_table(arrow.table(columns), path)
    assert Schema.fit(read_table(path)) == Schema.fit(columns)
    path.write_bytes(b"PAR1")
    with pytest.raises(DataFileError, match="not a readable Parquet file"):
        read_table(path)


CODES = {"ames.tsv": ("MS SubClass", "PID")}
"""Columns with codes such as 020, which pandas reads as numbers."""


@pytest.mark.parametrize("name", ["ames.tsv", "bike_sharing.csv", "mushroom.csv"])
def test_real_tables_are_read_as_pandas_reads_them(name):
    path = TABLES / name
    if not path.exists():
        pytest.skip(f"the variable GPUNN_DATA names no folder with tables/{name}")
    frame = pd.read_csv(
        path,
        sep="\t" if path.suffix == ".tsv" else ",",
        keep_default_na=False,
        na_values=["", "NA", "?"],
        dtype=dict.fromkeys(CODES.get(name, ()), str),
    )
    table = read_table(path)
    schema = Schema.fit(table)
    assert schema == Schema.fit(frame)
    assert np.array_equal(schema.encode(table), schema.encode(frame))
