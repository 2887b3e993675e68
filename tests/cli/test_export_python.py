"""Python files predict from CSV as `gpunn predict` does, in a process without gpunn."""

import csv
from pathlib import Path

import numpy as np
import pytest
from exported_files import run_file
from processes import run_python

from gpunn.data import load_digits

FLAVORS = [["--python", "a.py"], ["--python", "a.py", "--pure"]]
SCALINGS = ["robust", "quantile", "standard", "none"]


def predicted(*arguments: str) -> str:
    """Return what a file prints for rows; the one without NumPy has no packages at all."""
    flags = ["-I"] if "import numpy" in Path("a.py").read_text() else ["-I", "-S"]
    return run_python(*flags, "-W", "error", "a.py", *arguments, text=False).stdout.decode()


def predicted_here(*arguments: str, given: bytes = b"") -> str:
    status, output, said = run_file("a.py", *arguments, given=given)
    assert status == 0, said
    return output


def assert_same_table(found: str, expected: str, tolerance: float = 1e-5) -> None:
    for ours, theirs in zip(
        csv.reader(found.splitlines()), csv.reader(expected.splitlines()), strict=True
    ):
        for a, b in zip(ours, theirs, strict=True):
            if a != b:
                assert float(a) == pytest.approx(float(b), rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("flavor", FLAVORS, ids=len)
def test_classes_with_names(gpunn, flowers, flavor):
    gpunn("train", flowers, "--output", "run")
    result = gpunn("export", "run", *flavor)
    assert result.stdout.startswith("a.py: ")
    expected = gpunn("predict", "run", "flowers.csv", "--probabilities").stdout
    assert "rose" in expected
    assert_same_table(predicted("flowers.csv", "--probabilities"), expected)
    reordered = "length;species;width\n" + "\n".join(
        ";".join(reversed(line.split(","))) for line in Path("flowers.csv").read_text().split()[1:]
    )
    found = predicted_here(given=reordered.encode())
    assert found == gpunn("predict", "run", "flowers.csv").stdout
    predicted_here("flowers.csv", "--output", "y.csv")
    assert Path("y.csv").read_text() == predicted_here("flowers.csv")


@pytest.mark.parametrize("flavor", FLAVORS, ids=len)
def test_digits_without_a_header(gpunn, run, flavor):
    gpunn("export", "run", *flavor)
    X = load_digits()[2][:20]
    np.savetxt("rows.csv", X, delimiter=",", fmt="%g")
    np.save("rows.npy", X)
    assert predicted("rows.csv") == gpunn("predict", "run", "rows.npy").stdout


def test_numbers_have_no_probabilities(gpunn, digits):
    np.savez("a.npz", X=np.eye(4, 2), y=np.arange(4.0))
    settings = ["data={dataset='npz', path='a.npz'}", "model.layers=[{name='dense',units=1}]"]
    settings += ["training={loss='mean_squared_error', epochs=1}", "dtype='float64'"]
    gpunn("train", digits, "--output", "run", *(f"--set={setting}" for setting in settings))
    gpunn("export", "run", "--python", "a.py")
    Path("rows.csv").write_text("1,0\n0.5,0.25\n")
    np.save("rows.npy", np.array([[1, 0], [0.5, 0.25]]))
    expected = gpunn("predict", "run", "rows.npy").stdout
    assert_same_table(predicted_here("rows.csv"), expected, 1e-12)
    status, _, said = run_file("a.py", "rows.csv", "--probabilities")
    assert status == 2
    assert "does not predict probabilities" in said


FAST = ["model.parameters.hidden_layer_sizes=[8]", "training.epochs=2", "dtype='float64'"]

TABLE = """\
age;city;since;member;code;left;rent
31;Oslo;2019-03-05;yes;007;yes;500,5
;Rome;2020/12-31 23:30:00;no;7;no;600
45,5;;2021-07-01T12:00:00+02:00;?;012;yes;550
28;Bern;;yes;007;no;700,25
-999;Oslo;2019-05-05 06:15;no;012;yes;-999
"""
"""Numbers with commas, and gaps of each kind; years with slashes are dates, too."""

NEW = """\
rent;since;member;city;code;age
510,5;2024-02-29 01:02:03.5;1;Paris;07;1e2
;?;FALSE; Rome ;12;NA
-999;1999-12-31;true;Bern;x;-999
"""
"""Unknown categories, other spellings, and other orders of columns."""


@pytest.mark.parametrize(
    ("scaling", "flavor"),
    [*((scaling, FLAVORS[0]) for scaling in SCALINGS), ("quantile", FLAVORS[1])],
)
@pytest.mark.filterwarnings("ignore::gpunn.errors.GpunnWarning")
def test_tables(gpunn, flavor, scaling):
    lines = TABLE.replace("2020/12-31", "2020/12/31").splitlines()
    rows = [line for count in range(8) for line in lines[1:]]
    Path("people.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    Path("new.csv").write_text(NEW)
    given = ["--missing=-999", "--column=code=category", "--column=member=boolean"]
    fast = [*FAST, f"data.scaling={scaling!r}"]
    if scaling == "quantile":
        fast += ["model.name='tabm'", "model.parameters.members=2"]
    options = [f"--set={setting}" for setting in fast]
    gpunn("train", "people.csv", "--target=left", *given, *options, "--output", "run")
    gpunn("export", "run", *flavor)
    for path in ("people.csv", "new.csv"):
        expected = gpunn("predict", "run", path, "--probabilities").stdout
        assert_same_table(predicted_here(path, "--probabilities"), expected, 1e-9)
