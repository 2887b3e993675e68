import re
from pathlib import Path

from processes import run_python

import gpunn

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"


def test_trains_on_the_digits_and_saves(tmp_path):
    arguments = ["--backend", "numpy", "--epochs", "3", "--output", "model.safetensors"]
    result = run_python(SCRIPT, *arguments, cwd=tmp_path)
    match = re.search(r"accuracy (0\.\d+)", result.stdout)
    assert match is not None
    assert float(match[1]) > 0.85
    model = gpunn.load_model(tmp_path / "model.safetensors", backend="numpy")
    _, _, X, y = gpunn.data.load_digits()
    accuracy = (model.predict(X).argmax(axis=1) == y).mean()
    assert f"{accuracy:.4f}" == match[1]
