"""The bundled loans have the documented content."""

import csv

import pytest

from gpunn.data import credit_risk_file


@pytest.fixture(scope="module")
def rows():
    with credit_risk_file().open(newline="", encoding="ascii") as file:
        return list(csv.DictReader(file))


def test_size(rows):
    assert (len(rows), len(rows[0])) == (988, 12)
    assert credit_risk_file().stat().st_size < 60_000


def test_every_row_has_a_target(rows):
    statuses = [row["loan_status"] for row in rows]
    assert (statuses.count("0"), statuses.count("1")) == (769, 219)


def test_cells_are_as_published(rows):
    gaps = {name: sum(not row[name] for row in rows) for name in rows[0]}
    assert {name: gap for name, gap in gaps.items() if gap} == {
        "person_emp_length": 27,
        "loan_int_rate": 89,
    }
    text = {name for name, cell in rows[0].items() if not cell.replace(".", "").isdigit()}
    assert text == {
        "person_home_ownership",
        "loan_intent",
        "loan_grade",
        "cb_person_default_on_file",
    }
    assert (rows[0]["person_age"], rows[0]["person_emp_length"]) == ("22", "123.0")
