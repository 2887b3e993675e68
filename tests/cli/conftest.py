"""What the tests of the command share."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from digits import DIGITS

from gpunn.cli import main

IRIS = """\
[data]
dataset = "csv"
path = "flowers.csv"
target = "species"
standardize = true
test_fraction = 0.25

[model]
layers = [{ name = "dense", units = 8, activation = "tanh" }, { name = "dense", units = 3 }]

[training]
loss = "softmax_cross_entropy"
optimizer = { name = "adam", learning_rate = 0.1 }
epochs = 8
metrics = ["accuracy"]
"""

SPECIES = ["iris", "lily", "rose"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_drawings: None) -> None:
    """Each test runs in a separate folder, on NumPy, and draws nothing in its reports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUNN_BACKEND", "numpy")


@pytest.fixture
def gpunn() -> Callable[..., Result]:
    """The command: `gpunn("train", "a.toml", status=2)` runs it and checks the exit status."""

    def run(*arguments: object, status: int = 0) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        unexpected = result.exception is not None and not isinstance(result.exception, SystemExit)
        assert not unexpected, result.exception
        assert result.exit_code == status, result.output
        if status == 2:
            lines = result.stderr.splitlines()  # a picture of the shapes may follow, indented
            last = next(line for line in reversed(lines) if not line.startswith(" "))
            assert last.startswith("Error: "), result.stderr
        return result

    return run


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    path = tmp_path / "digits.toml"
    path.write_text(DIGITS)
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    config = folder / "digits.toml"
    config.write_text(DIGITS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUNN_BACKEND", "numpy")
        result = CliRunner().invoke(main, ["train", str(config), "--output", str(folder / "run")])
    assert result.exit_code == 0, result.output
    return folder / "run"


@pytest.fixture
def run_before(trained: Path, tmp_path: Path) -> Callable[..., Path]:
    """`run_before("run")` is as `gpunn train digits.toml --output run`, without training again."""

    def copied(name: str = "run") -> Path:
        return shutil.copytree(trained, tmp_path / name)

    return copied


@pytest.fixture
def run(run_before: Callable[..., Path], digits: Path) -> Path:
    """The folder of a run of DIGITS, next to its configuration."""
    return run_before()


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    lines = ["width,species,length"]
    for row in range(90):
        kind = row % 3
        width, length = random.normal([100 * kind, 0.001 * (kind == 2)], [10, 0.0001])
        lines.append(f"{width:.4f},{SPECIES[kind]},{length:.6f}")
    (tmp_path / "flowers.csv").write_text("\n".join(lines) + "\n")
    path = tmp_path / "flowers.toml"
    path.write_text(IRIS)
    return path
