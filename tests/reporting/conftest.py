"""Runs to report on, trained once for all tests, and reports, of which each is drawn once."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from digits import BATCH_NORM, COSINE, DENSE, configuration, dropout

from gpunn.cli import main
from gpunn.reporting import charts
from gpunn.reporting.page import report_html

DIGITS = configuration(DENSE, BATCH_NORM, optimizer=COSINE, epochs=3, batch_size=64)

NUMBERS = """\
[data]
dataset = "csv"
path = "numbers.csv"
target = "y"
standardize = true
test_fraction = 0.25

[model]
layers = [{ name = "dense", units = 8, activation = "tanh" }, { name = "dense", units = 1 }]

[training]
loss = "mean_squared_error"
epochs = 2
metrics = ["r2"]
"""

WIDE = '{ name = "dense", units = 32, activation = "relu" }'
ADAM = '{ name = "adam", learning_rate = 0.003 }'
MNIST = configuration(WIDE, dropout(0.2), optimizer=ADAM, epochs=2, batch_size=512)
MNIST = MNIST.replace('"digits"', '"mnist"').replace(", scale = 0.0625", "")
"""scripts/configs/mnist.toml, smaller; the variable GPUNN_DATA says where the data is."""

NAMES = ["<b>bold</b>", "$x_{1$", "猫"]
"""Classes that are no HTML, no formula, and not in Matplotlib's font."""

FLOWERS = """\
[data]
dataset = "csv"
path = "flowers.csv"
target = "kind & <kind>"

[model]
layers = [{ name = "dense", units = 3 }]

[training]
loss = "softmax_cross_entropy"
epochs = 1
metrics = ["accuracy"]
"""


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`train(text, name, *settings)` trains a configuration, once, and returns the folder."""
    folder = tmp_path_factory.mktemp("runs")
    random = np.random.default_rng(0)
    X = random.normal(size=(80, 3))
    table = np.column_stack([X, X @ [1, -2, 0.5]])
    np.savetxt(folder / "numbers.csv", table, delimiter=",", header="a,b,c,y", comments="")
    lines = ["u,v,kind & <kind>"]
    lines += [f"{a:.3f},{b:.3f},{NAMES[row % 3]}" for row, (a, b, _) in enumerate(X)]
    (folder / "flowers.csv").write_text("\n".join(lines), encoding="utf-8")

    def trained(text: str, name: str, *settings: str) -> Path:
        run = folder / name
        if not run.exists():
            config = folder / f"{name}.toml"
            config.write_text(text, encoding="utf-8")
            arguments = ["train", str(config), "--backend", "numpy", "--output", str(run)]
            arguments += [f"--set={setting}" for setting in settings]
            result = CliRunner().invoke(main, [*arguments, "--quiet"])
            assert result.exit_code == 0, result.output
        return run

    return trained


@pytest.fixture(scope="session")
def digits_run(train: Callable[..., Path]) -> Path:
    return train(DIGITS, "digits")


@pytest.fixture(scope="session")
def wider_run(train: Callable[..., Path]) -> Path:
    return train(DIGITS, "wider", "model.layers.1.units=24", "training.epochs=2")


@pytest.fixture(scope="session")
def numbers_run(train: Callable[..., Path]) -> Path:
    return train(NUMBERS, "numbers")


@pytest.fixture(scope="session")
def long_named_run(train: Callable[..., Path]) -> Path:
    """The name of the metric that selects the best epoch is wider than its box."""
    metric = "root_mean_squared_error"
    settings = [f"training.metrics=['{metric}']", f"training.monitor=val_{metric}"]
    return train(NUMBERS, "long", "data.validation_fraction=0.2", *settings)


@pytest.fixture(scope="session")
def mnist_run(train: Callable[..., Path]) -> Path:
    if not os.environ.get("GPUNN_DATA"):
        pytest.skip("GPUNN_DATA does not say where MNIST is")
    return train(MNIST, "mnist")


@pytest.fixture(scope="session")
def flowers_run(train: Callable[..., Path]) -> Path:
    return train(FLOWERS, "flowers")


@pytest.fixture(scope="session")
def all_pages(digits_run: Path, wider_run: Path, numbers_run: Path, flowers_run: Path) -> list[str]:
    """Return the page of one run, and that of the others."""
    every = (digits_run, wider_run, numbers_run, flowers_run)
    return [report_html(runs, "numpy") for runs in (every[:1], every[1:])]


@pytest.fixture
def draw_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """After `draw_only("loss")`, only charts whose keys contain the pattern are drawn."""
    draw = charts.drawn

    def chosen(pattern: str) -> None:
        def drawn(key: str, *rest: Any, **more: Any) -> str:
            if re.search(pattern, key):
                return draw(key, *rest, **more)
            return '<svg viewBox="0 0 1 1"></svg>'

        monkeypatch.setattr(charts, "drawn", drawn)

    return chosen
