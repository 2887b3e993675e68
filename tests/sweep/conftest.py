"""What the tests of sweeps share."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFIG = """\
backend = "numpy"

[data]
dataset = "digits"
validation_fraction = 0.2

[model]
layers = [
    { name = "rescaling", scale = 0.0625 },
    { name = "dense", units = 4, activation = "relu" },
    { name = "dense", units = 10 },
]

[training]
loss = "softmax_cross_entropy"
epochs = 2
batch_size = 256
metrics = ["accuracy"]

[sweep]
trials = 3

[sweep.parameters]
training.optimizer.learning_rate = { low = 0.001, high = 0.1, log = true }
model.layers.1.units = { low = 4, high = 8 }
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The file of a sweep of three trials with two epochs each."""
    path = tmp_path / "digits.toml"
    path.write_text(CONFIG)
    return path
