"""A few kills of the hunt whose figures are in docs/explanation/reliability.md."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def hunt(folder, *options):
    figures = folder / "figures.jsonl"
    module = "tests.robustness.kill_and_resume"
    command = [sys.executable, "-m", module, "--epochs", "2", "--json", str(figures), *options]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "the same" in result.stdout
    return json.loads(figures.read_text())


def test_a_kill(tmp_path):
    found = hunt(tmp_path, "--kills", "1", "--only", "lion", "--epochs", "1")
    assert (found["backend"], found["kills"], found["different"]) == ("NumPy", 1, 0)


@pytest.mark.full
@pytest.mark.parametrize(
    "options",
    [
        ("--kills", "3"),
        ("--kills", "3", "--only", "skipping"),  # it comes to its end, and diverges when it goes on
        ("--kills", "2", "--sigterm"),
    ],
)
def test_a_few_kills(tmp_path, options):
    found = hunt(tmp_path, *options)
    assert (found["kills"], found["different"]) == (int(options[1]), 0)


@pytest.mark.full
@pytest.mark.tier(5)
@pytest.mark.emulated
def test_a_kill_on_the_emulated_device(tmp_path):
    found = hunt(tmp_path, "--kills", "1", "--emulated")
    assert (found["backend"], found["kills"], found["different"]) == ("emulated CuPy", 1, 0)
