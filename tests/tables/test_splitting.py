"""Times and groups of a table's rows, and advice if a random split may leak."""

from datetime import date, datetime, timedelta, timezone

import numpy as np
import pytest

from gpunn.errors import ArgumentError, DataError
from gpunn.rows.cells import Markers
from gpunn.tables import Schema, table_of
from gpunn.tables.splitting import (
    advice_on_splits,
    check_split,
    group_left_out,
    groups_of,
    split_by,
    times_of,
)

MARKERS = Markers.of(["-999"])
EAST = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    "cells",
    [
        ["2026-01-02", "2025-12-31 23:59", "2026-01-02 00:00:01"],
        ["2026/01/02", "2026/01/01", "2026/01/03"],
        ["2009-10", "2008-09", "2010-11"],  # seasons
        [date(2026, 1, 2), date(2026, 1, 1), date(2026, 1, 3)],
        np.array(["2026-01-02", "2026-01-01", "2026-01-03"], "datetime64[D]"),
        [2, 1, 3],
        [0.5, -1e300, 0.6],
        ["2", "1", "10"],
        # The instants are 22:30, 22:10 and 23:00 UTC.
        ["2026-01-01T22:30:00Z", "2026-01-02T00:10:00+02:00", "2026-01-01T23:00:00+00:00"],
        [
            datetime(2026, 1, 1, 22, 30),
            datetime(2026, 1, 2, 0, 10, tzinfo=EAST),
            datetime(2026, 1, 1, 23),
        ],
    ],
)
def test_times_are_in_order(cells):
    assert np.argsort(times_of(table_of({"t": cells}), "t", MARKERS)).tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (["2026-01-01", None, ""], "row 1, column 't': the time is missing here, and in 1 other"),
        ([1, 2, -999], "row 2, column 't': the time is missing here, so the row can't be"),
        ([1.0, np.nan, 2], "row 1, column 't': the time is missing here"),
        (["2026-01-01", "soon", "2026-01-02"], "row 1, .*: expected .*; got 'soon'. To split"),
        (["spring", "autumn"], "row 0, .*: expected a date .*; got 'spring' .and 1 more wrong"),
        ([True, False], "row 0, .*: expected a date"),
    ],
)
def test_invalid_times(cells, problem):
    with pytest.raises(DataError, match=problem):
        times_of(table_of({"t": cells}), "t", MARKERS)


@pytest.mark.parametrize(
    ("cells", "groups"),
    [
        (["b", "a", " b ", "c"], [1, 0, 1, 2]),
        ([7, 3, 7, 3], [1, 0, 1, 0]),
        ([2.0, 1.5, "2", 1.5], [1, 0, 1, 0]),
        ([True, False, True, True], [1, 0, 1, 1]),
    ],
)
def test_groups(cells, groups):
    assert groups_of(table_of({"g": cells}), "g", MARKERS).tolist() == groups


@pytest.mark.parametrize("missing", [None, "", "NA", "-999", np.nan])
def test_a_row_without_a_group(missing):
    with pytest.raises(DataError, match="row 2, column 'g': the group is missing here"):
        groups_of(table_of({"g": ["a", "b", missing]}), "g", MARKERS)


@pytest.mark.parametrize("text", ["", "time", "time=", "group=", "groups=a", "stratified", "=a"])
def test_invalid_splits(text):
    with pytest.raises(ArgumentError, match=f'split: expected "time=COLUMN", .*; got {text!r}'):
        check_split("split", text)


def test_splits():
    found = [split_by(check_split("split", text)) for text in ("random", "time=a=b", "group= ")]
    assert found == [None, ("time", "a=b"), ("group", " ")]
    assert split_by(None) is None
    assert group_left_out("group=g", ["a"]) == ["g"]
    assert group_left_out("group=g", ["g"]) == group_left_out("time=g", []) == []


ROWS = 60
NUMBERS = np.arange(ROWS)


@pytest.mark.parametrize(
    ("name", "cells", "advice"),
    [
        ("sold at", [f"2026-01-{1 + number % 28:02}" for number in NUMBERS], 'time="sold at"'),
        ("date", 20260101 + NUMBERS % 28, "time=date"),
        ("sold", ["2026-01-01"] * ROWS, None),
        (
            "returned",
            [f"2026-01-{1 + number % 28:02}" if number % 3 else "" for number in NUMBERS],
            None,
        ),
        ("date", NUMBERS + 0.5, None),
        ("year", 1990 + NUMBERS % 28, None),
        ("patient", [f"P{number % 12}" for number in NUMBERS], "group=patient"),
        ("patientID", NUMBERS % 12, "group=patientID"),
        ("customer_id", NUMBERS % 12, "group=customer_id"),
        ("userid", NUMBERS % 12, "group=userid"),
        ("ID_client", NUMBERS % 12, "group=ID_client"),
        ("account number", NUMBERS % 12, 'group="account number"'),
        ("orderid", NUMBERS % 12, "group=orderid"),
        ("id", NUMBERS, None),  # a different value in each row
        ("id", [*NUMBERS[:-2], 0, 1], None),
        ("user_id", NUMBERS % 2, None),
        ("device", [["phone", "desk", "tv"][number % 3] for number in NUMBERS], None),
        ("customer_age", NUMBERS % 12, None),
        ("paid", NUMBERS % 12, None),
        ("city", [f"c{number % 12}" for number in NUMBERS], None),
    ],
)
def test_advice_if_a_random_split_may_leak(name, cells, advice):
    table = table_of({name: cells, "x": NUMBERS % 7})
    said = advice_on_splits(table, Schema.fit(table).columns, MARKERS)
    assert [line.rpartition("--split ")[2] for line in said] == ([advice] if advice else [])
    dropped = Schema.fit(table, drop=[name]).columns
    assert advice_on_splits(table, dropped, MARKERS) == []


@pytest.mark.parametrize(("name", "kind"), [("sold", "time"), ("patient_id", "group")])
def test_advice_for_incomplete_columns_names_the_rows_that_a_split_refuses(name, kind):
    prefix = "2026-01-" if kind == "time" else "P"
    cells = ["", *(f"{prefix}{1 + number % 28:02}" for number in NUMBERS[1:])]
    table = table_of({name: cells, "x": NUMBERS % 7})
    (said,) = advice_on_splits(table, Schema.fit(table).columns, MARKERS)
    assert said.endswith(f", remove the rows without a value, and use --split {kind}={name}")
