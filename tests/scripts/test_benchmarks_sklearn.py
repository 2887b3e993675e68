import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmarks_sklearn.py"


def run(*arguments):
    pytest.importorskip("sklearn.base", reason="needs scikit-learn, the extra 'sklearn'")
    environment = {name: value for name, value in os.environ.items() if name != "GPUNN_DATA"}
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_both_libraries_are_measured_on_the_same_fits(tmp_path):
    report = tmp_path / "report.json"
    done = run("--seeds", "2", "--max-iter", "5", "--json", str(report), "wine", "linnerud")
    assert done.returncode == 0, done.stderr
    rows = json.loads(report.read_text())["rows"]
    assert [row["data"] for row in rows] == ["wine", "linnerud"]
    for row in rows:
        ours, theirs = row["fits"]["gpunn"], row["fits"]["scikit-learn"]
        assert len(ours) == len(theirs) == row["seeds"] == 2
        for one, other in zip(ours, theirs, strict=True):
            assert one["epochs"] == other["epochs"]
            assert one["score"] == pytest.approx(other["score"])
            assert min(one["seconds"], other["seconds"]) > 0
        assert f"| {row['data']} | {row['rows']} × {row['features']} |" in done.stdout


def test_a_long_run_can_be_done_in_pieces(tmp_path):
    scores = []
    for first, seeds in ((3, 2), (3, 1), (4, 1)):
        report = tmp_path / "report.json"
        options = ("--first-seed", str(first), "--seeds", str(seeds), "--max-iter", "2")
        assert run(*options, "--json", str(report), "wine").returncode == 0
        fits = json.loads(report.read_text())["rows"][0]["fits"]["gpunn"]
        scores.append([fit["score"] for fit in fits])
    assert scores[0] == scores[1] + scores[2]
    assert scores[1] != scores[2]


def test_mnist_is_fitted_in_the_type_that_is_asked_for(tmp_path):
    if "GPUNN_DATA" not in os.environ:
        pytest.skip("needs MNIST: GPUNN_DATA names the folder that its folder lies in")
    report, folder = tmp_path / "report.json", Path(os.environ["GPUNN_DATA"]) / "mnist"
    options = ("--mnist", str(folder), "--mnist-rows", "500", "--json", str(report))
    done = run(*options, "--mnist-dtype", "float64", "--seeds", "1", "--max-iter", "2", "mnist")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(report.read_text())["rows"]
    assert (row["dtype"], row["rows"], row["features"]) == ("float64", 500, 784)
    ours, theirs = (row["fits"][library][0] for library in ("gpunn", "scikit-learn"))
    assert ours["score"] == pytest.approx(theirs["score"])


def test_what_is_left_out_is_said():
    done = run("--limit", "0", "--seeds", "1", "iris")
    assert "iris left out: the limit" in done.stderr
    assert run("mnist", "--seeds", "1").returncode == 2
