import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmarks_initial_values.py"
STARTS = ["gpunn", "PyTorch", "Keras", "scikit-learn"]


def run(*arguments):
    for module in ("pandas", "sklearn.base"):
        pytest.importorskip(module)
    options = ("--activations", "tanh", "--seeds", "2", "--epochs", "2", "--hidden", "4,3")
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments, *options], capture_output=True, text=True, check=False
    )


def test_digits_and_a_table_of_numbers_texts_and_gaps(tmp_path):
    random = np.random.default_rng(0)
    rows = [
        f"{number:.3f},{kind},{gap},{2 * number + random.normal():.3f}"
        for number, kind, gap in zip(
            random.normal(size=60), random.choice(["a", "b"], 60), ["", "1", "2"] * 20, strict=True
        )
    ]
    table = tmp_path / "diamonds.csv"
    table.write_text("\n".join(["number,kind,gap,price", *rows]) + "\n")
    report = tmp_path / "report.json"
    done = run(str(tmp_path), "--json", str(report))
    assert done.returncode == 0, done.stderr
    assert "left out: MNIST" in done.stderr
    assert "left out: Ames (ames.tsv is missing)" in done.stderr
    found = {row["data"]: row for row in json.loads(report.read_text())}
    assert list(found) == ["digits", "diamonds"]
    for row in found.values():
        assert row["activation"] == "tanh"
        assert list(row["scores"]) == STARTS
        # Scores of different starts, and of different seeds.
        assert len({score for scores in row["scores"].values() for score in scores}) > 4
    lines = done.stdout.splitlines()
    assert lines[0].startswith("| data | activation | gpunn | PyTorch | Keras | scikit-learn |")
    mean = np.mean(found["diamonds"]["scores"]["gpunn"])
    assert lines[2].startswith(f"| diamonds | tanh | {mean:.4f} | ")
    assert re.fullmatch("Behind the best other .*: gpunn in [012], .* of 2", lines[-1])
