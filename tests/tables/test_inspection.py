"""What `gpunn inspect` finds in a table of numbers, text and dates, and that it finds no more."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from processes import run

from gpunn.tables import read_table, table_of
from gpunn.tables.column_names import quoted
from gpunn.tables.inspection import inspect

TABLES = Path(os.environ.get("GPUNN_DATA", "")) / "tables"

ROWS = 600


def flats():
    draw = np.random.default_rng(0)
    area = draw.gamma(9, 8, ROWS).round(1)
    rooms = draw.integers(1, 6, ROWS)
    rent = (9 * area + 50 * rooms + draw.normal(0, 90, ROWS)).round(2)
    return {
        "area": area,
        "rooms": rooms,
        "floor": draw.integers(0, 30, ROWS),
        "district": draw.choice(["north", "east", "south", "west"], ROWS),
        "rent": rent,
        "let": np.where(rent + draw.normal(0, 100, ROWS) > 850, "no", "yes"),
    }


FLATS = flats()
DRAW = np.random.default_rng(1)
NOISE = DRAW.normal(size=ROWS)
FEW = DRAW.random(ROWS) < 0.05
GROUPS = DRAW.integers(0, 150, ROWS)


def problems(target, columns, drop=(), **options):
    frame = {**FLATS, **columns}
    for name in drop:
        del frame[name]
    return inspect(table_of(frame), [target], **options).problems


def dates(since, days):
    return [str(np.datetime64(since) + int(day)) for day in days]


def test_nothing_is_found_in_a_table_without_problems():
    assert problems("rent", {}, ["let"]) == []
    assert problems("let", {}, ["rent"]) == []


RENT = FLATS["rent"]
LET = FLATS["let"]
SINCE = dates("2026-01-01", GROUPS)
PAID = list(zip(SINCE, (60 * RENT).astype(int), strict=True))
SECOND = np.where(LET == "yes", DRAW.choice(["mail", "phone"], ROWS), "")
NOISY = np.where(FEW, DRAW.choice(["a", "b"], ROWS), np.where(LET == "yes", "a", "b"))


PROBLEMS = {
    "rent": [
        ({"paid": RENT}, "rent: the target is a copy of 'paid' in all 600 compared rows. "),
        ({"cents": 100 * RENT + 3}, "rent: the target is a linear function of 'cents'"),
        ({"squared": RENT**2}, "rent: the target is a power of 'squared'"),
        (
            {"bills": FLATS["area"], "rent": (FLATS["area"] + FLATS["rooms"]).round(1)},
            "rent: the target is ",
        ),
        (
            {"a": RENT - FLATS["floor"] - 2, "rent": RENT - 2},
            "rent: the target is the sum of 'floor' and 'a' in all 600 compared rows. ",
        ),
        ({"a": RENT + FLATS["floor"]}, "rent: the target is a difference of 'floor' and 'a'"),
        ({"per_m2": RENT / FLATS["area"]}, "rent: the target is the product of 'area'"),
        ({"all": RENT * FLATS["rooms"]}, "rent: the target is a ratio of 'rooms' and 'all'"),
        (
            {"base": RENT - FLATS["area"] * FLATS["rooms"]},
            "rent: the target is the sum of 'base' and 'area' * 'rooms' in all 600 compared rows. ",
        ),
        (
            {"from": SINCE, "to": [str(np.datetime64(day, "s") + each) for day, each in PAID]},
            "rent: the target is a linear function of 'from' and 'to' in all 600 compared rows. ",
        ),
        ({"paid": RENT * (1 + NOISE / 100)}, "paid: the column alone explains 99 % of the"),
        ({"row": np.argsort(np.argsort(RENT))}, "row: the column alone explains 9"),
        ({"floor": np.where(FEW, 999, FLATS["floor"])}, "floor: 999 in 28 rows, the first "),
        ({"floor": np.where(FEW, -1, FLATS["floor"])}, "floor: -1 in 28 rows, the first "),
        (
            {"floor": np.where(FEW, -999 + FLATS["floor"] % 2, FLATS["floor"])},
            "floor: -999 and -998 in 28 rows, ",
        ),
        (
            {"built": np.where(FEW, "9999-12-31", dates("1990-01-01", 9 * FLATS["floor"]))},
            "built: 9999-12-31 in 28 rows, ",
        ),
        ({"postal_code": 10115 + GROUPS}, "postal_code: codes such as 10"),
        ({"zip": 10115 + 60 * np.arange(ROWS) + GROUPS}, "zip: codes such as 10"),
        ({"lot": np.arange(ROWS)}, "lot: every row has a different integer: "),
        (
            {"customerId": np.where(FEW, 7 * 10**8, 10**6 * np.arange(ROWS))},
            "customerId: 573 different integers in 600 rows: if the column is an identifier",
        ),
        ({"area": np.where(np.arange(ROWS) == 7, 1e5, FLATS["area"])}, "area: the largest"),
        ({"age": np.where(np.arange(ROWS) < 2, [150] * ROWS, 40 + GROUPS % 9)}, "age: the l"),
        ({"pets": np.where(FEW, "NO", "no")}, "pets: 'no' and 'NO' differ only in upper and"),
        ({"rent": np.exp(1.3 * NOISE)}, "rent: the target is skewed: the largest 1 % of "),
    ],
    "let": [
        (
            {"tests": FLATS["rooms"] - NOISE, "let": np.where(NOISE > 0.3, "yes", "no")},
            "let: the difference of 'rooms' and 'tests' predicts 100 % of 300 rows",
        ),
        ({"way": SECOND}, "way: the column alone predicts 100 % of 300 rows correctly. "),
        ({"since": np.where(LET == "yes", SINCE, "")}, "since: the column alone "),
        ({"agent": NOISY}, "agent: the column alone predicts 9"),
        (
            {"let": np.where(np.arange(ROWS) < 5, "maybe", LET)},
            "let: 1 class of the target has fewer than 10 rows; 'maybe' has only 5 rows. ",
        ),
        ({"let": np.where(FEW, "Yes", LET)}, "let: 'yes' and 'Yes' differ only in upper and"),
    ],
}


@pytest.mark.parametrize(
    ("target", "columns", "expected"),
    [(target, *case) for target, cases in PROBLEMS.items() for case in cases],
)
def test_one_problem_is_found(target, columns, expected):
    other = ["let"] if target == "rent" else ["rent"]
    found = problems(target, columns, other, split="random")
    mine = [problem for problem in found if problem.startswith(expected)]
    assert len(mine) == 1, found
    others = [each for each in found if each not in mine and "like an identifier" not in each]
    assert others == [] or expected.startswith(("row:", "zip:")), others


@pytest.mark.parametrize(("shift", "advice"), [(1e-9, ""), (0, "add 1 to the target, and ")])
def test_the_advice_for_a_skewed_target_fits_its_minimum(shift, advice):
    incomes = np.exp(1.3 * NOISE)
    found = problems("rent", {"rent": incomes - incomes.min() + shift}, ["let"], split="random")
    option = "--set model.parameters.target_transform=log"
    assert [each for each in found if f"matter, {advice}use {option}" in each], found


def shuffled(columns, positions):
    return {name: np.asarray(cells)[positions] for name, cells in columns.items()}


def test_copies_of_rows_are_found():
    again = np.sort(np.append(np.arange(ROWS - 50), np.arange(50)))
    copies = shuffled(FLATS, again)
    (found,) = problems("let", copies, ["rent"])
    assert found.startswith(
        "rows: 50 of 600 rows repeat an earlier row in every column; for example, row 1 is equal "
        "to row 0. A random split"
    )
    numbered = {"number": np.arange(ROWS), **copies}
    assert any(each.startswith("rows: 50 of 600") for each in problems("let", numbered, ["rent"]))
    times = {"day": GROUPS, **copies}
    assert problems("let", times, ["rent"], split="time=day") == []


@pytest.mark.parametrize(
    "columns",
    [
        {"ill": GROUPS % 2, "a": GROUPS % 3, "b": FLATS["rooms"]},
        {f"{letter}": DRAW.random(ROWS) < 0.1 for letter in ("a", "b", "c", "d", "ill")},
    ],
)
def test_answers_that_agree_by_chance_are_no_copies(columns):
    assert inspect(table_of(columns), ["ill"]).problems == []


def test_what_all_rows_of_a_group_have_in_common_is_no_leak():
    """A patient's birthday predicts what all of the patient's rows have in common."""
    born = np.random.default_rng(2).permutation(150)[GROUPS] + 0.5
    columns = {"born": born, "ill": np.where(GROUPS % 2, "yes", "no"), "patient_id": GROUPS}
    (found,) = problems("ill", columns, ["rent", "let"])
    assert found.startswith("patient_id: 1")
    assert "use --split group=patient_id" in found
    assert problems("ill", columns, ["rent", "let"], split="group=patient_id") == []
    del columns["patient_id"]
    (found,) = problems("ill", columns, ["rent", "let"])
    assert found.startswith("born: the column alone predicts 9")


@pytest.mark.parametrize(
    ("columns", "target"),
    [
        ({"rent": 999 * NOISE + 99 * FLATS["area"]}, "rent"),  # a dominant cause
        ({"income": np.exp(1.5 * NOISE)}, "rent"),  # a long tail of an input
        ({"change": GROUPS % 3 - 1}, "rent"),
        ({"balance": np.round(30 * NOISE)}, "rent"),  # negative numbers
        ({"year": np.arange(ROWS)}, "rent"),
        ({"salary": 20000 + 97 * np.arange(ROWS)[::-1] ** 2 % 39119}, "rent"),
        ({"percent": np.where(FEW, 99, GROUPS % 98)}, "rent"),
        ({"a": np.where(FEW, 1e308, NOISE), "rent": 3e307 * NOISE}, "rent"),
        ({"a": np.where(FEW, np.nan, NOISE), "b": np.full(ROWS, np.nan)}, "rent"),
        ({"built": dates("1990-01-01", GROUPS)}, "rent"),
        ({"viewing": [f"{hour}:{hour:02} pm" for hour in GROUPS % 12 + 1]}, "rent"),
        ({"zip_count": 100 + GROUPS}, "rent"),
    ],
)
def test_usual_columns_are_no_problem(columns, target):
    found = problems(target, columns, ["let"], split="random")
    assert [each for each in found if "no row has a value" not in each] == []


@pytest.mark.parametrize("since", [SINCE, 1900 + GROUPS], ids=["date", "year"])
def test_classes_of_an_earlier_and_a_later_time_are_no_leak(since):
    """The sum of a number and a date has the order of the dates."""
    name = "since" if since is SINCE else "year"
    columns = {name: since, "few": NOISE / 1e6, "let": np.where(GROUPS > 70, "yes", "no")}
    assert problems("let", columns, ["rent"], split=f"time={name}") == []


def test_the_only_input_is_meant_to_predict_the_target():
    columns = {"size": RENT * (1 + NOISE / 99), "rent": RENT}
    assert inspect(table_of(columns), ["rent"]).problems == []


@pytest.mark.parametrize("name", ["rent", "warm rent", "$rent", 'rent "net"', "rent's", "a`rent`"])
def test_a_shell_reads_quoted_names(name):
    assert run("sh", "-c", f"printf %s {quoted(name)}").stdout == name


def test_few_rows_are_not_compared():
    rows = {name: cells[:20] for name, cells in FLATS.items()}
    assert problems("rent", {**rows, "paid": rows["rent"] * (1 + NOISE[:20] / 99)}, ["let"]) == []


def test_large_tables_are_sampled():
    many = 12_000
    draw = np.random.default_rng(0)
    y = draw.normal(size=many)
    frame = {"x": draw.normal(size=many), "leak": y + draw.normal(size=many) / 99, "y": y}
    (found,) = inspect(table_of(frame), ["y"]).problems
    assert found.startswith("leak: the column alone explains 99 % of the target's variance in 5,0")


FOUND = {
    "ames.tsv": ("SalePrice", ["Order", "PID"], set()),
    "bike_sharing.csv": ("count", [], {"count", "datetime"}),
    "credit_risk.csv": ("loan_status", [], {"person_age", "person_emp_length", "person_income"}),
    "diamonds.csv": ("price", [], {"y", "z"}),
    "dry_beans.csv": ("Class", [], set()),
    "electricity.csv": ("class", [], {"Unnamed: 0"}),
    "heart_2020.csv.gz": ("HeartDisease", [], set()),
    "mushroom.csv": ("class", [], {"veil_type"}),
}
"""For each real table the target, dropped columns, and the columns in which something is wrong: a
sum of other columns, dates, impossible ages, an income of 6,000,000 at the age of 144, diamonds
thicker than a thumb, a saved index, and a constant."""

USUAL = re.compile("missing in|'020' begins with 0")
"""Matches remarks that are true and no mistake of the table."""


@pytest.mark.full
@pytest.mark.parametrize("name", FOUND)
def test_only_mistakes_are_found_in_real_tables(name):
    target, drop, expected = FOUND[name]
    if not (TABLES / name).exists():
        pytest.skip(f"the variable GPUNN_DATA names no folder with tables/{name}")
    table = read_table(TABLES / name)
    found = inspect(table, [target], drop).problems
    wrong = [each for each in found if not USUAL.search(each)]
    assert {
        next(name for name in table.names if each.startswith(f"{name}: ")) for each in wrong
    } == (expected)
