"""One table in the frames of several libraries, and stand-ins for those that are not installed."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from gpunn.errors import DataError
from gpunn.rows.cells import Markers
from gpunn.tables import Schema, table_of
from gpunn.tables.cells import dates_of
from gpunn.tables.table import Coded, dictionary_encoded

AGES = [31.0, None, 28.0, 45.0]
CITIES = ["Oslo", "Rome", None, "Oslo"]
MEMBERS = [True, False, True, True]
DAYS = [dt.datetime(2026, 1, day, 6 * day) for day in (1, 2, 3, 1)]
COLUMNS = {"age": AGES, "city": CITIES, "member": MEMBERS, "day": DAYS}


def pandas_frame():
    return pd.DataFrame(COLUMNS)


def nullable_frame():
    return pandas_frame().convert_dtypes()


def polars_frame():
    polars = pytest.importorskip("polars")
    return polars.DataFrame(COLUMNS)


def arrow_table():
    arrow = pytest.importorskip("pyarrow")
    return arrow.table(COLUMNS)


def records():
    return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]


def sparse_records():
    """Records in which a missing cell has no key."""
    return [{key: cell for key, cell in each.items() if cell is not None} for each in records()]


def structured_array():
    rows = list(zip([31, np.nan, 28, 45], CITIES, MEMBERS, DAYS, strict=True))
    types = [("age", "f8"), ("city", "O"), ("member", "?"), ("day", "M8[s]")]
    return np.array(rows, dtype=types)


def masked_columns():
    ages = np.ma.masked_array([31.0, 0.0, 28.0, 45.0], [False, True, False, False])
    return {**COLUMNS, "age": ages, "city": np.array(CITIES, object)}


FRAMES = [
    pandas_frame,
    nullable_frame,
    polars_frame,
    arrow_table,
    records,
    sparse_records,
    structured_array,
    masked_columns,
]


@pytest.mark.parametrize("make", FRAMES, ids=lambda make: make.__name__)
def test_every_library_gives_the_same(make):
    frame, expected = make(), Schema.fit(COLUMNS)
    assert [column.kind for column in expected.columns] == [
        "number",
        "category",
        "boolean",
        "datetime",
    ]
    assert Schema.fit(frame) == expected
    assert np.array_equal(expected.encode(frame), expected.encode(COLUMNS))


def test_categories_of_pandas_are_categories_even_if_they_are_numbers():
    frame = pd.DataFrame({"zone": pd.Categorical([3, 1, None, 3], categories=[1, 2, 3])})
    (column,) = Schema.fit(frame).columns
    assert (column.kind, column.categories, column.missing) == ("category", ("1", "3"), 1)


@pytest.mark.parametrize("kind", ["Categorical", "Enum"])
def test_categories_of_polars(kind):
    polars = pytest.importorskip("polars")
    dtype = polars.Categorical if kind == "Categorical" else polars.Enum(["a", "b", "c"])
    frame = polars.DataFrame({"x": polars.Series(["b", "a", None, "b"], dtype=dtype)})
    cells = table_of(frame).column("x")
    assert cells.categorical
    assert Schema.fit(frame).columns[0].categories == ("a", "b")


def test_dictionaries_of_pyarrow():
    arrow = pytest.importorskip("pyarrow")
    column = arrow.chunked_array([["b", "a"], [None, "b"]]).dictionary_encode()
    cells = table_of(arrow.table({"x": column})).column("x")
    assert cells.categorical
    assert [cells.values[code] if code >= 0 else None for code in cells.codes] == [*"ba", None, "b"]


class Frame:
    def __init__(self, columns):
        self.columns, self._columns = list(columns), columns

    def __len__(self):
        return len(next(iter(self._columns.values())))

    def __getitem__(self, name):
        return self._columns[name]


def test_a_frame_needs_only_names_a_length_and_columns():
    frame = Frame({"age": np.array([31, 28]), "city": np.array(["Oslo", "Rome"])})
    assert np.array_equal(Schema.fit(frame).encode(frame)[:, 1], [1, 2])


@pytest.mark.parametrize(
    ("array", "kinds"),
    [
        (np.array([[1.0, 2], [3, 5]]), ["number", "number"]),
        (np.array([["a", 1], ["b", 2.5]], object), ["category", "number"]),
        (np.array([["a", "1"], ["b", "2"]]), ["category", "number"]),
        ([["a", 1, None], ["b", True, 3]], ["category", "number", "number"]),
        ([(1, b"x"), (2, b"y")], ["number", "category"]),
    ],
)
def test_arrays_have_columns_by_number(array, kinds):
    table = table_of(array)
    assert not table.named
    assert table.names == tuple(str(number) for number in range(len(kinds)))
    assert [column.kind for column in Schema.fit(array).columns] == kinds


def test_arrays_of_other_libraries():
    strict = pytest.importorskip("array_api_strict")
    array = strict.asarray([[1.0, 2], [3, 5]])
    assert np.array_equal(table_of(array).column("1"), [2, 5])


class OnDevice:
    def __len__(self):
        return 2

    def __array__(self, *arguments, **options):
        raise TypeError("implicit conversion is not allowed")


class Lazy:
    columns = ("a", "b")


def test_default_labels_of_pandas_are_not_names():
    assert not table_of(pd.DataFrame([[1, 2]])).named
    assert table_of(pd.DataFrame([[1, 2]], columns=[2020, 2021])).names == ("2020", "2021")


def test_unused_columns_are_not_read():
    schema = Schema.fit({"age": AGES})
    assert schema.encode({"age": AGES, "photo": [[0, 1]] * 4}).shape == (4, 2)


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "columns 0 and 1.* are both called 'a'"),
        ({"a": [1], " ": [2]}, "column 1, counted from 0, has no name"),
        ({"a": [1], 3: [1], "3": [2]}, "columns 1 and 2.* are both called '3'"),
        ({"a\ud800": [1]}, "UTF-8 can't encode the name of column 0"),
        (
            {"a": [1, 2], "b": [3, 4], "c": [1]},
            "column 'a' has 2 rows, and column 'c' has 1; expected columns of equal length",
        ),
        ({"a": 3}, "column 'a': expected rows with a length; got 3; use a list"),
        ({"a": [1, [2], 3]}, r"row 1, column 'a': expected a number, text.*got a list: \[2\]"),
        ({"a": np.ones((2, 2))}, r"column 'a': expected one axis; got .* shape \(2, 2\)"),
        ({"a": np.array([1j])}, "column 'a': expected numbers, text or dates; got .*complex"),
        ([[1, 2], [1]], r"row 1: expected 2 cells, as in row 0; got \[1\]"),
        (OnDevice(), "NumPy can't convert a OnDevice .implicit.*copy it"),
        ({"a": OnDevice()}, "column 'a': NumPy can't convert a OnDevice .implicit.*copy it"),
        (Lazy(), "expected rows with a length; got .*Lazy"),
        (np.ones(3), r"expected a data frame.*; got ndarray of shape \(3,\)"),
        ("data.csv", "expected a data frame.*; got str"),
        (None, "expected a data frame.*; got NoneType"),
        ([1, 2], "expected a data frame.*; got list"),
        (pd.Series([1, 2]), r"expected a data frame.*; got Series of shape \(2,\)"),
    ],
    ids=str,
)
def test_invalid_tables(frame, problem):
    with pytest.raises(DataError, match=f"X: .*{problem}|X: {problem}"):
        Schema.fit(frame)


@pytest.mark.parametrize("make", FRAMES, ids=lambda make: make.__name__)
def test_some_rows(make):
    rows = np.array([3, 1])
    taken = table_of(make()).take(rows)
    chosen = {name: [cells[row] for row in rows] for name, cells in COLUMNS.items()}
    schema = Schema.fit(COLUMNS)
    assert np.array_equal(schema.encode(taken), schema.encode(chosen))
    assert Schema.fit(taken) == Schema.fit(chosen)
    with pytest.raises(DataError, match="row 2, column 'age'"):
        schema.encode(table_of({**COLUMNS, "age": [1, 2, "x", 4]}).take([1, 2]))


def test_durations_are_seconds():
    frame = pd.DataFrame({"t": pd.to_timedelta(["1 min", None, "2 h"])})
    assert np.array_equal(table_of(frame).column("t"), [60, np.nan, 7200], equal_nan=True)


@pytest.mark.parametrize(("frequency", "text"), [("D", "2026-01-0{}"), ("M", "2026-0{}")])
@pytest.mark.parametrize("as_frame", [pd.DataFrame, dict])
def test_periods_of_pandas_are_the_same_as_their_text(frequency, text, as_frame):
    days = [text.format(number) for number in (1, 3, 2)] + [None]
    periods = pd.PeriodIndex(days, freq=frequency)
    schema = Schema.fit({"day": days})
    for column in (periods, periods.astype(object)):
        frame = as_frame({"day": column})
        assert Schema.fit(frame) == schema
        assert np.array_equal(schema.encode(frame), schema.encode({"day": days}))
    # Objects would take 20 times as long.
    assert table_of(as_frame({"day": periods})).column("day").dtype.kind == "M"


def zoned_dates(library):
    zoned = pd.Series(pd.to_datetime(["2026-03-01 12:30", None, "2026-08-01 23:00"]))
    zoned = zoned.dt.tz_localize("Europe/Berlin")
    if library == "pandas":
        return {"day": zoned}
    if library == "text":
        return {"day": [None if day is pd.NaT else day.isoformat() for day in zoned]}
    if library == "polars":
        days = [None if day is pd.NaT else day.to_pydatetime() for day in zoned]
        polars = pytest.importorskip("polars")
        return polars.DataFrame({"day": days}, {"day": polars.Datetime("us", "Europe/Berlin")})
    arrow = pytest.importorskip("pyarrow")
    return arrow.table({"day": arrow.array(zoned, from_pandas=True)})


@pytest.mark.parametrize("library", ["pandas", "text", "polars", "pyarrow"])
def test_dates_with_time_zones_are_the_same_in_every_library(library):
    dates, others = dates_of(table_of(zoned_dates(library)).column("day"), Markers.of())
    expected = np.array(["2026-03-01T12:30", "NaT", "2026-08-01T23:00"], dtype="M8[us]")
    np.testing.assert_array_equal(dates, expected)
    assert not others


def test_a_time_zone_that_pyarrow_does_not_know():
    arrow = pytest.importorskip("pyarrow")
    frame = arrow.table({"day": arrow.array([0], arrow.timestamp("us", tz="Nowhere/Here"))})
    with pytest.raises(DataError, match=r"column 'day': the time zone 'Nowhere/Here' can't be"):
        table_of(frame).column("day")


NAT = np.datetime64("NaT", "s")


def test_dictionary_encoding():
    cells = dictionary_encoded(["b", None, "a", float("nan"), "b", pd.NA, pd.NaT, NAT], str)
    assert cells.values == ["b", "a"]
    assert cells.codes.tolist() == [0, -1, 1, -1, 0, -1, -1, -1]
    assert cells.first_row(1) == 2
    assert cells.take(np.array([7.0, 8.0]), np.nan)[[0, 2]].tolist() == [7, 8]
    compact = Coded(np.array([2, -1, 0, 2], np.int8), ["a", "b", "c"]).compact()
    assert (compact.codes.tolist(), compact.values) == ([1, -1, 0, 1], ["a", "c"])
