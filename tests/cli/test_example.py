from pathlib import Path

from gpunn.data import credit_risk_file


def test_a_copy_in_the_current_folder(gpunn):
    said = gpunn("example").stdout
    assert said == "credit_risk.csv: 988 rows, 12 columns; loan_status is the column to predict\n"
    assert Path("credit_risk.csv").read_bytes() == credit_risk_file().read_bytes()


def test_a_missing_folder(gpunn):
    assert (
        "no: there is no such folder; create it first"
        in gpunn("example", "no/a.csv", status=2).stderr
    )


def test_a_file_that_is_there_is_left_alone(gpunn):
    Path("credit_risk.csv").write_text("mine")
    assert "credit_risk.csv: the file exists already" in gpunn("example", status=2).stderr
    assert Path("credit_risk.csv").read_text() == "mine"
