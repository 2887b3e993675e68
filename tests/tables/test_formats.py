"""Columns of numbers with a unit, of dates with the year last, and of times."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest
from tables.test_schema import column_of

from gpunn.errors import ArgumentError, DataError, GpunnWarning, UnknownCategoryWarning
from gpunn.rows.cells import Markers
from gpunn.tables import Schema, read_table, table_of
from gpunn.tables.inspection import inspect
from gpunn.tables.schema_difference import schema_difference
from gpunn.tables.splitting import rows_in_common, times_of

MARKERS = Markers.of()

ORDER = (
    "may begin with the day or with the month: choose --column NAME=day/month/year or "
    "--column NAME=month/day/year"
)


def doubt(text, number):
    return (
        f"{text!r} was read as {number}; if this is wrong, write such numbers with a decimal point "
        "and without thousands separators"
    )


def late(text):
    return f"dates such as {text!r} are not supported: write the year first (2026-05-31)"


@pytest.mark.parametrize(
    ("cells", "kind", "form", "reported"),
    [
        (["1 kg", "2kg", "3.5 kg", "", None, "NA", "?"], "number", "0.0 kg", "missing in 57 %"),
        (["$1", "-$2"], "number", "$0.0", ""),
        (["$1,200", "$15,000"], "number", "$0.0", ""),
        (["1.200 \u20ac", "15.000 \u20ac"], "number", "0,0 \u20ac", ""),
        (["1.200,50 \u20ac", "7 \u20ac"], "number", "0,0 \u20ac", ""),
        (["CHF 1'200.50", "-CHF 7"], "number", "CHF 0.0", ""),
        (["EUR 1.200", "EUR 15.000"], "number", "EUR 0,0", ""),
        (["TKT 1", "TKT 2", "TKT 3"], "category", "", ""),
        (["45%", "5 %"], "number", "0.0%", ""),
        (["1.5 km/h", "2 km/h", "3 km/h"], "number", "0.0 km/h", ""),
        (["12,5 m2", "2 m2", "3 m2"], "number", "0,0 m2", ""),
        (["950 kg", "1,200 kg", "2 kg"], "number", "0.0 kg", ""),
        (["1,200 kg", "2,400 kg", "3,500 kg"], "number", "0.0 kg", doubt("1,200 kg", 1200)),
        (["1.200 kg", "2.400 kg", "3.500 kg"], "number", "0.0 kg", doubt("1.200 kg", "1.200")),
        (["950 kg", "1.200 kg", "2 kg"], "number", "0,0 kg", doubt("1.200 kg", 1200)),
        (["0.354 kg", "1.200 kg", "2 kg"], "number", "0.0 kg", ""),
        (["1500 kg", "1.200 kg", "2 kg"], "number", "0.0 kg", doubt("1.200 kg", "1.200")),
        # names and codes
        (["2WD", "4WD"], "category", "", ""),
        (["2 doors", "4 doors"], "category", "", ""),
        (["1st", "2nd", "3rd"], "category", "", ""),
        (["12A", "14A", "15B", "7B", "8A", "9B"], "category", "", ""),
        (["007 kg", "12 kg", "13 kg"], "category", "", ""),
        (["12h30", "13h30", "14h30"], "category", "", ""),
        # hours and minutes
        (["2h 50m", "19h", "25m", None], "number", "0.0 min", ""),
        (["1 hour, 5 mins", "2 hrs", "45 min"], "number", "0.0 min", ""),
        (["2h 50m", "25m 10s", "3h"], "category", "", ""),
        (["2h", "25m", "3m"], "category", "", ""),
        # several units, or none
        (["1 kg", "2", "3"], "category", "", "numbers and text: 2 of 3 values are numbers"),
        *(
            (cells, "category", "", f"numbers with {what}, such as {listed}")
            for cells, what, listed in (
                (["$1", "\u20ac2"], "different units", "'$1' and '\u20ac2'"),
                ([f"{n} {'lb' if n > 4 else 'kg'}" for n in range(7)], "different units", "'0 kg'"),
                (["1.5 kg", "1,5 kg", "2 kg"], "a unit and different decimal marks", "'1.5 kg'"),
            )
        ),
        # dates
        (["10/11/2014", "10/13/2014"], "datetime", "month/day/year", ""),
        (["1.2.2026", "31.12.2026 8:15", None], "datetime", "day/month/year", ""),
        (["10-13-2014", "10/13/2015"], "datetime", "month/day/year", ""),
        (["10/11/2014", "11/12/2014"], "category", "", f"dates such as '10/11/2014' {ORDER}"),
        (["10/13/2014", "13/10/2014"], "category", "", late("10/13/2014")),
        (["10/13/14", "10/14/14"], "category", "", late("10/13/14")),
        (["2/31/2014", "2/1/2014"], "category", "", late("2/31/2014")),
        (["3/13/2020 1:05 PM", "3/14/2020 12:30 am"], "datetime", "month/day/year", ""),
        # times
        (["9:30", "21:05:15", "00:00"], "datetime", "hour:minute", ""),
        (["12:30 am", "1:05pm", "9 P.M."], "datetime", "hour:minute", ""),
        ([dt.time(9, 30), dt.time(21, 5), None], "datetime", "hour:minute", ""),
        (["16:9", "4:3"], "category", "", ""),
        (["1:10", "1:25", "1:50"], "category", "", ""),
        (["1:10", "1:25", "2:50"], "datetime", "hour:minute", ""),
        (["59:30", "75:00"], "category", "", ""),
        (["9:00-17:00", "8:00-12:00"], "category", "", ""),
        (
            ["13:00 pm", "1:00 pm", "2:00 pm"],
            "category",
            "",
            "times and text: 2 of 3 values are times, but '13:00 pm' (row 0) is not",
        ),
        # months and seasons
        (["2010-11", "2010-12"], "datetime", "", ""),
        (["2010-11", "2009-10"], "category", "", ""),
        (["2010/11", "2011/12", "2012/13"], "category", "", ""),
        (["1999-00", "2000-01", ""], "category", "", ""),
    ],
    ids=str,
)
def test_detected_formats(cells, kind, form, reported):
    column = column_of(cells)
    assert (column.kind, column.format) == (kind, form)
    assert column.reported.startswith(reported)
    assert bool(column.reported) == bool(reported)
    assert column.doubtful == (kind == "category" and bool(reported))


@pytest.mark.parametrize(
    ("cells", "chosen", "form"),
    [
        (["2 doors", "4 doors"], "number", "0.0 doors"),
        (["07 kg", "8"], "number", "0.0 kg"),
        (["1 kg", "2 kg", "3 kg"], "category", ""),
        (["1", "2", "3+"], "category", ""),
        (["10/11/2014", "11/12/2014"], "day/month/year", "day/month/year"),
        (["10/13/2014", "2014-10-14"], "datetime", "month/day/year"),
        (["10/13/2014", "10/14/2014"], "category", ""),
        (["9:30", "2026-05-31 10:00"], "datetime", "hour:minute"),
    ],
)
def test_chosen_kinds(cells, chosen, form):
    column = column_of(cells, columns={"x": chosen})
    assert (column.format, column.reported) == (form, "")
    assert column.kind == ("datetime" if "/" in chosen else chosen)


def test_hours_of_times():
    """Also of times in another form than in training; a date before a time is ignored."""
    cells = ["9:30", "21:00:36", None, "0:00"]
    for times in (cells, [each and f"2026-05-31 {each:0>5}" for each in cells]):
        schema = Schema.fit({"t": cells}, scaling="none")
        assert schema.names[0] == "t (hour)"
        assert schema.encode({"t": times}, "float64")[:, 0].tolist() == [9.5, 21.01, 9.5, 0]
    rows = {"t": ["12:15 am", "12:30 PM", "1 pm", dt.time(23, 45)]}
    assert schema.encode(rows, "float64")[:, 0].tolist() == [0.25, 12.5, 13, 23.75]
    with pytest.raises(DataError, match=r"a time such as 14:30; got '24:00'"):
        schema.encode({"t": ["24:00"] * 2})


def test_held_out_rows_also_decide():
    every = {"d": ["1/2/2020", "3/4/2020", "1/13/2020"], "w": ["1 kg", "2 kg", "3 kg"]}
    training = {name: cells[:2] for name, cells in every.items()}
    forms = [column.format for column in Schema.fit(training, every=every).columns]
    assert forms == ["month/day/year", "0.0 kg"]
    assert [column.kind for column in Schema.fit(training).columns] == ["category"] * 2


WEIGHTS = {"w": ["1 kg", "2 kg", "4 kg"], "d": ["1/2/2020", "1/13/2020", "3/4/2020"]}


def test_other_units_are_missing():
    schema = Schema.fit(WEIGHTS, scaling="none")
    assert schema.describe()[1][:3] == ("w", "number", "number in kg")
    rows = {"w": ["1 lb", "7 kg", "1 lb", None], "d": WEIGHTS["d"][:1] * 4}
    with pytest.warns(GpunnWarning) as caught:
        assert schema.encode(rows)[:, 0].tolist() == [2, 7, 2, 2]
    assert [(each.category, str(each.message).partition("column ")[2]) for each in caught] == [
        (UnknownCategoryWarning, "'w': 2 rows with '1 lb'"),
        (
            GpunnWarning,
            "'w' (1 row). Missing numbers become the median, and missing categories get code 0",
        ),
    ]
    with pytest.raises(DataError, match="row 0, column 'w': expected a number; got 'heavy'"):
        schema.encode(rows | {"w": ["heavy"] * 4})
    with pytest.raises(DataError, match=r"row 0, column 'd': expected a date .*; got '13/1/2020'"):
        schema.encode(rows | {"d": ["13/1/2020"] * 4})


def test_files():
    """Formats are saved; files of earlier versions have none."""
    schema = Schema.fit(WEIGHTS)
    record = schema.to_json()
    assert Schema.from_json(record, schema.arrays()) == schema
    for column in record["columns"]:
        del column["format"]
    earlier = Schema.from_json(record, schema.arrays())
    assert [column.format for column in earlier.columns] == ["", ""]
    difference = "column 'w' has the format '' in that schema, not '0.0 kg'"
    assert schema_difference(schema, earlier) == difference
    for kind, form in (
        ("number", "kg"),
        ("number", "0.0"),
        ("number", "1.0 kg"),
        ("number", "0.0 */"),
        ("number", "day/month/year"),
        ("datetime", "0.0 kg"),
        ("category", "0.0 kg"),
    ):
        column = replace(schema.columns[0], kind=kind, format=form)
        record = Schema([column], schema.scaling).to_json()
        with pytest.raises(ArgumentError, match=r"columns\[0\].format: a .* column can't have"):
            Schema.from_json(record, schema.arrays())


def test_inspection(tmp_path):
    """Values are in standard form, and a split by time reads the same dates."""
    lines = [f"{n % 12 + 1}/{n % 28 + 1}/2020,{n},{n % 7}\n" for n in range(40)]
    path = tmp_path / "a.csv"
    path.write_text("when,weight,y\n" + "".join(lines).replace(",", ",$", 1))
    table = read_table(path)
    found = inspect(table, ["y"], split="time=when")
    assert found.columns[1][4] == "2020-01-01 00:00:00 to 2020-12-24 00:00:00"


def test_times_in_a_format():
    first, later = (table_of({"t": cells}) for cells in (["1/2/2020", "1/13/2020"], ["2/1/2020"]))
    assert np.diff(times_of(first, "t", MARKERS)).tolist() == [11 * 24 * 3600e6]
    assert rows_in_common(first, later, "time", "t", MARKERS) == 0
    assert rows_in_common(later, first, "time", "t", MARKERS, "month/day/year") == 2
    with pytest.raises(DataError, match="expected a date"):
        times_of(later, "t", MARKERS)
