from pathlib import Path

import pytest


def test_a_report(gpunn, digits, run_before, tmp_path):
    run_before("one")
    gpunn("train", digits, "--output", "two", "--set", "seed=1")
    assert gpunn("report", "one").stdout == "report.html: 1 run\n"
    (tmp_path / "pages").mkdir()
    result = gpunn("report", "one", "two", "--output", "pages/both.html", "--backend", "numpy")
    assert result.stdout == "pages/both.html: 2 runs\n"
    assert "<h2>Comparison</h2>" not in Path("report.html").read_text()
    assert "<h2>Comparison</h2>" in Path("pages/both.html").read_text()
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == ["both.html"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["none"], "none: expected a folder that gpunn train wrote"),
        (["run", "--output", "none/report.html"], "there is no such folder"),
        (["run", "--backend", "nmupy"], "did you mean 'numpy'"),
    ],
)
def test_what_cannot_be_reported(gpunn, run, arguments, problem):
    assert problem in gpunn("report", *arguments, status=2).stderr
    assert not Path("report.html").exists()
