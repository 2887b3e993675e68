"""What the tests of sweeps share."""

from pathlib import Path

import pytest
from digits import configuration

HIDDEN = '{ name = "dense", units = 4, activation = "relu" }'
CONFIG = f"""\
backend = "numpy"
{configuration(HIDDEN, epochs=2, batch_size=256)}
[sweep]
trials = 3

[sweep.parameters]
training.optimizer.learning_rate = {{ low = 0.001, high = 0.1, log = true }}
model.layers.1.units = {{ low = 4, high = 8 }}
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "digits.toml"
    path.write_text(CONFIG)
    return path
