"""Text in a written CSV file never begins a formula, and is read unchanged."""

import csv
import io
import logging

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpunn.cli.predict import Sink
from gpunn.data import load_csv
from gpunn.experiment.predictions import Predictions
from gpunn.rows.predictions import formula_as_text, text_of_cell
from gpunn.training.callbacks.epoch_logs import csv_header, csv_line

FORMULAS = [
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("//evil.example")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\uff1d1+1",
    "'=1",
    "''@x",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas(text):
    assert formula_as_text(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "cat", "-", "+", "-1.5", "+3", "-inf", "a=b", "'cat", "it's"])
def test_text_that_is_not_a_formula(text):
    assert formula_as_text(text) == text_of_cell(text) == text


@given(st.text(alphabet="'=+-@a1\t \uff1d", max_size=6))
@example("'=")
def test_round_trip(text):
    written = formula_as_text(text)
    assert text_of_cell(written) == text
    assert formula_as_text(written) == written or written.startswith("'")
    assert not written.startswith(("=", "@", "\t", "\uff1d"))


def test_predictions_are_read_as_they_were(tmp_path, caplog):
    names = np.array(["cat", "=cmd|' /C calc'!A0", "'=x", "-", "@a,b"])
    with caplog.at_level(logging.WARNING, logger="gpunn"):
        predictions = Predictions(names, np.eye(5), names.tolist())
        sink = Sink(tmp_path / "a.csv", None, True)
        sink.begin("csv")(predictions)
        sink.commit()
    assert "'=cmd|' /C calc'!A0" in caplog.text
    assert len(caplog.records) == 3
    for row in csv.reader(io.StringIO((tmp_path / "a.csv").read_text())):
        for cell in row:
            assert not cell.startswith(("=", "@", "+"))
    table = load_csv(tmp_path / "a.csv", "prediction")
    assert [table.classes[code] for code in table.y] == names.tolist()


def test_a_history_with_such_a_metric(tmp_path):
    """A resumed log finds its columns."""
    columns = ["epoch", "=loss", "'@x"]
    header = csv_line(columns, {name: name for name in columns})
    assert header == "epoch,'=loss,''@x\r\n"
    assert csv_line(columns, {"epoch": 1, "=loss": -0.5}) == "1,-0.5,\r\n"
    (tmp_path / "log.csv").write_text(header)
    assert csv_header(tmp_path / "log.csv") == columns
