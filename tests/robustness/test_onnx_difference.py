"""The script that compares a run's ONNX file with gpunn, on a small run."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from gpunn.cli import main
from robustness import onnx_difference

REPOSITORY = Path(__file__).parents[2]


def test_a_run_on_digits(tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    config = str(REPOSITORY / "scripts" / "configs" / "digits.toml")
    arguments = ["train", config, "--backend", "numpy"]
    arguments += ["--output", str(run), "--quiet", "--set", "training.epochs=3"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    monkeypatch.setattr("sys.argv", ["onnx_difference", str(run)])
    assert onnx_difference.main() == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["rows"] == 360
    assert figures["rows_with_another_class"] == 0
    pairs = {name: each for name, each in figures.items() if isinstance(each, dict)}
    assert len(pairs) == 5
    assert all(each["of_largest"] <= 1e-5 for each in pairs.values()), pairs
    assert figures["probabilities"]["absolute"] <= 1e-5
