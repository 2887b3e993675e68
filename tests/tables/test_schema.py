"""Schemas: learning, encoding, and messages about unusual input."""

import copy
import json
import pickle
import warnings

import numpy as np
import pandas as pd
import people
import pytest

from gpunn.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    GpunnWarning,
    UnknownCategoryWarning,
)
from gpunn.tables import Schema, table_of

PEOPLE = {**people.PEOPLE, "country": ["NO"] * 4}


def column_of(cells, **options):
    frame = {"x": cells, "other": np.arange(len(cells)) ** 2}
    return Schema.fit(frame, **options).columns[0]


def test_matrix():
    schema = Schema.fit(PEOPLE, scaling="none")
    assert schema.numbers == [
        "age",
        "since (year)",
        "since (month)",
        "since (day)",
        "since (day of week)",
        "since (hour)",
        *(
            f"since ({part}, {curve})"
            for part in ("month", "day of week", "hour")
            for curve in ("sine", "cosine")
        ),
        "age (missing)",
        "since (missing)",
    ]
    assert [(each.name, each.size) for each in schema.categories] == [("city", 3), ("member", 3)]
    assert schema.width == 16
    matrix = schema.encode(PEOPLE, "float64")
    assert matrix.dtype == np.float64
    ages, years, months, days, weekdays, hours = matrix[:, :6].T
    assert ages.tolist() == [31, 45, 31, 28]
    assert years.tolist() == [2024, 2025, 2025, 2025]
    assert months.tolist() == [1, 6, 6, 6]
    assert days.tolist() == [31, 1, 1, 1]
    assert weekdays.tolist() == [2, 6, 6, 6]
    assert hours.tolist() == [0, 13.5, 0, 0]
    np.testing.assert_allclose(matrix[:, 6], np.sin(2 * np.pi * months / 12) * [1, 1, 0, 1])
    assert matrix[:, 12:14].T.tolist() == [[0, 0, 1, 0], [0, 0, 1, 0]]
    assert matrix[:, 14:].T.tolist() == [[1, 2, 1, 0], [2, 1, 2, 2]]


@pytest.mark.parametrize("scaling", ["robust", "quantile", "standard"])
def test_scaled_matrix(scaling):
    """Statistics are from the rows that have a number; the median replaces missing numbers."""
    random = np.random.default_rng(0)
    numbers = random.normal(5, 3, 400)
    numbers[::7] = np.nan
    schema = Schema.fit({"x": numbers}, scaling=scaling)
    present = np.isfinite(numbers)
    filled = np.where(present, numbers, np.median(numbers[present]))
    alone = Schema.fit({"x": numbers[present]}, scaling=scaling)
    if scaling != "quantile":  # the number of quantiles depends on the rows
        expected = alone.scaling.transform(filled[:, None], slice(None))[:, 0]
        np.testing.assert_allclose(schema.encode({"x": numbers}, "float64")[:, 0], expected)
    encoded = schema.encode({"x": numbers})
    assert encoded.dtype == np.float32
    assert encoded[:, 1].tolist() == (~present).tolist()
    assert np.abs(np.median(encoded[present, 0])) < 0.05
    assert np.abs(encoded[~present, 0]).max() < 0.1


def test_columns_are_matched_by_name():
    schema = Schema.fit(PEOPLE)
    frame = pd.DataFrame(PEOPLE)[["member", "since", "city", "age"]].assign(more=1)
    assert np.array_equal(schema.encode(frame), schema.encode(PEOPLE))


@pytest.mark.parametrize("columns", [["0", "1", "2"], ["0", "2"]])
def test_columns_without_names_are_matched_by_order(columns):
    rows = np.array([[1, 7, "a"], [2, 7, "b"]], object)
    schema = Schema.fit(rows)
    assert schema.columns[1].dropped
    chosen = rows[:, [int(name) for name in columns]]
    expected = schema.encode(rows)
    assert np.array_equal(schema.encode(chosen), expected)
    named = pd.DataFrame(chosen, columns=[f"c{name}" for name in columns])
    assert np.array_equal(schema.encode(named), expected)
    assert np.array_equal(Schema.fit(named.astype(object)).encode(chosen), expected)
    with pytest.raises(DataError, match=r"expected 3 columns, .*, or 2 without"):
        schema.encode(np.ones((1, 4)))


def test_other_types_when_rows_are_encoded():
    frame = {"n": [1, 2, 4, 9], "c": [1, 2, 2, 3], "b": [True, False, True, True]}
    schema = Schema.fit(frame, columns={"c": "category"})
    expected = schema.encode(frame)
    others = [
        {"n": ["1", " 2.0", "4e0", "9"], "c": [1.0, 2.0, 2.0, 3.0], "b": [1, 0, 1, 1]},
        {"n": np.array(frame["n"], np.float32), "c": ["1", "2.0", " 2 ", "3.0"], "b": list("tfty")},
        pd.DataFrame({"n": frame["n"], "c": pd.Categorical(frame["c"]), "b": ["TRUE", "no"] * 2})[
            ["c", "b", "n"]
        ].iloc[[0, 1, 2, 2]],
    ]
    for other in others[:2]:
        assert np.array_equal(schema.encode(other), expected)
    assert np.array_equal(schema.encode(others[2]), expected[[0, 1, 2, 2]])


def test_codes_are_exact():
    many = [f"{number:07}" for number in range(70_000)]
    schema = Schema.fit({"x": many}, columns={"x": "category"})
    matrix = schema.encode({"x": many})
    assert np.array_equal(matrix[:, 0], np.arange(1, 70_001))
    assert schema.categories[0].size == 70_001


def test_more_categories_than_the_type_can_number(monkeypatch):
    monkeypatch.setitem(Schema.encode.__globals__["LARGEST_CODE"], "float32", 2)
    schema = Schema.fit({"x": list("abc")})
    assert schema.encode({"x": ["c"]}, "float64").tolist() == [[3]]
    with pytest.raises(
        DataError, match="'x' has 3 categories, but float32 has exact codes for at most 2"
    ):
        schema.encode({"x": ["c"]})


def test_no_rows():
    assert Schema.fit(PEOPLE).encode({name: [] for name in PEOPLE}).shape == (0, 16)


def test_unknown_categories_are_counted():
    schema = Schema.fit(PEOPLE)
    new = {**PEOPLE, "city": ["Bern", "Rome", "Bern", "Graz"], "member": ["maybe", None, 1, 0]}
    with pytest.warns(GpunnWarning) as caught:
        matrix = schema.encode(new)
    assert [(each.category, str(each.message)) for each in caught] == [
        (
            UnknownCategoryWarning,
            "X: categories or units unseen in training are treated as missing; column 'city': 3 "
            "rows with 'Bern', 'Graz'; column 'member': 1 row with 'maybe'",
        ),
        (
            GpunnWarning,
            "X: values are missing, but were not missing in the training data: column 'member' "
            "(1 row). Missing numbers become the median, and missing categories get code 0",
        ),
    ]
    assert matrix[:, -2:].T.tolist() == [[0, 2, 0, 0], [0, 0, 2, 1]]
    assert schema.unknown(new) == {"city": {"Bern": 2, "Graz": 1}, "member": {"maybe": 1}}
    assert schema.unknown(PEOPLE) == {}


def test_categories_that_no_row_has_are_not_unknown():
    schema = Schema.fit({"x": ["a", "b"]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schema.encode({"x": pd.Categorical(["a"], categories=["a", "b", "c"])})


def test_values_that_are_missing_for_the_first_time():
    schema = Schema.fit({"n": [1, 2, 4], "d": pd.to_datetime(["2026-01-01", "2026-02-01", None])})
    with pytest.warns(
        GpunnWarning, match=r": column 'n' \(2 rows\)\. Missing numbers become .* get code 0$"
    ):
        matrix = schema.encode({"n": [None, 1, "NA"], "d": [None] * 3})
    assert matrix[:, 0].tolist() == [0, schema.encode({"n": [1], "d": [None]})[0, 0], 0]


@pytest.mark.parametrize("cells", [["a", None, "?"], np.array([True, None, None])], ids=str)
def test_categories_that_are_missing_for_the_first_time(cells):
    schema = Schema.fit({"x": [False, True] if cells[0] is True else ["a", "b"]})
    with pytest.warns(
        GpunnWarning, match=r": column 'x' \(2 rows\)\. .*missing categories get code 0$"
    ):
        matrix = schema.encode({"x": cells})
    assert matrix[1:, 0].tolist() == [0, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Schema.fit({"x": ["a", "b", None]}).encode({"x": ["a", None, "b"]})


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        ({"a": [1], "city": [1]}, r"the column 'age' is missing; there are 'a', 'city'$"),
        ({"Age": [1], "ctiy": ["a"]}, r"the columns 'age' \(did you mean 'Age'\?\), 'city' \(did"),
        ({"age": ["old"], "city": ["a"]}, "row 0, column 'age': expected a number; got 'old'"),
        ({"age": [1, "x", "y"], "city": list("aaa")}, "row 1, .* got 'x' .and 1 more wrong cell"),
        ({"age": [1, np.inf], "city": list("ab")}, "row 1, column 'age': .* finite .* got inf"),
        ({"age": ["1", "-inf"], "city": list("ab")}, "row 1, column 'age': .* finite .* got -inf"),
        ({"age": [10**400], "city": ["a"]}, "row 0, column 'age': .* finite .* got inf"),
        ({"age": pd.to_datetime(["2026-01-01"]), "city": ["a"]}, "row 0, column 'age': expected"),
        (np.ones((1, 3)), "expected 2 columns, as in the training rows; got 3"),
    ],
    ids=str,
)
def test_rows_that_do_not_fit(frame, problem):
    schema = Schema.fit({"age": [1, 5, 2], "city": ["a", "b", "a"]})
    with pytest.raises(DataError, match=problem):
        schema.encode(frame)


@pytest.mark.parametrize("gap", ["1900-01-01", "1900-01-01 ", "-999.0", "null"])
def test_dates_that_mean_a_missing_value(gap):
    dates = ["2026-01-01", gap, "2026-02-03", "2025-05-05"]
    schema = Schema.fit({"d": dates}, missing_values=["1900-01-01", "-999"])
    assert (schema.columns[0].kind, schema.columns[0].missing) == ("datetime", 1)


def test_too_large_for_the_type():
    schema = Schema.fit({"x": [0.0, 1e300, 2e300]}, scaling="none")
    with pytest.raises(DataError, match=r"row 1, column 'x': 1e\+300 is too large for float32"):
        schema.encode({"x": [1, 1e300]})
    assert schema.encode({"x": [1, 1e300]}, "float64")[1, 0] == 1e300


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([1, 2, 3], "number"),
        ([1.5, None, 3], "number"),
        (["1", " 2.5 ", "NA"], "number"),
        ([None, 10**30, 2], "number"),
        (np.array([1, 2], np.uint8), "number"),
        ([np.timedelta64(5, "m"), pd.Timedelta("1 h"), None], "number"),
        ([np.bool_(True), False], "boolean"),
        ([np.str_("a"), "b"], "category"),
        ([True, False, None], "boolean"),
        (["true", "FALSE", ""], "boolean"),
        (["yes", "no"], "category"),
        (["a", "b"], "category"),
        (["1", "2", "x"], "category"),
        (["1_000", "2"], "category"),
        ([b"a", b"b"], "category"),
        (["2026-01-01", "2026-02-01"], "datetime"),
        (["2026/01/01 10:00", "2026/02/01 11:00"], "datetime"),
        (["2026-01-01 10:00", "2026-02-01 11:59"], "datetime"),
        (["2026-01-01 10:00:59", "", "2026-02-01T11:59:00"], "datetime"),
        ([np.datetime64("2026-01-01"), np.datetime64("2026-02-01")], "datetime"),
        (["2026-01-01", "2026-02-30"], "category"),
        (["2026-01-01x10:00", "2026-02-03"], "category"),
        (["20260101", "2026-02-03"], "category"),
        (["0000-01-01", "2026-02-03"], "category"),
        (["-011-01-01", "2026-02-03"], "category"),
        (["2026-01-01 24:00", "2026-02-03 25:00"], "category"),
        (["2026-01-01T10:00:00+02:00", "2026-02-01T10:00:00Z"], "datetime"),
        ([pd.Timestamp("2026-01-01").date(), pd.Timestamp("2026-05-01").date()], "datetime"),
        (["1.2.2026", "31.12.2026"], "datetime"),
        (["now", "today"], "category"),
    ],
    ids=str,
)
def test_kinds(cells, kind):
    assert column_of(cells).kind == kind


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        ([1, 2, 2], "category", ("1", "2")),
        ([1.0, None, 2.5], "category", ("1", "2.5")),
        (np.array([2.5, np.nan, 1, np.nan]), "category", ("1", "2.5")),
        (
            np.array(["2026-01-02", "NaT", "2026-01-01"], "M8[D]"),
            "category",
            ("2026-01-01", "2026-01-02"),
        ),
        ([2**60, 2**60 + 1], "category", ("1152921504606846976", "1152921504606846977")),
        (["yes", "no", "Y"], "boolean", ("False", "True")),
        ([1, 0, None], "boolean", ("False", "True")),
        ([" a", "a ", "b"], "category", ("a", "b")),
        (["a\ud800", "b"], "category", (r"a\ud800", "b")),
        (["2026-01-01", "2026-02-01"], "category", ("2026-01-01", "2026-02-01")),
    ],
    ids=str,
)
def test_chosen_kinds(cells, kind, expected):
    column = column_of(cells, columns={"x": kind})
    assert (column.kind, column.categories) == (kind, expected)


def test_missing_values():
    assert column_of(["a", "", "na"]).missing == 2
    assert column_of(["a", "-", "na", ""], missing_values=["-"]).missing == 3
    for cells in ([1, 2, -999], [1, 2, -999.0], ["1", "2", "-999.0"]):
        schema = Schema.fit({"x": cells}, missing_values=["-999"], scaling="none")
        assert schema.encode({"x": [-999, 7]}).tolist() == [[1.5, 1], [7, 0]]


NAMES = [f"user{number}" for number in range(30)]
SAME = "the same in every row"
IDENTIFIER = "dropped: every row has a different value, like an identifier"
TOO_LARGE = (
    "all numbers are equal, maybe only because large numbers are rounded; if the column contains "
    "codes, make it a category"
)


MEND = (
    "correct these cells, leave them empty, declare them missing values (missing_values, "
    "--missing), or choose --column NAME=category"
)


def mixed(kind, fitting, values, odd, row, remedy=f": {MEND}"):
    return (
        f"{kind} and text: {fitting} of {values} values are {kind}, but {odd!r} (row {row}) is not"
        f"{remedy}"
    )


def grouped(example):
    return f"numbers with thousands separators, such as {example!r}: remove the separators"


def as_identifier(found):
    return f"{found}: if the column is an identifier, drop it"


@pytest.mark.parametrize(
    ("cells", "reported"),
    [
        ([1, 2, 2], ""),
        (
            [20260500 + day for day in range(1, 32)],
            "integers such as 20260501 look like dates, but are read as numbers: write dates such "
            "as 2026-05-31",
        ),
        ([3, 3, 3], f"dropped: {SAME}"),
        (["a"] * 3, f"dropped: {SAME}"),
        ([None] * 3, "dropped: no row has a value"),
        (["", "NA", "?"], "dropped: no row has a value"),
        ([np.nan] * 3, "dropped: no row has a value"),
        ([None, 3, 3], f"{SAME} that has a value"),
        ([None, "a", "a"], f"{SAME} that has a value"),
        ([2**53, 2**53 + 1], f"dropped: {TOO_LARGE}"),
        (["9007199254740992", "9007199254740993"], f"dropped: {TOO_LARGE}"),
        ([float(2**60)] * 2, f"dropped: {TOO_LARGE}"),  # as a file's integers are read
        ([None, 2**53, 2**53 + 1], TOO_LARGE),
        ([2**60] * 2, f"dropped: {SAME}"),
        (["2026-01-01"] * 3, f"dropped: {SAME}"),
        ([None, "2026-01-01"], f"{SAME} that has a value"),
        (["2026-01-05", "2026-01-12"], ""),
        ([None, None, 3, 4, None], "missing in 60 % of the rows"),
        (NAMES[:20], IDENTIFIER),
        (NAMES[:19], ""),
        (list(range(20)), as_identifier("every row has a different integer")),
        ([number + 0.5 for number in range(20)], ""),
        ([f"user{number // 2}" for number in range(60)], ""),
        ([f"user{n // 2}" for n in range(61)], as_identifier("31 categories in 61 rows")),
        ([f"user{n % 1001}" for n in range(3003)], as_identifier("1,001 categories in 3,003 rows")),
        ([*map(str, range(9)), *NAMES[:20]], IDENTIFIER),
        *(([f"555{mark}{n}{mark}{n}" for n in range(200, 230)], IDENTIFIER) for mark in " ."),
        (["1", "2", "x", "3", "2"], mixed("numbers", 3, 4, "x", 2)),
        ([*map(str, range(25)), "x"], mixed("numbers", 25, 26, "x", 25)),
        ([1, "x", 2], mixed("numbers", 2, 3, "x", 1)),
        ([f"2026-01-{day:02}" for day in range(1, 33)], mixed("dates", 31, 32, "2026-01-32", 31)),
        ([*(f"{h}:30" for h in range(24)), "24:00"], mixed("times", 24, 25, "24:00", 24)),
        (
            ["1,5", "2,25", None],
            "numbers with decimal commas, such as '1,5': read them with decimal=',' (--decimal ,)",
        ),
        *(
            (["-7,5", spelled, "300,25", None], grouped(spelled))
            for spelled in ("-1.234,50", "1 234 567,8", "1'234,5")
        ),
        (
            [*(f"{number},{number:03}.50" for number in range(20, 40)), "7.25"],
            mixed("numbers", 1, 21, "20,020.50", 0, f"; {grouped('20,020.50')}"),
        ),
        *(
            (
                [*(f"{number}{mark}000" for number in range(1, 20)), "999", None],
                mixed("numbers", 1, 20, f"1{mark}000", 0, f"; {grouped(f'1{mark}000')}"),
            )
            for mark in ", "
        ),
        (["1'000", "2'000"], grouped("1'000")),
        (
            ["3.645.000", "85.000.000", "1.000"],
            mixed("numbers", 1, 3, "3.645.000", 0, f"; {grouped('3.645.000')}"),
        ),
        (
            ["1,037", "2,500", "10,000"],
            "numbers with thousands separators or decimal commas, such as '1,037': remove the "
            "separators, or read decimal commas with decimal=',' (--decimal ,)",
        ),
    ],
    ids=str,
)
def test_reports(cells, reported):
    column = column_of(cells)
    assert column.reported == reported
    assert column.dropped == reported.startswith("dropped")
    assert not (column.dropped and column.categories)


LARGE = 2**53 + 1
ROUNDING = (
    f"{LARGE} was read as {LARGE - 1}, since numbers of 2^53 and more are rounded; if the column "
    "contains codes, make it a category"
)


@pytest.mark.parametrize(
    "cells",
    [np.array([LARGE, 1]), [LARGE, 2**70], [str(LARGE), "1.5", None], [f" {LARGE} ", "1"]],
    ids=str,
)
def test_integers_that_floats_round_are_reported(cells):
    assert column_of(cells).reported == ROUNDING
    for kind in ("category", "number"):  # chosen by the user
        assert Schema.fit({"x": cells}, columns={"x": kind}).problems == []


@pytest.mark.parametrize("cells", [[LARGE - 1, 2], [2.0**60, 2], ["1e300", "2"]], ids=str)
def test_large_integers_that_are_exact_floats(cells):
    assert column_of(cells).reported == ""


def test_problems_are_listed():
    schema = Schema.fit(PEOPLE, drop=["age"])
    assert schema.problems == ["country: dropped: the same in every row"]
    assert schema.describe() == [
        ("column", "kind", "becomes", "missing", "remarks"),
        ("age", "", "", "", "left out, as requested"),
        ("city", "category", "2 categories", "1", ""),
        ("member", "boolean", "2 categories", "", ""),
        ("since", "datetime", "year, month, day, day of week, hour, missing or not", "1", ""),
        ("country", "category", "", "", "dropped: the same in every row"),
    ]
    assert repr(schema) == "<Schema: 5 columns -> 12 numbers, 2 categories>"


def test_kinds_depend_only_on_the_rows():
    """Values that no row has do not count: unused categories of pandas, and excluded rows."""
    table = table_of({"x": ["1", "x", "3"], "y": [1, 2, 3]}).take(np.array([0, 2]))
    assert Schema.fit(table).columns[0].kind == "number"
    frame = pd.DataFrame({"x": pd.Categorical(["1", "2"], categories=["1", "2", "x"])})
    assert Schema.fit(frame, columns={"x": "number"}).columns[0].kind == "number"


@pytest.mark.parametrize(
    ("cells", "doubtful", "reported"),
    [
        ([1, 2, 1, "x"], True, mixed("numbers", 2, 3, "x", 3)),
        (
            ["2020-01-02", "2020-01-02", "2020-01-01", "2020-13-45"],
            True,
            mixed("dates", 2, 3, "2020-13-45", 3),
        ),
        ([*map(str, range(30)), "x"], True, "'x' (row 30) is not"),
        (["true", "false", "true", "x"], False, ""),
        (NAMES, False, IDENTIFIER),
        ([*NAMES, "user3"], False, "30 categories in 30 rows: if the column is"),
    ],
    ids=str,
)
def test_kinds_do_not_depend_on_which_rows_are_for_training(cells, doubtful, reported):
    every = table_of({"x": cells, "y": range(len(cells))})
    alone = Schema.fit(every)
    training = Schema.fit(every.take(np.arange(len(cells) - 1)), every=every)
    for column in (alone.columns[0], training.columns[0]):
        assert (column.kind, column.doubtful) == ("category", doubtful)
        assert column.dropped == reported.startswith("dropped")
    assert reported in training.columns[0].reported
    assert not Schema.fit(every, columns={"x": "category"}).columns[0].doubtful


def test_a_file_may_have_categories_of_a_dropped_column():
    """Earlier versions stored them."""
    schema = Schema.fit(PEOPLE)
    description = schema.to_json()
    assert description["columns"][-1]["dropped"]
    description["columns"][-1]["categories"] = ["NO"]
    loaded = Schema.from_json(description, schema.arrays())
    assert np.array_equal(loaded.encode(PEOPLE), schema.encode(PEOPLE))


def test_a_chosen_kind_keeps_an_identifier():
    assert not column_of(NAMES, columns={"x": "category"}).dropped
    assert not column_of(pd.Categorical(NAMES)).dropped


@pytest.mark.parametrize(
    ("frame", "options", "error", "problem"),
    [
        ({"a": []}, {}, DataError, "X: expected at least one row; got none"),
        ({}, {}, DataError, "X: expected at least one row"),
        (
            {"a": [1, 1], "b": [1, 2]},
            {"drop": ["b"]},
            DataError,
            "no column is left to predict from. 'a' is dropped: the same in every row$",
        ),
        (
            {"a": [1, 2]},
            {"drop": ["a"]},
            DataError,
            "no column is left to predict from. All columns are targets, or dropped on request",
        ),
        ({"a": [1, np.inf]}, {}, DataError, "row 1, column 'a': expected a finite number; got inf"),
        (
            {"a": ["1", "x"]},
            {"columns": {"a": "number"}},
            DataError,
            "row 1, column 'a': expected a number; got 'x'. Correct the cell",
        ),
        (
            {"a": ["x", "2026-01-01"]},
            {"columns": {"a": "datetime"}},
            DataError,
            "row 0, column 'a': expected a date .* got 'x'",
        ),
        (
            {"a": ["yes", "perhaps", "perhaps"]},
            {"columns": {"a": "boolean"}},
            DataError,
            "row 1, column 'a': expected true or false; got 'perhaps' .and 1 more wrong cell",
        ),
        (
            {"a": np.array([1, 10**12], "M8[Y]")},
            {},
            DataError,
            "row 1, column 'a': the date 1000000001970 is out of range",
        ),
        ({"a": [1]}, {"columns": {"b": "number"}}, ArgumentError, "columns: there is no column"),
        ({"a": [1]}, {"columns": {"a": "text"}}, ArgumentError, "columns.a: .*'text'.*valid"),
        ({"a": [1]}, {"columns": ["a"]}, ArgumentTypeError, "columns: expected a dict of names"),
        ({"age": [1]}, {"drop": ["aeg"]}, ArgumentError, "drop: .*'aeg'; did you mean 'age'"),
        ({"a": [1]}, {"drop": "a"}, ArgumentTypeError, "drop: expected a list of strings; got 'a'"),
        ({"a": [1]}, {"missing_values": "a"}, ArgumentTypeError, "missing_values: expected a list"),
        ({"a": [1]}, {"scaling": "minmax"}, ArgumentError, "scaling: .*'minmax'"),
    ],
    ids=str,
)
def test_invalid_training_rows(frame, options, error, problem):
    with pytest.raises(error, match=problem):
        Schema.fit(frame, **options)


def test_names_of_features_are_unique():
    schema = Schema.fit({"a": [1, None, 3], "a (missing)": [1, 2, 3]})
    assert schema.names == ["a", "a (missing)", "a (missing)'"]


@pytest.mark.parametrize("scaling", ["robust", "quantile", "standard", "none"])
def test_json_and_back(scaling):
    schema = Schema.fit(PEOPLE, scaling=scaling)
    description = json.loads(json.dumps(schema.to_json()))
    again = Schema.from_json(description, schema.arrays())
    assert again == schema
    description["columns"][0]["reported"] = "worded differently"
    assert Schema.from_json(description, schema.arrays()) == schema
    assert np.array_equal(again.encode(PEOPLE), schema.encode(PEOPLE))
    for duplicate in (copy.deepcopy(schema), pickle.loads(pickle.dumps(schema))):
        assert duplicate == schema
    assert schema != Schema.fit(PEOPLE, scaling=scaling, drop=["city"])
    assert schema != scaling


def changed(**changes):
    description = Schema.fit(PEOPLE).to_json()
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = description
        for key in parents:
            place = place[int(key) if key.isdecimal() else key]
        place[last] = value
    return description


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"scaling": "minmax"}, "schema.scaling: .*'minmax'"),
        ({"scaling": "standard"}, "standard scaling has"),
        ({"named": 1}, "schema.named: expected true or false"),
        ({"columns": 3}, "schema.columns: expected a list"),
        ({"columns": []}, "schema.columns: all columns are dropped"),
        ({"columns__0__name": " "}, r"schema.columns\[0\].name: expected a name"),
        ({"columns__0__name": "city"}, "schema.columns: two columns have the same name"),
        ({"columns__0__name": "\ud800"}, r"schema.columns\[0\].name: expected a string that UTF-8"),
        ({"columns__0__kind": "text"}, r"schema.columns\[0\].kind"),
        ({"columns__0__missing": -1}, r"schema.columns\[0\].missing: expected an integer >= 0"),
        ({"columns__0__parts": ["year"]}, r"columns\[0\].parts: a number column has no parts"),
        ({"columns__0__categories": ["a"]}, r"\[0\].categories: a number column has no categ"),
        ({"columns__0__constant": True}, r"float64 of shape \(5,"),
        ({"columns__1__categories": ["b", "a"]}, "expected distinct strings in ascending order"),
        ({"columns__1__categories": ["a", "a"]}, "expected distinct strings in ascending order"),
        ({"columns__1__categories": [1]}, r"categories\[0\]: expected a string"),
        ({"columns__2__categories": ["a"]}, "expected 'False' and 'True'"),
        ({"columns__3__parts": ["month", "year"]}, "parts: expected some of"),
        ({"columns__3__parts": ["week"]}, "parts: expected some of"),
    ],
    ids=str,
)
def test_invalid_descriptions(changes, problem):
    with pytest.raises(ArgumentError, match=problem):
        Schema.from_json(changed(**changes), Schema.fit(PEOPLE).arrays())
